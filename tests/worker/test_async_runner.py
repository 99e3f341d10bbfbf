"""Consumers written as `async def`: many at once, with the rules of all consumers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from channels_classic import Channel, Group
from channels_classic.exceptions import ConsumeLater, ConsumerTimeout, DenyConnection, WebsocketCloseException
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.signals import consumer_failed, consumer_finished, consumer_started
from channels_classic.worker import Worker, watchdog
from tests.support.waiting import eventually, eventually_async, scaled
from tests.worker.harness import Ending, Inbox, drain, make_group, make_worker, running


def reply(message: Message, content: dict[str, Any]) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send(content)


class Together:
    """Lets coroutines go on when this many wait, as `asyncio.Barrier` of Python 3.11 does."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._complete = asyncio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        await asyncio.wait_for(self._complete.wait(), scaled(20))


def test_coroutines_run_at_the_same_time_in_one_thread(layer: BaseChannelLayer) -> None:
    threads = set()
    together = Together(50)

    async def consumer(message: Message) -> None:
        threads.add(threading.get_ident())
        await together.wait()
        Channel("out", channel_layer=message.channel_layer).send({"n": message["n"]})

    for number in range(50):
        layer.send("test", {"n": number})
    with running(make_worker(layer, {"test": consumer})):
        answers = drain(layer, "out", 50, 10)
    assert sorted(answer["n"] for answer in answers) == list(range(50))
    assert len(threads) == 1


def test_sends_are_held_until_the_coroutine_ends_and_do_not_mix(layer: BaseChannelLayer) -> None:
    first, second = Inbox(layer), Inbox(layer)

    async def consumer(message: Message) -> None:
        for number in range(3):
            reply(message, {"n": number, "who": message["who"]})
            await asyncio.sleep(0.05)

    first.post("test", {"who": "first"})
    second.post("test", {"who": "second"})
    with running(make_worker(layer, {"test": consumer})):
        for inbox, who in ((first, "first"), (second, "second")):
            replies = [("client", {"n": number, "who": who}) for number in range(3)]
            assert inbox.wait(4) == [*replies, ("client", Outcome.CONSUMED)]


def test_a_coroutine_may_send_at_once(layer: BaseChannelLayer) -> None:
    inbox = Inbox(layer)
    release = threading.Event()

    async def consumer(message: Message) -> None:
        assert message.reply_channel is not None
        reply(message, {"n": "held"})
        await message.channel_layer.send_async(message.reply_channel.name, {"n": "at once"})
        await asyncio.to_thread(release.wait)

    inbox.post("test", {})
    with running(make_worker(layer, {"test": consumer})):
        assert inbox.wait(1) == [("client", {"n": "at once"})]
        release.set()
        assert inbox.wait(3)[1:] == [("client", {"n": "held"}), ("client", Outcome.CONSUMED)]


def test_a_thousand_coroutines_stream_side_by_side(memory: ChannelLayer) -> None:
    inbox = Inbox(memory)
    together = Together(1000)

    async def consumer(message: Message) -> None:
        assert message.reply_channel is not None
        await together.wait()
        for number in range(5):
            await message.channel_layer.send_async(message.reply_channel.name, {"n": number})

    for number in range(1000):
        inbox.post("test", {}, local=f"client{number}")
    worker = make_worker(memory, {"test": consumer})
    worker.concurrency = 1000
    with running(worker):
        seen = inbox.wait(6000, timeout=40)
    for number in range(1000):
        assert [what for local, what in seen if local == f"client{number}"] == [
            *({"n": n} for n in range(5)),
            Outcome.CONSUMED,
        ]


def test_no_more_run_at_once_than_may(memory: ChannelLayer) -> None:
    most = now = 0

    async def consumer(message: Message) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await eventually_async(lambda: most >= 4)
        await asyncio.sleep(0.02)
        now -= 1
        Channel("out", channel_layer=message.channel_layer).send({})

    for _ in range(30):
        memory.send("test", {})
    group = make_group(memory, {"test": consumer}, 3)
    group.concurrency = 4
    with running(group):
        drain(memory, "out", 30)
    assert most == 4


def test_what_a_coroutine_raises_steers_the_worker(memory: ChannelLayer) -> None:
    tries: list[int] = []

    async def later(message: Message) -> None:
        tries.append(message.get("__retries__", 0))
        if len(tries) < 3:
            raise ConsumeLater

    async def deny(message: Message) -> None:
        raise DenyConnection

    async def close(message: Message) -> None:
        reply(message, {"text": "bye"})
        raise WebsocketCloseException(3001)

    inbox = Inbox(memory)
    with running(make_worker(memory, {"later": later, "websocket.connect": deny, "close": close})):
        memory.send("later", {})
        inbox.post("later", {}, local="later")
        inbox.post("websocket.connect", {}, local="denied")
        inbox.post("close", {}, local="closed")
        seen = inbox.wait(6)
        eventually(lambda: len(tries) >= 4)
    assert sorted(tries[:2]) == [0, 0] and max(tries) >= 1
    assert [what for local, what in seen if local == "denied"] == [{"close": True}, Outcome.CONSUMED]
    assert [what for local, what in seen if local == "closed"] == [{"text": "bye"}, {"close": 3001}, Outcome.CONSUMED]
    assert [what for local, what in seen if local == "later"] == [Outcome.CONSUMED]


