"""Order, batches and losses of the hot loop, on every layer."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import override_settings

from channels_classic import Channel, Group
from channels_classic.handler import AsgiHandler, ViewConsumer
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.names import new_inbox
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.results import Audience
from channels_classic.layers.steps import Join, Length, Lookup
from channels_classic.message import Message, pending_message_store
from channels_classic.worker import loop, outstanding
from channels_classic.worker.loop import batch_size
from tests.support.waiting import eventually, scaled
from tests.worker.harness import Inbox, drain, make_group, make_worker, running, warm_up


def test_sends_of_a_consumer_keep_their_order_across_groups_and_channels(layer: BaseChannelLayer) -> None:
    inbox = Inbox(layer)
    layer.group_add("room", inbox.client())
    inbox.wait(1)  # the hint that it joined

    def consumer(message: Message) -> None:
        group = Group("room", channel_layer=message.channel_layer)
        assert message.reply_channel is not None
        for number in range(0, 10, 2):
            message.reply_channel.send({"n": number})
            group.send({"n": number + 1})

    inbox.post("test", {})
    with running(make_worker(layer, {"test": consumer})):
        seen = inbox.wait(12)[1:]
    assert seen == [*[(("client", "room")[n % 2], {"n": n}) for n in range(10)], ("client", Outcome.CONSUMED)]


def test_messages_of_a_channel_are_consumed_in_order(layer: BaseChannelLayer) -> None:
    def consumer(message: Message) -> None:
        Channel("out", channel_layer=message.channel_layer).send({"n": message["n"]})

    for number in range(100):
        layer.send("test", {"n": number})
    with running(make_worker(layer, {"test": consumer})):
        assert [message["n"] for message in drain(layer, "out", 100)] == list(range(100))


def test_each_message_is_consumed_exactly_once_by_many_workers(layer: BaseChannelLayer) -> None:
    seen: Counter[int] = Counter()
    lock = threading.Lock()

    def consumer(message: Message) -> None:
        if message["n"] % 50 == 0:
            time.sleep(0.06)  # long enough for the batch behind it to be handed back
        with lock:
            seen[message["n"]] += 1

    with running(make_group(layer, {"test": consumer}, 4), make_group(layer, {"test": consumer}, 2)):
        for number in range(500):
            layer.send("test", {"n": number})
        eventually(lambda: len(seen) == 500, timeout=15)
    assert set(seen.values()) == {1}


def test_answers_that_were_finished_do_not_wait_for_a_slow_consumer_behind_them(layer: BaseChannelLayer) -> None:
    inbox = Inbox(layer)
    release = threading.Event()

    def consumer(message: Message) -> None:
        if message["n"] == 3:
            release.wait(scaled(10))
        assert message.reply_channel is not None
        message.reply_channel.send({"n": message["n"]})

    for number in range(4):
        inbox.post("test", {"n": number}, token=str(number))
    with running(make_worker(layer, {"test": consumer})):
        early = list(inbox.wait(6))
        release.set()
        inbox.wait(8)
    assert sorted(what["n"] for _, what in early if isinstance(what, dict)) == [0, 1, 2]


def test_with_a_prefetch_of_one_nothing_is_taken_beyond_what_runs(memory: ChannelLayer) -> None:
    release = threading.Event()
    seen: list[Any] = []

    def consumer(message: Message) -> None:
        seen.append(message)
        if message["n"] >= 0:
            release.wait(scaled(10))

    worker = make_worker(memory, {"test": consumer})
    worker.prefetch = 1
    with running(worker):
        warm_up(memory, seen)
        memory.run(memory.planner.pushes([Outgoing("test", {"n": number}) for number in range(5)], {}))
        eventually(lambda: memory.run([Length("test")]) == [4])
        release.set()


@pytest.mark.parametrize(("duration", "size"), [(0.0, 10), (0.0001, 10), (0.002, 10), (0.004, 5), (0.019, 1), (5.0, 1)])
def test_batches_are_as_large_as_consumers_are_fast(duration: float, size: int) -> None:
    assert batch_size(duration, 10) == size


def test_fifty_threads_run_fifty_waiting_consumers_at_once(memory: ChannelLayer) -> None:
    seen: list[Message] = []
    together = threading.Barrier(50)

    def consumer(message: Message) -> None:
        together.wait(scaled(5))
        seen.append(message)

    with running(make_group(memory, {"test": consumer}, 50)):
        for _ in range(50):
            memory.send("test", {})
        eventually(lambda: len(seen) == 50, timeout=10)


def test_a_send_to_a_full_channel_arrives_when_there_is_room(layer: BaseChannelLayer) -> None:
    layer.planner.capacities = Capacities(1000, {"out": 2})

    def consumer(message: Message) -> None:
        for number in range(4):
            Channel("out", channel_layer=message.channel_layer).send({"n": number})

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        eventually(lambda: layer.run([Length("out")]) == [2])
        assert [message["n"] for message in drain(layer, "out", 4)] == [0, 1, 2, 3]
    assert layer.losses.as_dict() == {}


def test_a_send_to_a_channel_that_stays_full_is_dropped_and_counted(
    layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outstanding, "RETRY_TIME", 0.2)
    layer.planner.capacities = Capacities(1000, {"out": 1})
    done: list[Message] = []

    def consumer(message: Message) -> None:
        for number in range(3):
            Channel("out", channel_layer=message.channel_layer).send({"n": number})

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer, "next": done.append})):
        eventually(lambda: layer.losses.as_dict() == {"full": 2})
        layer.send("next", {})
        eventually(lambda: done)
    assert layer.run([Length("out")]) == [1]


def test_a_group_send_to_full_members_is_never_repeated(layer: BaseChannelLayer) -> None:
    layer.planner.capacities = Capacities(1000, {"narrow": 1})
    layer.group_add("room", "narrow")
    layer.group_add("room", "wide")

    def consumer(message: Message) -> None:
        for number in range(3):
            Group("room", channel_layer=message.channel_layer).send({"n": number})

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        eventually(lambda: layer.losses.as_dict() == {"full": 2})
    assert layer.run([Length("narrow"), Length("wide")]) == [1, 3]


def test_an_interface_server_that_is_gone_is_counted_once(layer: BaseChannelLayer) -> None:
    gone = new_inbox()
    layer.run([Join("room", gone, ["client"])])

    def consumer(message: Message) -> None:
        Group("room", channel_layer=message.channel_layer).send({})

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        eventually(layer.losses.as_dict)
        layer.send("test", {})
        layer.send("test", {})
        eventually(lambda: layer.run([Length("test")]) == [0])
    assert layer.run([Lookup("room")]) == [Audience({}, [], [])]
    assert layer.losses.as_dict() == {"dead": 1}


def test_an_idle_worker_is_woken_by_a_message(layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK", 60.0)  # longer than anything here waits
    seen: list[Message] = []
    with running(make_worker(layer, {"test": seen.append})):
        for count in range(1, 6):
            layer.send("test", {})
            eventually(lambda count=count: len(seen) == count)  # type: ignore[misc]


class SlowHandler(AsgiHandler):
    """A view that takes a little more than a second."""

    def get_response(self, request: Any) -> HttpResponse:
        time.sleep(1.1)
        Channel("test", channel_layer=request.message.channel_layer).send({})
        return HttpResponse(b"late")


class SlowViews(ViewConsumer):
    handler_class = SlowHandler


def test_a_slow_view_that_sends_at_its_end_has_held_nothing(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    memory.send("http.request", {"reply_channel": "client", "path": "/", "method": "GET"})
    with running(make_worker(memory, {"http.request": SlowViews()})):
        assert drain(memory, "client", 1)[0]["content"] == b"late"
    assert "held" not in caplog.text


def test_a_consumer_that_held_a_message_for_long_is_named_with_the_time(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    def consumer(message: Message) -> None:
        pending_message_store.prepend(message.reply_channel, {"n": 1})  # type: ignore[arg-type]
        time.sleep(1.1)

    memory.send("test", {"reply_channel": "client"})
    with running(make_worker(memory, {"test": consumer})):
        drain(memory, "client", 1)
    assert re.search(r"consumer of test held 1 message\(s\) for \d+\.\d s until it returned", caplog.text)


def test_a_consumer_that_does_not_answer_a_handshake_accepts_it_if_the_setting_says_so(memory: ChannelLayer) -> None:
    def consumer(message: Message, **kwargs: Any) -> None:
        if message["path"] == "/raise":
            raise ValueError("refused")
        if message["path"] == "/close":
            Channel(message["reply_channel"], channel_layer=message.channel_layer).send({"close": True})

    inbox = Inbox(memory)
    for path in ("/silent", "/close", "/raise"):
        inbox.post("websocket.connect", {"path": path}, local=path[1:])
    with (
        override_settings(CHANNELS_IMPLICIT_ACCEPT=True),
        running(make_worker(memory, {"websocket.connect": consumer})),
    ):
        seen = inbox.wait(5)
    assert seen == [
        ("silent", {"accept": True}),
        ("silent", Outcome.CONSUMED),
        ("close", {"close": True}),
        ("close", Outcome.CONSUMED),
        ("raise", Outcome.RAISED),
    ]
