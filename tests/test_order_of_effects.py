"""What a worker does in which order around a consumer that raises, is put back or is not found, as in 1.1.8."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic import Channel, route
from channels_classic.exceptions import ConsumeLater, DenyConnection, WebsocketCloseException
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.routing import Router
from channels_classic.signals import consumer_finished, consumer_started
from tests.support.waiting import eventually
from tests.worker.harness import drain, make_worker, running


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
