"""A subclass of a layer, as projects write them to meter messages, is called by workers too."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from channels_classic import Channel, Group
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.message import Message
from channels_classic.worker import link
from tests.support.waiting import eventually, scaled
from tests.worker.harness import Inbox, drain, make_group, make_worker, running


class Metered:
    """Counts the calls of the methods that carry messages."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: Counter[str] = Counter()
        self.receiving = 0
        """The number of threads that wait in `receive`."""

    def send(self, channel: str, message: dict[str, Any]) -> None:
        self.calls[f"send {channel.partition('!')[0].partition('.')[0]}"] += 1
        super().send(channel, {**message, "metered": True})  # type: ignore[misc]

    def receive(self, channels: Sequence[str], block: bool = False) -> Any:
        self.receiving += 1
        channel, message = super().receive(channels, block)  # type: ignore[misc]
        self.receiving -= 1
        self.calls["receive"] += channel is not None
        return channel, message

    def group_add(self, group: str, channel: str) -> None:
        self.calls["group_add"] += 1
        super().group_add(group, channel)  # type: ignore[misc]

    def send_group(self, group: str, message: dict[str, Any]) -> None:
        self.calls["send_group"] += 1
        super().send_group(group, message)  # type: ignore[misc]


class MeteredMemory(Metered, ChannelLayer):  # type: ignore[misc]  # with the signatures of 1.x
    pass


class MeteredRedis(Metered, RedisChannelLayer):  # type: ignore[misc]  # the same
    pass