@pytest.mark.parametrize(
    "error", [ValueError("broken"), Ending(), SystemExit(1), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_a_coroutine_that_fails_is_reported_and_logged(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    failures: list[dict[str, Any]] = []

    def receiver(**kwargs: Any) -> None:
        failures.append(kwargs)

    async def consumer(message: Message) -> None:
        reply(message, {"n": 1})
        raise error

    inbox = Inbox(memory)
    inbox.post("test", {})
    consumer_failed.connect(receiver)
    try:
        with running(make_worker(memory, {"test": consumer})):
            assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.RAISED)]
            inbox.post("test", {})
            inbox.wait(4)
    finally:
        consumer_failed.disconnect(receiver)
    assert "consumer of test failed after" in caplog.text
    assert failures[0]["exception"] is error and failures[0]["consumer"] is consumer
    assert failures[0]["sender"] is Worker and failures[0]["message"].channel.name == "test"


def test_a_task_of_a_coroutine_that_raises_system_exit_ends_nothing_else(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    tasks: list[asyncio.Task[None]] = []
    go_on = threading.Event()

    async def fail() -> None:
        raise SystemExit(3)

    async def consumer(message: Message) -> None:
        if message["n"] == 1:
            tasks.append(asyncio.create_task(fail()))
        while message["n"] == 0 and not go_on.is_set():
            await asyncio.sleep(0.01)
        reply(message, {"n": message["n"]})

    inbox = Inbox(memory)
    with running(make_worker(memory, {"test": consumer})):
        for number in range(2):
            inbox.post("test", {"n": number}, local=str(number))
        inbox.wait(2)
        eventually(tasks[0].done)
        assert isinstance(tasks[0].exception(), SystemExit)
        go_on.set()
        inbox.wait(4)
        inbox.post("test", {"n": 2}, local="2")
        inbox.wait(6)
    assert inbox.reports() == [Outcome.CONSUMED] * 3
    assert "A task that a consumer started raised SystemExit: the worker continues." in caplog.text


def stop_loop(_: asyncio.Task[Any]) -> None:
    asyncio.get_running_loop().stop()


def cancel_all(own: asyncio.Task[Any]) -> None:
    for task in asyncio.all_tasks() - {own}:
        task.cancel()


@pytest.mark.parametrize("disturb", [stop_loop, cancel_all])
def test_a_coroutine_that_disturbs_the_event_loop_does_not_end_it(
    memory: ChannelLayer, disturb: Callable[[asyncio.Task[Any]], None]
) -> None:
    async def consumer(message: Message) -> None:
        own = asyncio.current_task()
        if message["n"] == 0 and own is not None:
            disturb(own)
        reply(message, {"n": message["n"]})

    inbox = Inbox(memory)
    with running(make_worker(memory, {"test": consumer})):
        for number in range(3):
            inbox.post("test", {"n": number}, local=str(number))
            assert inbox.wait(2 * number + 2)[-1] == (str(number), Outcome.CONSUMED)


def test_a_coroutine_that_is_cancelled_before_it_begins_is_reported_and_its_slot_is_free_again(
    memory: ChannelLayer,
) -> None:
    failures: list[Any] = []
    begun: list[int] = []

    async def consumer(message: Message) -> None:
        own = asyncio.current_task()
        begun.append(message["n"])
        if message["n"] == 0 and own is not None:
            while asyncio.all_tasks() == {own}:  # the next one is there one turn of the loop before it begins
                await asyncio.sleep(0)
            cancel_all(own)
        reply(message, {"n": message["n"]})

    def note(exception: BaseException, **kwargs: Any) -> None:
        failures.append(exception)

    consumer_failed.connect(note)
    inbox = Inbox(memory)
    worker = make_worker(memory, {"test": consumer})
    worker.concurrency = 2
    try:
        with running(worker):
            for number in range(2):
                inbox.post("test", {"n": number}, local=str(number))
            inbox.wait(3)
            for number in range(2, 6):
                inbox.post("test", {"n": number}, local=str(number))
            inbox.wait(3 + 2 * 4)
    finally:
        consumer_failed.disconnect(note)
    assert ("1", Outcome.RAISED) in inbox.seen
    assert begun == [0, 2, 3, 4, 5]
    assert [type(error) for error in failures] == [asyncio.CancelledError]


def test_without_a_thread_for_coroutines_their_consumers_fail_and_the_next_one_tries_again(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start
    refused: list[threading.Thread] = []

    def start_some(thread: threading.Thread) -> None:
        if thread.name == "worker-coroutines" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    async def consumer(message: Message) -> None:
        reply(message, {"n": message["n"]})

    monkeypatch.setattr(threading.Thread, "start", start_some)  # a limit of the system, which root does not have
    inbox = Inbox(memory)
    with running(make_worker(memory, {"test": consumer})):
        inbox.post("test", {"n": 0})
        assert inbox.wait(1) == [("client", Outcome.RAISED)]
        inbox.post("test", {"n": 1})
        assert inbox.wait(3)[1:] == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]
    assert "can't start new thread" in caplog.text


def test_a_message_that_waits_for_its_turn_among_the_coroutines_is_not_timed_out(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "PACE", 0.05)
    go_on = threading.Event()

    async def consumer(message: Message) -> None:
        while message["n"] == 0 and not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        reply(message, {"n": message["n"]})

    inbox = Inbox(memory)
    worker = make_worker(memory, {"test": consumer})
    worker.concurrency, worker.consumer_timeout = 1, 0.2
    with running(worker):
        for number in range(2):
            inbox.post("test", {"n": number}, local=str(number))
        inbox.wait(1)  # the first one was given up
        time.sleep(0.5)  # nothing happens to the second one meanwhile
        go_on.set()
        assert inbox.wait(4)[-2:] == [("1", {"n": 1}), ("1", Outcome.CONSUMED)]


def test_what_a_coroutine_sends_to_another_layer_that_is_full_holds_up_no_other_coroutine(
    memory: ChannelLayer,
) -> None:
    other = ChannelLayer(channel_capacity={"out": 1})

    async def consumer(message: Message) -> None:
        if message["n"] == 0:
            Channel("out", channel_layer=other).send({"n": 1})
        reply(message, {"n": message["n"]})

    other.send("out", {"n": 0})
    inbox = Inbox(memory)
    with running(make_worker(memory, {"test": consumer})):
        for number in range(3):
            inbox.post("test", {"n": number}, local=str(number))
        inbox.wait(4)
        assert other.receive(["out"])[1] == {"n": 0}
        inbox.wait(6)
    assert [local for local, what in inbox.seen if what is Outcome.CONSUMED] == ["1", "2", "0"]
    assert other.receive(["out"])[1] == {"n": 1}


def test_without_a_thread_for_other_layers_each_message_is_sent_once(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor keeps what it could not start a thread for, and runs it with the next one."""
    start, other, refused = threading.Thread.start, ChannelLayer(), threading.Event()

    def start_some(thread: threading.Thread) -> None:
        if thread.name.startswith("asyncio_") and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    async def consumer(message: Message) -> None:
        Channel("out", channel_layer=other).send({"n": message["n"]})
        reply(message, {"n": message["n"]})

    monkeypatch.setattr(threading.Thread, "start", start_some)  # a limit of the system, which root does not have
    inbox = Inbox(memory)
    with running(make_worker(memory, {"test": consumer})):
        for number in range(2):
            inbox.post("test", {"n": number}, local=str(number))
            inbox.wait(2 * number + 2)
    assert refused.is_set()
    assert [other.receive(["out"])[1] for _ in range(3)] == [{"n": 0}, {"n": 1}, None]


def test_a_task_that_outlives_its_consumer_sends_nothing_of_it_again(memory: ChannelLayer) -> None:
    tasks: list[asyncio.Task[None]] = []
    ended = asyncio.Event()

    async def later(message: Message) -> None:
        await ended.wait()
        reply(message, {"text": "later"})

    async def consumer(message: Message) -> None:
        if message["n"]:
            return ended.set()
        reply(message, {"text": "first"})
        tasks.append(asyncio.create_task(later(message)))

    with running(make_worker(memory, {"test": consumer})):
        memory.send("test", {"n": 0, "reply_channel": "client"})
        assert drain(memory, "client", 1) == [{"text": "first"}]
        memory.send("test", {"n": 1, "reply_channel": "client"})
        assert drain(memory, "client", 1) == [{"text": "later"}]
    assert memory.receive(["client"]) == (None, None)


def test_signals_are_sent_around_a_coroutine(memory: ChannelLayer) -> None:
    order: list[str] = []

    def started(**kwargs: Any) -> None:
        order.append("started")

    def finished(**kwargs: Any) -> None:
        order.append("finished")

    async def consumer(message: Message) -> None:
        reply(message, {})
        order.append("consumer")

    inbox = Inbox(memory)
    inbox.post("test", {})
    consumer_started.connect(started)
    consumer_finished.connect(finished)
    try:
        with running(make_worker(memory, {"test": consumer})):
            assert inbox.wait(2) == [("client", {}), ("client", Outcome.CONSUMED)]
    finally:
        consumer_started.disconnect(started)
        consumer_finished.disconnect(finished)
    assert order == ["started", "consumer", "finished"]


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_uses_the_database(memory: ChannelLayer) -> None:
    User.objects.create(username="somebody")

    async def consumer(message: Message) -> None:
        user = await User.objects.aget()
        reply(message, {"name": user.username})

    inbox = Inbox(memory)
    inbox.post("test", {})
    with running(make_worker(memory, {"test": consumer})):
        assert inbox.wait(2) == [("client", {"name": "somebody"}), ("client", Outcome.CONSUMED)]
    connections.close_all()


def test_what_runs_is_finished_when_the_worker_stops(memory: ChannelLayer) -> None:
    started = threading.Event()

    async def consumer(message: Message) -> None:
        started.set()
        await asyncio.sleep(0.3)
        reply(message, {"n": 1})

    inbox = Inbox(memory)
    inbox.post("test", {})
    with running(make_worker(memory, {"test": consumer})):
        assert started.wait(scaled(5))
    assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]


def test_a_coroutine_that_takes_too_long_is_cancelled(memory: ChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    async def consumer(message: Message) -> None:
        reply(message, {"n": message["seconds"]})
        await asyncio.sleep(message["seconds"])

    inbox = Inbox(memory)
    worker = make_worker(memory, {"test": consumer})
    worker.consumer_timeout = scaled(0.5)
    with running(worker):
        inbox.post("test", {"seconds": 60})
        assert inbox.wait(2) == [("client", {"n": 60}), ("client", Outcome.RAISED)]
        inbox.post("test", {"seconds": 0})
        assert inbox.wait(4)[2:] == [("client", {"n": 0}), ("client", Outcome.CONSUMED)]
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.exc_info is not None and isinstance(failure.exc_info[1], ConsumerTimeout)


def test_a_coroutine_that_takes_long_keeps_its_gate_waiting(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "RUNNING_INTERVAL", 0.1)
    monkeypatch.setattr(watchdog, "PACE", 0.05)
    release = threading.Event()

    async def consumer(message: Message) -> None:
        await asyncio.to_thread(release.wait)

    inbox = Inbox(memory, shows_running=True)
    inbox.post("test", {})
    with running(make_worker(memory, {"test": consumer})):
        try:
            assert inbox.wait(2)[:2] == [("client", Outcome.RUNNING)] * 2
        finally:
            release.set()
        eventually(lambda: inbox.wait(len(inbox.seen) + 1)[-1] == ("client", Outcome.CONSUMED))


def test_coroutines_and_functions_work_side_by_side(layer: BaseChannelLayer) -> None:
    layer.group_add("room", "out")

    async def coroutine(message: Message) -> None:
        Group("room", channel_layer=message.channel_layer).send({"n": message["n"]})

    def function(message: Message) -> None:
        Group("room", channel_layer=message.channel_layer).send({"n": message["n"]})

    with running(make_group(layer, {"coroutine": coroutine, "function": function}, 2)):
        for number in range(0, 100, 2):
            layer.send("coroutine", {"n": number})
            layer.send("function", {"n": number + 1})
        answers = drain(layer, "out", 100, 10)
    assert sorted(answer["n"] for answer in answers) == list(range(100))


class Instance:
    async def __call__(self, message: Message) -> None:
        reply(message, {"n": 1})


class Class:
    """A stand-in for a class-based consumer: called, it does its work."""

    def __init__(self, message: Message) -> None:
        reply(message, {"n": 1})


async def with_an_argument(number: int, message: Message) -> None:
    reply(message, {"n": number})


@pytest.mark.parametrize("consumer", [Instance(), functools.partial(with_an_argument, 1), Class])
def test_whatever_can_be_called_is_called_as_it_should(memory: ChannelLayer, consumer: Callable[..., Any]) -> None:
    inbox = Inbox(memory)
    inbox.post("test", {})
    with running(make_worker(memory, {"test": consumer})):
        assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]


def test_a_decorator_that_hides_a_coroutine_is_reported(memory: ChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    async def consumer(message: Message) -> None:
        reply(message, {"n": 1})

    def decorated(message: Message) -> Any:
        return consumer(message)

    inbox = Inbox(memory)
    inbox.post("test", {})
    with running(make_worker(memory, {"test": decorated})):
        assert inbox.wait(1) == [("client", Outcome.RAISED)]
    assert "returned a coroutine, which is not awaited" in caplog.text
