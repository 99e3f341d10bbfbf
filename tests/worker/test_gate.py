"""Tests of what a gate hears: exactly one report for every message that carries a token, behind the replies."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from channels_classic import Channel, Group, route
from channels_classic.exceptions import ConsumeLater, DenyConnection, WebsocketCloseException
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.steps import Length
from channels_classic.message import Message
from channels_classic.signals import consumer_finished
from channels_classic.worker import outstanding, watchdog
from tests.support.waiting import eventually, scaled
from tests.worker.harness import Inbox, make_worker, running


def answer(message: Message, **kwargs: Any) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"text": "answer"})


def broken(message: Message) -> None:
    raise RuntimeError("broken")


def answer_then_break(message: Message) -> None:
    answer(message)
    broken(message)


def deny(message: Message) -> None:
    raise DenyConnection


def close(message: Message) -> None:
    raise WebsocketCloseException(3001)


def hand_on_then_break(message: Message) -> None:
    Channel("other", channel_layer=message.channel_layer).send({"to": message["reply_channel"]})
    broken(message)


def lose_reply_channel(message: Message) -> None:
    del message.content["reply_channel"]


def answer_nonsense(message: Message) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"text": object()})


ANSWER = ("client", {"text": "answer"})


def outcome(kind: Outcome) -> tuple[str, Outcome]:
    return "client", kind


@pytest.mark.parametrize(
    ("channel", "consumer", "expected"),
    [
        ("websocket.receive", answer, [ANSWER, outcome(Outcome.CONSUMED)]),
        ("websocket.receive", lose_reply_channel, [outcome(Outcome.CONSUMED)]),
        ("websocket.receive", broken, [outcome(Outcome.RAISED)]),
        ("websocket.receive", answer_then_break, [ANSWER, outcome(Outcome.RAISED)]),
        ("websocket.receive", hand_on_then_break, [outcome(Outcome.RAISED)]),
        ("websocket.receive", answer_nonsense, [outcome(Outcome.RAISED)]),
        ("websocket.receive", deny, [outcome(Outcome.RAISED)]),
        ("websocket.receive", close, [("client", {"close": 3001}), outcome(Outcome.CONSUMED)]),
        ("websocket.connect", deny, [("client", {"close": True}), outcome(Outcome.CONSUMED)]),
        ("websocket.connect", broken, [outcome(Outcome.RAISED)]),
        ("http.request", answer, [ANSWER]),
        ("http.request", broken, [outcome(Outcome.RAISED)]),
        ("http.request", answer_then_break, [ANSWER, outcome(Outcome.RAISED)]),
        ("http.request", answer_nonsense, [outcome(Outcome.RAISED)]),
        ("http.request", hand_on_then_break, []),
    ],
)
def test_every_end_is_reported_once_behind_the_replies(
    layer: BaseChannelLayer, channel: str, consumer: Any, expected: list[Any]
) -> None:
    inbox = Inbox(layer)
    inbox.post(channel, {})
    with running(make_worker(layer, [route(channel, consumer), route("last", answer)])):
        eventually(lambda: layer.run([Length(channel)]) == [0])
        inbox.post("last", {}, local="last")
        seen = inbox.wait(len(expected) + 2)
    assert seen == [*expected, ("last", {"text": "answer"}), ("last", Outcome.CONSUMED)]


@pytest.mark.parametrize("channel", ["http.request", "websocket.receive"])
def test_a_reply_that_cannot_be_sent_is_reported_also_if_it_was_written_before_the_end(
    layer: BaseChannelLayer, channel: str
) -> None:
    """A receiver of `consumer_finished` that sends must not overtake the consumer."""

    def send(**kwargs: Any) -> None:
        Channel("other", channel_layer=layer).send({})

    inbox = Inbox(layer)
    inbox.post(channel, {})
    consumer_finished.connect(send)
    try:
        with running(make_worker(layer, {channel: answer_nonsense})):
            assert inbox.wait(1) == [outcome(Outcome.RAISED)]
            eventually(lambda: layer.run([Length("other")]) == [1])
    finally:
        consumer_finished.disconnect(send)


def test_a_message_that_no_route_takes_is_reported(memory: ChannelLayer) -> None:
    inbox = Inbox(memory)
    inbox.post("websocket.receive", {"path": "/other"})
    with running(make_worker(memory, [route("websocket.receive", answer, path="^/this")])):
        assert inbox.wait(1) == [outcome(Outcome.UNROUTED)]


def test_a_message_that_expired_is_reported() -> None:
    layer = ChannelLayer(expiry=0.01)
    inbox = Inbox(layer)
    inbox.post("websocket.receive", {})
    threading.Event().wait(0.05)
    layer.planner.expiry = 60
    with running(make_worker(layer, {"websocket.receive": answer})):
        assert inbox.wait(1) == [outcome(Outcome.EXPIRED)]
    assert layer.losses.as_dict() == {"expired": 1}


def test_a_message_that_is_consumed_later_takes_its_token_along(layer: BaseChannelLayer) -> None:
    inbox = Inbox(layer)
    tries: list[int] = []

    def consumer(message: Message) -> None:
        tries.append(1)
        answer(message)
        if len(tries) < 3:
            raise ConsumeLater

    inbox.post("websocket.receive", {})
    with running(make_worker(layer, {"websocket.receive": consumer})):
        assert inbox.wait(4) == [ANSWER, ANSWER, ANSWER, outcome(Outcome.CONSUMED)]


def test_a_message_that_was_put_back_too_often_is_reported_as_dropped(layer: BaseChannelLayer) -> None:
    inbox = Inbox(layer)
    tries: list[int] = []

    def consumer(message: Message) -> None:
        tries.append(1)
        raise ConsumeLater

    inbox.post("websocket.receive", {})
    with running(make_worker(layer, {"websocket.receive": consumer}, message_retries=2)):
        assert inbox.wait(1) == [outcome(Outcome.DROPPED)]
    assert len(tries) == 3


def test_a_message_that_cannot_be_put_back_is_reported_as_dropped(
    layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def consumer(message: Message) -> None:
        raise ConsumeLater

    monkeypatch.setattr(outstanding, "RETRY_TIME", 0.2)
    inbox = Inbox(layer)
    inbox.post("websocket.receive", {})
    layer.planner.capacities = Capacities(1000, {"websocket.receive": 0})
    with running(make_worker(layer, {"websocket.receive": consumer})):
        assert inbox.wait(1) == [outcome(Outcome.DROPPED)]
    assert layer.losses.as_dict() == {"full": 1}


def test_a_consumer_that_runs_long_is_reported_as_running(
    layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "RUNNING_INTERVAL", 0.1)
    monkeypatch.setattr(watchdog, "PACE", 0.05)
    inbox = Inbox(layer, shows_running=True)
    release = threading.Event()

    def consumer(message: Message) -> None:
        release.wait(scaled(10))

    inbox.post("websocket.receive", {})
    with running(make_worker(layer, {"websocket.receive": consumer})):
        inbox.wait(3)
        release.set()
        while Outcome.CONSUMED not in inbox.reports():
            inbox.wait(len(inbox.seen) + 1)
    assert inbox.reports()[:3] == [Outcome.RUNNING] * 3
    assert inbox.reports()[-1] is Outcome.CONSUMED


def test_a_connect_consumer_that_says_nothing_is_named(memory: ChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    def silent(message: Message) -> None:
        Group("room", channel_layer=message.channel_layer).add(message.content["reply_channel"])

    inbox = Inbox(memory)
    inbox.post("websocket.connect", {})
    with running(make_worker(memory, {"websocket.connect": silent})):
        inbox.wait(2)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "silent of websocket.connect neither accepted nor closed" in record.getMessage()


@pytest.mark.parametrize("consumer", [answer, deny, hand_on_then_break])
def test_a_connect_consumer_that_says_something_is_not(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture, consumer: Any
) -> None:
    inbox = Inbox(memory)
    inbox.post("websocket.connect", {})
    with running(make_worker(memory, {"websocket.connect": consumer})):
        inbox.wait(1)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