@pytest.fixture(params=["memory", "redis"])
def layer(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MeteredMemory()
        return
    layer = MeteredRedis(hosts=[request.getfixturevalue("redis_url")])
    yield layer
    layer.close()


def consumer(message: Message) -> None:
    layer = message.channel_layer
    Group("room", channel_layer=layer).add("member")
    Channel("answers", channel_layer=layer).send({"n": message["n"]})
    Group("room", channel_layer=layer).send({"n": message["n"]})


async def coroutine(message: Message) -> None:
    consumer(message)


@pytest.mark.parametrize("consume", [consumer, coroutine])
def test_every_method_that_a_project_overrides_is_called(layer: Any, consume: Any) -> None:
    with running(make_worker(layer, {"test": consume})):
        for number in range(3):
            layer.send("test", {"n": number})
        answers = drain(layer, "answers", 3)
        members = drain(layer, "member", 3)
    assert sorted(answer["n"] for answer in answers) == [0, 1, 2]
    assert all(answer["metered"] for answer in answers)
    assert sorted(member["n"] for member in members) == [0, 1, 2]
    expected = {"send test": 3, "send answers": 3, "group_add": 3, "send_group": 3, "receive": 3}
    assert {name: layer.calls[name] for name in expected} == expected


class ReceivesMany(ChannelLayer):
    """Overrides `receive` under its old name."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []

    def receive_many(self, channels: Sequence[str], block: bool = False) -> Any:
        channel, message = self.receive(channels, block)
        if message is not None:
            self.received.append(message)
        return channel, message


def test_the_receive_of_a_project_is_called_under_its_old_name_too() -> None:
    layer = ReceivesMany()
    with running(make_worker(layer, {"test": consumer})):
        layer.send("test", {"n": 1})
        drain(layer, "answers", 1)
    assert layer.received == [{"n": 1}]


def test_a_client_gets_its_reply_before_the_next_message_of_its_socket_may_start(layer: Any) -> None:
    def reply(message: Message) -> None:
        assert message.reply_channel is not None
        message.reply_channel.send({"n": message["n"]})

    inbox = Inbox(layer)
    with running(make_worker(layer, {"test": reply})):
        inbox.post("test", {"n": 1})
        found = inbox.wait(2)
    assert ("client", Outcome.CONSUMED) in found
    assert ("client", {"n": 1, "metered": True}) in found


def test_messages_are_received_by_the_override_alone_while_one_waits_for_its_limit(layer: Any) -> None:
    release = threading.Event()
    seen: list[str] = []

    def slow(message: Message) -> None:
        seen.append("slow")
        release.wait(scaled(10))

    def quick(message: Message) -> None:
        seen.append("quick")

    group = make_group(layer, {"slow": slow, "quick": quick}, 2)
    group.limits = {"slow": 1}
    with running(group):
        eventually(lambda: layer.receiving == 2)
        for _ in range(2):
            layer.send("slow", {})
        eventually(lambda: layer.calls["receive"] == 2)
        for _ in range(5):
            layer.send("quick", {})
        eventually(lambda: seen == ["slow", *["quick"] * 5])
        release.set()
        eventually(lambda: seen[6:] == ["slow"])
    assert layer.calls["receive"] == 7


def test_a_message_that_waits_for_its_limit_when_the_worker_stops_is_consumed(layer: Any) -> None:
    """It cannot be put back when a project's own `receive` gave it."""
    release = threading.Event()
    seen: list[int] = []

    def slow(message: Message) -> None:
        release.wait(scaled(10))
        seen.append(message["n"])

    group = make_group(layer, {"slow": slow}, 2)
    group.limits = {"slow": 1}
    timer = threading.Timer(0.5, release.set)
    with running(group):
        eventually(lambda: layer.receiving == 2)
        for number in range(2):
            layer.send("slow", {"n": number})
        eventually(lambda: layer.calls["receive"] == 2)
        timer.start()  # when it has been asked to stop
    assert sorted(seen) == [0, 1]
    assert layer.losses.as_dict() == {}


@pytest.mark.parametrize(
    "error", [RuntimeError("the project cannot receive"), StepRefused("the test", "no"), TypeError("not a pair")]
)
def test_a_worker_goes_on_when_the_receive_of_a_project_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(link, "_BACKOFF", (0.01, 0.05))
    layer = MeteredMemory()
    receive = layer.receive
    errors = [error, error]

    def failing(channels: Sequence[str], block: bool = False) -> Any:
        if errors:
            raise errors.pop()
        return receive(channels, block)

    monkeypatch.setattr(layer, "receive", failing)
    layer.send("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        assert drain(layer, "answers", 1)[0]["n"] == 1
    assert "The `receive` of MeteredMemory failed; it is called again." in caplog.text
    assert layer.losses.as_dict() == {}


class SendsByThread(ChannelLayer):
    """Notes which threads send."""

    def __init__(self) -> None:
        super().__init__(capacity=1000)
        self.threads: set[str] = set()

    def send(self, channel: str, message: dict[str, Any]) -> None:
        self.threads.add(threading.current_thread().name)
        super().send(channel, message)


def test_the_watchdog_never_waits_in_a_method_of_a_project() -> None:
    layer = SendsByThread()

    def quick(message: Message) -> None:
        Channel("answers", channel_layer=layer).send({})

    def slow(message: Message) -> None:
        time.sleep(0.1)

    with running(make_worker(layer, {"test": lambda message: (slow if message["n"] else quick)(message)})):
        for number in [*[0] * 50, *[0, 1] * 10]:
            BaseChannelLayer.send(layer, "test", {"n": number})
        drain(layer, "answers", 60)
    assert layer.threads == {"worker under test"}


class MovedShard(StepRefused):
    """A project's own kind of refusal."""


class Unplugged(LayerUnavailable):
    """A project's own kind of outage."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MovedShard("the test", "it moved"), "refused"),
        (Unplugged("the test", "it is away", "Wait."), "broker"),
        (RuntimeError("the project refuses this message"), "invalid"),
    ],
)
def test_a_message_whose_send_raised_is_counted_by_the_kind_of_the_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    layer = MeteredMemory()
    layer.send("test", {"n": 1})

    def refusing(channel: str, message: dict[str, Any]) -> None:
        raise error

    monkeypatch.setattr(layer, "send", refusing)
    with running(make_worker(layer, {"test": consumer})):
        eventually(layer.losses.as_dict)
    assert layer.losses.as_dict() == {kind: 1}


def test_a_method_that_raises_costs_that_message_alone(
    layer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send = layer.send

    def refusing(channel: str, message: dict[str, Any]) -> None:
        if message.get("n") == 1:
            raise RuntimeError("the project refuses this message")
        send(channel, message)

    monkeypatch.setattr(layer, "send", refusing)
    with running(make_worker(layer, {"test": consumer})):
        for number in (1, 2):
            send("test", {"n": number})
        assert drain(layer, "answers", 1)[0]["n"] == 2
        eventually(lambda: "the project refuses this message" in caplog.text)
