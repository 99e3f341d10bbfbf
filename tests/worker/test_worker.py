"""The surface of 1.x, and everything that must not end a worker."""

from __future__ import annotations

import inspect
import logging
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from unittest import mock

import pytest
from django.db import connection

from channels_classic import Channel, Group, route
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ChannelSocketException, ConsumeLater, DenyConnection, InvalidChannelName
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.steps import Length
from channels_classic.management.commands import runworker
from channels_classic.message import Message
from channels_classic.signals import consumer_failed, consumer_finished, consumer_started, worker_ready
from channels_classic.worker import Worker, WorkerGroup, loop
from channels_classic.worker.config import WorkerConfig
from tests.support.waiting import eventually, scaled
from tests.worker.harness import Ending, drain, make_group, make_worker, running


class LoopCount(Worker):
    """A worker that goes round as often as `termed` was set to, as tests written for 1.x make it."""

    @property
    def termed(self) -> Any:
        if not self._rounds:
            return True
        self._rounds -= 1
        return False

    @termed.setter
    def termed(self, value: Any) -> None:
        self._rounds = int(value)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """Gives the errors that were logged so far."""
    caplog.set_level(logging.DEBUG, "django.channels")
    return lambda: [record for record in caplog.records if record.levelno >= logging.ERROR]


Errors = Callable[[], list[logging.LogRecord]]


# Channels


@pytest.mark.parametrize(
    ("only", "exclude", "expected"),
    [
        (None, None, ["yes.1", "yes", "no.1", "maybe"]),
        (["yes.*"], None, ["yes.1"]),
        (None, ["no.*"], ["yes.1", "yes", "maybe"]),
        (["*.1"], ["no.*"], ["yes.1"]),
        (["YES*"], None, []),
    ],
)
def test_channels_are_filtered_by_globs(only: Any, exclude: Any, expected: list[str]) -> None:
    worker = Worker(None, only_channels=only, exclude_channels=exclude)
    assert worker.apply_channel_filters(["yes.1", "yes", "no.1", "maybe"]) == expected


def test_filters_give_a_list_also_for_a_set() -> None:
    assert Worker(None).apply_channel_filters({"one"}) == ["one"]


def test_only_the_filtered_channels_are_consumed(memory: ChannelLayer) -> None:
    seen: list[str] = []
    routing = [route(["a", "b"], lambda message: seen.append(message.channel.name))]
    memory.send("a", {})
    memory.send("b", {})
    with running(make_worker(memory, routing, only_channels=["b"])):
        eventually(lambda: seen)
    assert seen == ["b"]
    assert memory.receive(["a"])[0] == "a"


def test_a_routing_that_names_an_impossible_channel_is_refused_at_the_start(memory: ChannelLayer) -> None:
    with pytest.raises(InvalidChannelName, match="no channel"):
        make_worker(memory, {"no channel": lambda message: None}).run()


# What 1.x tests rely on


