"""The order of effects around a consumer that raises, is put back or is not found, as in 1.1.8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from channels_classic import Channel, Group, route
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ConsumeLater, DenyConnection, WebsocketCloseException
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.message import Message
from channels_classic.routing import Router
from channels_classic.signals import consumer_finished, consumer_started
from channels_classic.test import Client, apply_routes
from tests.support.waiting import eventually
from tests.worker.harness import Inbox, drain, make_worker, running


@pytest.fixture
def memory() -> ChannelLayer:
    return ChannelLayer()


def _connected(layer: ChannelLayer, consumer: Any, number: int) -> list[dict[str, Any]]:
    """The first replies to a handshake that `consumer` takes."""
    layer.send("websocket.connect", {"reply_channel": "client", "path": "/"})
    with running(make_worker(layer, {"websocket.connect": consumer})):
        return list(drain(layer, "client", number))


def test_what_a_consumer_sent_before_it_denied_leaves_before_the_denial(memory: ChannelLayer) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"accept": True})  # type: ignore[union-attr]
        raise DenyConnection

    assert _connected(memory, consumer, 2) == [{"accept": True}, {"close": True}]


@pytest.mark.parametrize(("code", "close"), [(None, True), (3001, 3001)])
def test_what_a_consumer_sent_before_it_closed_leaves_before_the_close(
    memory: ChannelLayer, code: int | None, close: Any
) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"text": "goodbye"})  # type: ignore[union-attr]
        raise WebsocketCloseException(code)

    assert _connected(memory, consumer, 2) == [{"text": "goodbye"}, {"close": close}]


def test_a_consumer_that_is_retried_sends_again_each_time(memory: ChannelLayer) -> None:
    attempts: list[int] = []

    def consumer(message: Message) -> None:
        attempts.append(1)
        message.reply_channel.send({"attempt": len(attempts)})  # type: ignore[union-attr]
        if len(attempts) < 3:
            raise ConsumeLater

    assert _connected(memory, consumer, 3) == [{"attempt": 1}, {"attempt": 2}, {"attempt": 3}]


def test_a_message_that_is_put_back_overtakes_what_its_consumer_sent(memory: ChannelLayer) -> None:
    seen: list[dict[str, Any]] = []

    def consumer(message: Message) -> None:
        seen.append(dict(message.content))
        if len(seen) == 1:
            Channel("test", channel_layer=message.channel_layer).send({"sent": "inside"})
            raise ConsumeLater

    memory.send("test", {})
    worker = make_worker(memory, {"test": consumer})
    worker.prefetch = 1
    with running(worker):
        eventually(lambda: len(seen) == 3)
    assert seen == [{}, {"__retries__": 1}, {"sent": "inside"}]


def test_no_signals_surround_a_message_that_no_route_takes(memory: ChannelLayer) -> None:
    seen: list[str] = []

    def started(**kwargs: Any) -> None:
        seen.append("started")

    def finished(**kwargs: Any) -> None:
        seen.append("finished")

    consumer_started.connect(started)
    consumer_finished.connect(finished)
    try:
        routing = [route("test", lambda message: seen.append("consumed"), kind="wanted")]
        memory.send("test", {"kind": "other"})
        memory.send("test", {"kind": "wanted"})
        with running(make_worker(memory, routing)):
            eventually(lambda: "finished" in seen)
    finally:
        consumer_started.disconnect(started)
        consumer_finished.disconnect(finished)
    assert seen == ["started", "consumed", "finished"]


def test_a_socket_on_a_path_that_no_route_takes_is_accepted_and_its_frames_ignored(memory: ChannelLayer) -> None:
    seen: list[str] = []
    routing = [route("websocket.connect", lambda message: seen.append("consumed"), path="^/chat/$")]
    router = Router(routing)
    router.check_default(http_consumer=print)
    worker = make_worker(memory, routing)
    worker.channel_layer.router = router
    memory.send("websocket.connect", {"reply_channel": "client", "path": "/other/"})
    memory.send("websocket.receive", {"reply_channel": "client", "path": "/other/", "text": "hello"})
    memory.send("websocket.disconnect", {"reply_channel": "client", "path": "/other/"})
    with running(worker):
        assert drain(memory, "client", 1) == [{"accept": True}]
        eventually(lambda: memory.receive(["websocket.disconnect"]) == (None, None))
    assert memory.receive(["client"]) == (None, None)
    assert seen == []


# What is sent outside of a consumer, and at once, overtakes nothing


@contextmanager
def finished_by(receiver: Callable[..., Any]) -> Iterator[None]:
    consumer_finished.connect(receiver)
    try:
        yield
    finally:
        consumer_finished.disconnect(receiver)


def _send(layer: Any, name: str, number: int) -> None:
    Channel(name, channel_layer=layer).send({"n": number})


def _send_immediately(layer: Any, name: str, number: int) -> None:
    Channel(name, channel_layer=layer).send({"n": number}, immediately=True)


def _send_on_the_layer(layer: Any, name: str, number: int) -> None:
    layer.send(name, {"n": number})


def _send_to_a_group(layer: Any, name: str, number: int) -> None:
    Group("everybody", channel_layer=layer).send({"n": number})


def _send_to_a_group_immediately(layer: Any, name: str, number: int) -> None:
    Group("everybody", channel_layer=layer).send({"n": number}, immediately=True)


def _send_to_a_recoverable_group_immediately(layer: Any, name: str, number: int) -> None:
    Group("everybody", channel_layer=layer, keep=9).send({"n": number}, immediately=True)


WAYS = [_send, _send_immediately, _send_on_the_layer, _send_to_a_group]


@pytest.fixture(params=["memory", "redis"])
def any_layer(request: pytest.FixtureRequest) -> Iterator[BaseChannelLayer]:
    if request.param == "memory":
        yield ChannelLayer()
        return
    layer = RedisChannelLayer(hosts=[request.getfixturevalue("redis_url")])
    yield layer
    layer.close()


def _sends_two(message: Message, **kwargs: Any) -> None:
    for number in (1, 2):
        _send(message.channel_layer, "client", number)


async def _sends_two_as_a_coroutine(message: Message, **kwargs: Any) -> None:
    _sends_two(message)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("consumer", [_sends_two, _sends_two_as_a_coroutine])
def test_what_a_receiver_of_consumer_finished_sends_comes_after_what_the_consumer_sent(
    any_layer: BaseChannelLayer, way: Any, consumer: Any
) -> None:
    any_layer.group_add("everybody", "client")
    worker = make_worker(any_layer, {"test": consumer})

    def receiver(**kwargs: Any) -> None:
        way(worker.channel_layer, "client", 3)

    any_layer.send("test", {})
    with finished_by(receiver), running(worker):
        assert [message["n"] for message in drain(any_layer, "client", 3)] == [1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_and_so_it_does_in_the_test_client(default_layer: ChannelLayerWrapper, db: None, way: Any) -> None:
    default_layer.group_add("everybody", "client")

    def receiver(**kwargs: Any) -> None:
        way(default_layer, "client", 3)

    with finished_by(receiver), apply_routes({"test": _sends_two}):
        Client().send_and_consume("test")
    assert [message["n"] for message in drain(default_layer.channel_layer, "client", 3)] == [1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_consumer_sends_at_once_comes_after_what_the_consumers_before_it_sent(
    any_layer: BaseChannelLayer, way: Any
) -> None:
    any_layer.group_add("everybody", "client")
    number = 60

    def consumer(message: Message) -> None:
        (way if message["n"] % 3 == 2 else _send)(message.channel_layer, "client", message["n"])

    for n in range(number):
        any_layer.send("test", {"n": n})
    with running(make_worker(any_layer, {"test": consumer})):
        assert [message["n"] for message in drain(any_layer, "client", number)] == list(range(number))


@pytest.mark.parametrize("way", [_send_to_a_group_immediately, _send_to_a_recoverable_group_immediately])
def test_what_a_consumer_sends_at_once_to_a_group_with_clients_comes_after_what_came_before(
    any_layer: BaseChannelLayer, way: Any
) -> None:
    """Its script pushes to their inbox at once."""
    inbox, number = Inbox(any_layer), 60
    any_layer.group_add("everybody", inbox.client())

    def consumer(message: Message) -> None:
        send = way if message["n"] % 3 == 2 else _send_to_a_group
        send(message.channel_layer, "", message["n"])

    for n in range(number):
        any_layer.send("test", {"n": n})
    with running(make_worker(any_layer, {"test": consumer})):
        hint, *got = inbox.wait(number + 1)
    assert hint == ("", EntryKind.JOINED)
    assert [message["n"] for _, message in got] == list(range(number))


@pytest.mark.parametrize("consumer", [_sends_two, _sends_two_as_a_coroutine])
def test_what_a_receiver_of_consumer_started_sends_comes_first(any_layer: BaseChannelLayer, consumer: Any) -> None:
    worker = make_worker(any_layer, {"test": consumer})

    def receiver(**kwargs: Any) -> None:
        _send(worker.channel_layer, "client", 0)

    consumer_started.connect(receiver)
    try:
        any_layer.send("test", {})
        with running(worker):
            assert [message["n"] for message in drain(any_layer, "client", 3)] == [0, 1, 2]
    finally:
        consumer_started.disconnect(receiver)


def test_who_leaves_a_group_still_gets_what_the_consumers_before_sent_to_it(any_layer: BaseChannelLayer) -> None:
    def consumer(message: Message) -> None:
        group = Group("everybody", channel_layer=message.channel_layer)
        if message["n"] % 2:
            group.discard("client")
        else:
            group.add("client")
            group.send({"n": message["n"]})

    for n in range(40):
        any_layer.send("test", {"n": n})
    with running(make_worker(any_layer, {"test": consumer})):
        assert [message["n"] for message in drain(any_layer, "client", 20)] == list(range(0, 40, 2))


def test_a_message_that_is_put_back_does_not_overtake_what_the_consumers_before_sent(
    any_layer: BaseChannelLayer,
) -> None:
    seen: list[Any] = []

    def consumer(message: Message) -> None:
        seen.append(message["n"])
        if message["n"] == "late" and not message.get("__retries__"):
            raise ConsumeLater
        if message["n"] < "late":
            _send(message.channel_layer, "test", "sent by " + message["n"])

    for n in ("a", "b", "late"):
        any_layer.send("test", {"n": n})
    with running(make_worker(any_layer, {"test": consumer})):
        eventually(lambda: seen.count("late") == 2 and len(seen) == 6)
    assert seen == ["a", "b", "late", "sent by a", "sent by b", "late"]