def test_run_may_be_called_again_and_reads_termed_once_each_time(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BLOCK", 0.05)
    seen: list[int] = []
    wrapper = ChannelLayerWrapper(memory, "default", {"test": lambda message: seen.append(message["n"])})
    worker = LoopCount(wrapper, signal_handlers=False)
    worker.prefetch = 1
    for number in range(4):
        memory.send("test", {"n": number})
    worker.termed = 1
    worker.run()
    assert seen == [0]
    worker.termed = 2
    worker.run()
    assert seen == [0, 1, 2]


def test_a_message_that_is_consumed_later_is_consumed_twice_and_sent_once(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BLOCK", 0.05)
    consumer = mock.Mock(side_effect=[ConsumeLater(), None])
    wrapper: Any = ChannelLayerWrapper(memory, "default", [route("test", consumer)])
    wrapper.send = mock.Mock(side_effect=memory.send)
    worker = LoopCount(wrapper, signal_handlers=False)
    wrapper.channel_layer.send("test", {"test": "test"})
    worker.termed = 2
    worker.run()
    assert consumer.call_count == 2
    assert wrapper.send.call_count == 1


def test_a_consumer_that_sends_nothing_sends_nothing(memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK", 0.05)
    consumer = mock.Mock()
    wrapper: Any = ChannelLayerWrapper(memory, "default", [route("test", consumer)])
    wrapper.send = mock.Mock(side_effect=memory.send)
    worker = LoopCount(wrapper, signal_handlers=False)
    memory.send("test", {"test": "test"})
    worker.termed = 2
    worker.run()
    assert (consumer.call_count, wrapper.send.call_count) == (1, 0)


def test_consume_later_runs_a_consumer_eleven_times_at_most(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    doomed: list[bool] = []

    def consumer(message: Message) -> None:
        doomed.append(hasattr(message, "__doomed__"))
        raise ConsumeLater

    memory.send("test", {"path": "/room/", "text": "a password", "x" * 1000: 1})
    with running(make_worker(memory, {"test": consumer})):
        eventually(lambda: "put back 10 times" in caplog.text)
    assert doomed == [False] * 10 + [True]
    (line,) = [text for text in caplog.messages if text.startswith("Dropped a message of test")]
    assert "path='/room/'" in line
    assert "password" not in line
    assert len(line) < 400


def test_consume_later_keeps_what_the_consumer_changed(memory: ChannelLayer) -> None:
    seen: list[Any] = []

    def consumer(message: Message) -> None:
        seen.append(message.get("mark"))
        message["mark"] = "set"
        if len(seen) == 1:
            raise ConsumeLater

    memory.send("test", {})
    with running(make_worker(memory, {"test": consumer})):
        eventually(lambda: len(seen) == 2)
    assert seen == [None, "set"]


def test_signals_surround_the_consumer(memory: ChannelLayer) -> None:
    order: list[Any] = []

    def started(sender: Any, environ: Any, **kwargs: Any) -> None:
        order.append(("started", sender, environ))

    def finished(sender: Any, **kwargs: Any) -> None:
        order.append(("finished", sender))

    consumer_started.connect(started)
    consumer_finished.connect(finished)
    try:
        memory.send("test", {})
        with running(make_worker(memory, {"test": lambda message: order.append("consumed")})):
            eventually(lambda: len(order) == 3)
    finally:
        consumer_started.disconnect(started)
        consumer_finished.disconnect(finished)
    assert order == [("started", Worker, {}), "consumed", ("finished", Worker)]


def test_in_job_is_true_only_while_a_consumer_runs(memory: ChannelLayer) -> None:
    seen: list[bool] = []
    worker: Worker = make_worker(memory, {"test": lambda message: seen.append(worker.in_job)})
    assert not worker.in_job
    with running(worker):
        memory.send("test", {})
        eventually(lambda: seen)
        eventually(lambda: not worker.in_job)
    assert seen == [True]
    assert not worker.in_job


def test_every_worker_of_a_group_says_that_it_is_ready(memory: ChannelLayer) -> None:
    ready: list[Any] = []

    def receiver(sender: Any, **kwargs: Any) -> None:
        ready.append(sender)

    worker_ready.connect(receiver)
    try:
        group = make_group(memory, {}, 3)
        group.ready()
    finally:
        worker_ready.disconnect(receiver)
    assert ready == [group, *group.workers]
    assert len(group.workers) == 2


@pytest.mark.parametrize("threads", [0, 1])
def test_a_group_of_one_has_no_other_workers(memory: ChannelLayer, threads: int) -> None:
    assert make_group(memory, {}, threads).workers == []


def test_a_group_consumes_in_all_its_threads_and_ends_them(memory: ChannelLayer) -> None:
    barrier = threading.Barrier(3)
    passed: list[int] = []

    def consumer(message: Message) -> None:
        barrier.wait(scaled(5))
        passed.append(message["n"])

    group = make_group(memory, {"test": consumer}, 3)
    with running(group):
        for number in range(3):
            memory.send("test", {"n": number})
        eventually(lambda: len(passed) == 3)
    assert not any(thread.is_alive() for thread in group.threads)
    assert not any(worker.in_job for worker in group.workers)


def test_a_group_can_run_again(memory: ChannelLayer) -> None:
    seen: list[Any] = []
    group = WorkerGroup(
        ChannelLayerWrapper(memory, "default", {"test": seen.append}), signal_handlers=False, n_threads=2
    )
    for expected in (1, 2):
        group.termed = False
        with running(group):
            memory.send("test", {})
            eventually(lambda expected=expected: len(seen) == expected)  # type: ignore[misc]


# What must not end a worker


def survives(layer: ChannelLayer, routing: list[Any], **options: Any) -> None:
    """A worker that is given a message of `bad` consumes one of `good` afterwards."""
    good: list[Message] = []
    layer.send("bad", {"text": None, "number": 5})
    with running(make_worker(layer, [*routing, route("good", good.append)], **options)):
        eventually(lambda: layer.run([Length("bad")]) == [0])
        layer.send("good", {})
        eventually(lambda: good)


def _raise(error: BaseException) -> Any:
    def consumer(message: Message, **kwargs: Any) -> None:
        raise error

    return consumer


class _Broken(ChannelSocketException):
    def run(self, message: Message) -> None:
        raise RuntimeError("the exception's own run is broken")


class _BrokenRoute:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def match(self, message: Message) -> None:
        if message.channel.name == "bad":
            raise self._error

    def channel_names(self) -> set[str]:
        return {"bad"}


class _Bound:
    def method(self, message: Message) -> None:
        raise RuntimeError("a bound method")


@pytest.mark.parametrize(
    "consumer",
    [
        _raise(RuntimeError("broken")),
        _raise(Ending()),
        _raise(SystemExit(1)),
        _raise(DenyConnection()),
        _raise(_Broken()),
        _raise(GeneratorExit()),
        lambda message: Channel("not a channel").send({}),
        lambda message: Group("not a group!").send({}),
        lambda message: Channel("x").send({"object": object()}),
        lambda message: sys.exit(),
        lambda message: 1 / 0,
        lambda message, room: None,
        _Bound().method,
    ],
)
def test_nothing_a_consumer_does_ends_the_worker(memory: ChannelLayer, errors: Errors, consumer: Any) -> None:
    with mock.patch.dict("channels_classic.asgi.channel_layers.backends", {"default": memory}):
        survives(memory, [route("bad", consumer)])
    assert len(errors()) == 1


BROKEN = pytest.mark.parametrize("error", [RuntimeError("this is broken"), SystemExit(1), Ending()], ids=repr)


@BROKEN
def test_a_route_that_raises_does_not_end_the_worker(
    memory: ChannelLayer, errors: Errors, error: BaseException
) -> None:
    survives(memory, [_BrokenRoute(error)])
    assert [record.getMessage() for record in errors()] == ["The routing failed on a message of bad."]


def test_a_filter_on_a_value_that_is_no_text_does_not_end_the_worker(memory: ChannelLayer, errors: Errors) -> None:
    survives(memory, [route("bad", lambda message: None, text="x"), route("bad", lambda message: None, number="5")])
    (record,) = errors()
    assert "No route takes a message of bad: " in record.getMessage()


@BROKEN
def test_a_callback_that_raises_does_not_end_the_worker(
    memory: ChannelLayer, errors: Errors, error: BaseException
) -> None:
    seen: list[Message] = []

    def callback(channel: str, message: Message) -> None:
        if channel == "bad":
            raise error

    survives(memory, [route("bad", seen.append)], callback=callback)
    assert len(seen) == 1
    assert len(errors()) == 1


@pytest.mark.parametrize("signal", [consumer_started, consumer_finished, consumer_failed])
@BROKEN
def test_a_signal_receiver_that_raises_does_not_end_the_worker(
    memory: ChannelLayer, signal: Any, error: BaseException, errors: Errors
) -> None:
    broken = [True]

    def receiver(**kwargs: Any) -> None:
        if broken.pop() if broken else False:
            raise error

    signal.connect(receiver)
    try:
        survives(memory, [route("bad", _raise(ValueError()) if signal is consumer_failed else lambda message: None)])
    finally:
        signal.disconnect(receiver)
    assert not broken
    assert errors()


def test_a_consumer_that_fails_is_logged_once_with_its_channel_name_and_traceback(
    memory: ChannelLayer, errors: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    survives(memory, [route("bad", _Bound().method)])
    (record,) = errors()
    assert "test_worker._Bound.method of bad failed after 0." in record.getMessage()
    assert record.exc_info is not None
    assert "a bound method" in caplog.text


def test_what_a_consumer_sent_before_it_raised_is_delivered(memory: ChannelLayer) -> None:
    def consumer(message: Message) -> None:
        Channel("out", channel_layer=message.channel_layer).send({"n": 1})
        raise RuntimeError

    memory.send("test", {})
    with running(make_worker(memory, {"test": consumer})):
        assert drain(memory, "out", 1) == [{"n": 1}]


def test_one_message_that_cannot_be_sent_does_not_hold_up_the_others(memory: ChannelLayer, errors: Errors) -> None:
    def consumer(message: Message) -> None:
        layer = message.channel_layer
        Channel("out", channel_layer=layer).send({"n": 1})
        Channel("not a channel", channel_layer=layer).send({"n": 2})
        Group("not a group!", channel_layer=layer).send({"n": 3})
        Channel("out", channel_layer=layer).send({"n": object()})
        Channel("out", channel_layer=layer).send({"n": 5})

    memory.send("test", {})
    with running(make_worker(memory, {"test": consumer})):
        assert drain(memory, "out", 2) == [{"n": 1}, {"n": 5}]
    assert len(errors()) == 3


def test_sends_to_another_layer_go_there(memory: ChannelLayer) -> None:
    other = ChannelLayer()

    def consumer(message: Message) -> None:
        Channel("out", channel_layer=other).send({"n": 1})
        Channel("out", channel_layer=message.channel_layer).send({"n": 2})

    memory.send("test", {})
    with running(make_worker(memory, {"test": consumer})):
        assert drain(memory, "out", 1) == [{"n": 2}]
    assert other.receive(["out"]) == ("out", {"n": 1})


def test_a_consumer_that_raises_keyboard_interrupt_ends_no_other_thread(memory: ChannelLayer) -> None:
    with mock.patch.dict("channels_classic.asgi.channel_layers.backends", {"default": memory}):
        survives(memory, [route("bad", _raise(KeyboardInterrupt()))])


def test_ctrl_c_in_a_consumer_ends_a_worker_without_signal_handlers_in_order(memory: ChannelLayer) -> None:
    def consumer(message: Message) -> None:
        Channel("out", channel_layer=message.channel_layer).send({"n": message["n"]})
        if message["n"] == 1:
            raise KeyboardInterrupt

    worker = make_worker(memory, {"test": consumer})
    for number in range(3):
        memory.send("test", {"n": number})
    with pytest.raises(KeyboardInterrupt):
        worker.run()
    assert drain(memory, "out", 2) == [{"n": 0}, {"n": 1}]
    assert memory.receive(["test"]) == ("test", {"n": 2})  # never started, so it was put back


@pytest.mark.django_db(transaction=True)
def test_a_connection_to_a_database_is_closed_when_its_consumer_returns(memory: ChannelLayer) -> None:
    seen: list[bool] = []

    def consumer(message: Message) -> None:
        seen.append(connection.connection is not None)
        if message["n"]:
            connection.ensure_connection()

    for number in range(3):
        memory.send("test", {"n": number})
    with running(make_worker(memory, {"test": consumer})):
        eventually(lambda: len(seen) == 3)
    assert seen == [False, False, False]


@pytest.mark.parametrize("name", [option.name for option in fields(WorkerConfig)])
def test_each_option_is_an_attribute_of_the_worker_or_read_by_the_command(name: str) -> None:
    """One that is neither would do nothing; one with the name of a method would replace it."""
    read = re.findall(r"config\.(\w+)", inspect.getsource(runworker) + inspect.getsource(Worker))
    assert name in read or name in vars(Worker)
    assert not callable(vars(Worker).get(name))
