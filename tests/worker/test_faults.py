"""A layer that fails in every way its contract allows, and in one that it does not."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from channels_classic import Channel, Group
from channels_classic.exceptions import ConsumeLater, LayerUnavailable, StepRefused
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import Connection, Lookup, Push, PutBack, Record, Step, Take
from channels_classic.message import Message, pending_message_store
from channels_classic.worker import async_runner, connection, link, loop, outstanding
from tests.support.waiting import eventually, scaled
from tests.worker.harness import Inbox, drain, make_worker, running

AWAY = LayerUnavailable("the test", "it was told to be away", "Wait")
REFUSED = StepRefused("the test", "it was told to refuse")


class FaultyLayer(ChannelLayer):
    """A memory layer whose steps fail as `faults` say: the first one that fits a step is used up."""

    def __init__(self) -> None:
        super().__init__(capacity=1000)
        self.faults: list[tuple[Callable[[Step], bool], Exception]] = []
        self.connect_faults: list[Exception] = []

    def connect(self) -> Connection:
        if self.connect_faults:
            raise self.connect_faults.pop()
        return FaultyConnection(self, super().connect())

    def fault(self, step: Step) -> Exception | None:
        for fault in self.faults:
            if fault[0](step):
                self.faults.remove(fault)
                return fault[1]
        return None

    def fail(self, kind: type, error: Exception, queue: str | None = None) -> None:
        """Let the next step of a kind (on a list) fail."""

        def fits(step: Step) -> bool:
            queues = getattr(step, "queues", None) or [getattr(step, "queue", None)]
            return isinstance(step, kind) and (queue is None or queue in queues)

        self.faults.append((fits, error))


class FaultyConnection:
    """Fails when the result is read; a step that is refused is not carried out."""

    def __init__(self, layer: FaultyLayer, connection: Connection) -> None:
        self._layer = layer
        self._connection = connection
        self.usable, self.wake, self.close = connection.usable, connection.wake, connection.close
        self._errors: deque[Exception | None] = deque()

    def write(self, steps: Sequence[Step]) -> None:
        for step in steps:
            error = self._layer.fault(step)
            self._errors.append(error)
            if error is None:
                self._connection.write([step])

    def read(self) -> Any:
        error = self._errors.popleft()
        if isinstance(error, StepRefused):
            return error
        if error is not None:
            raise error
        return self._connection.read()


@pytest.fixture
def layer() -> FaultyLayer:
    return FaultyLayer()


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_BACKOFF", (0.01, 0.05))
    monkeypatch.setattr(outstanding, "RETRY_TIME", scaled(0.3))
    monkeypatch.setattr(pending_message_store, "retry_time", scaled(0.2))


def answer(message: Message) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"n": message["n"]})


def to_group(message: Message) -> None:
    Group("room", channel_layer=message.channel_layer).send({"n": message["n"]})


def test_a_look_up_that_was_cut_off_is_repeated(layer: FaultyLayer) -> None:
    layer.group_add("room", "member")
    layer.fail(Lookup, AWAY)
    layer.send("test", {"n": 1})
    with running(make_worker(layer, {"test": to_group})):
        assert drain(layer, "member", 1) == [{"n": 1}]
    assert layer.receive(["member"]) == (None, None)


def test_a_group_that_cannot_be_looked_up_costs_its_messages_alone(layer: FaultyLayer) -> None:
    def consumer(message: Message) -> None:
        to_group(message)
        answer(message)

    inbox = Inbox(layer)
    layer.fail(Lookup, REFUSED)
    inbox.post("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]
    assert layer.losses.as_dict() == {"refused": 1}


def to_recoverable_group(message: Message) -> None:
    Group("room", channel_layer=message.channel_layer, keep=9).send({"n": message["n"]})


def test_a_message_that_its_group_refuses_to_keep_is_tried_again(layer: FaultyLayer) -> None:
    layer.group_add("room", "member")
    layer.fail(Record, StepRefused("the test", "it was told to refuse once", again=True))
    layer.send("test", {"n": 1})
    with running(make_worker(layer, {"test": to_recoverable_group})):
        assert drain(layer, "member", 1) == [{"n": 1}]
    assert layer.receive(["member"]) == (None, None)
    assert layer.losses.as_dict() == {}


def test_a_message_that_its_group_refuses_is_not_tried_again_behind_a_later_one(layer: FaultyLayer) -> None:
    def consumer(message: Message) -> None:
        to_recoverable_group(message)
        Group("room", channel_layer=message.channel_layer, keep=9).send({"n": "later"})

    layer.group_add("room", "member")
    layer.fail(Record, StepRefused("the test", "it was told to refuse once", again=True))
    layer.send("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        assert drain(layer, "member", 1) == [{"n": "later"}]
        eventually(lambda: layer.losses.as_dict() == {"refused": 1})
    assert layer.receive(["member"]) == (None, None)


def test_a_message_that_its_group_refuses_behind_an_earlier_one_is_tried_again(layer: FaultyLayer) -> None:
    def consumer(message: Message) -> None:
        to_recoverable_group(message)
        Group("room", channel_layer=message.channel_layer, keep=9).send({"n": "later"})

    layer.group_add("room", "member")
    again = StepRefused("the test", "it was told to refuse once", again=True)
    layer.faults.append((lambda step: isinstance(step, Record) and b"later" in step.payload, again))
    layer.send("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        assert drain(layer, "member", 2) == [{"n": 1}, {"n": "later"}]
    assert layer.losses.as_dict() == {}


def test_each_message_to_a_group_that_cannot_be_looked_up_is_counted(layer: FaultyLayer) -> None:
    def consumer(message: Message) -> None:
        to_group(message)
        to_group(message)

    layer.group_add("room", "member")
    layer.fail(Lookup, REFUSED)
    layer.send("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        eventually(lambda: layer.losses.as_dict() == {"refused": 2})


def test_a_message_that_was_refused_is_not_counted_again_when_the_worker_stops(layer: FaultyLayer) -> None:
    def consumer(message: Message) -> None:
        to_recoverable_group(message)
        Group("other", channel_layer=message.channel_layer, keep=9).send({})

    def is_cut_off(step: Step) -> bool:
        if isinstance(step, Record) and step.group == "other":
            layer.connect_faults += [AWAY] * 1000
            return True
        return False

    layer.fail(Record, REFUSED)
    again = StepRefused("the test", "it was told to refuse once", again=True)
    layer.faults.append((lambda step: isinstance(step, Record) and step.group == "other", again))
    layer.faults.append((is_cut_off, AWAY))
    layer.send("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        eventually(lambda: layer.connect_faults)
    assert layer.losses.as_dict() == {"refused": 1, "broker": 1}


def test_a_pause_before_a_reply_is_written_does_not_mix_up_answers(
    layer: FaultyLayer, large_batches: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is probed before the answers to what was written earlier were read."""

    def consumer(message: Message) -> None:
        answer(message)
        time.sleep(0.02)

    monkeypatch.setattr(link, "LOOK_AFTER", 10.0)
    monkeypatch.setattr(link, "PROBE_AFTER", 0.01)
    inbox = Inbox(layer)
    for n in range(20):
        inbox.post("test", {"n": n})
    with running(make_worker(layer, {"test": consumer})):
        got = [what["n"] for _, what in inbox.wait(40) if isinstance(what, dict)]
    assert got == list(range(20))
    assert layer.losses.as_dict() == {}
    assert "loop failed" not in caplog.text


def test_a_message_to_keep_that_was_cut_off_is_lost_and_the_rest_goes_on(layer: FaultyLayer) -> None:
    def consumer(message: Message) -> None:
        to_recoverable_group(message)
        answer(message)

    inbox = Inbox(layer)
    layer.group_add("room", "member")
    layer.fail(Record, AWAY)
    inbox.post("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]
    assert layer.receive(["member"]) == (None, None)
    assert layer.losses.as_dict() == {"broker": 1}


def test_a_message_that_contains_itself_costs_itself_only(layer: FaultyLayer, large_batches: None) -> None:
    def consumer(message: Message) -> None:
        circle: list[Any] = []
        circle.append(circle)
        answer(message)
        if message["n"] == 2:
            Channel("other", channel_layer=message.channel_layer).send({"circle": circle})

    inbox = Inbox(layer)
    for n in range(5):
        inbox.post("test", {"n": n})
    with running(make_worker(layer, {"test": consumer})):
        got = inbox.wait(10)
    assert [what["n"] for _, what in got if isinstance(what, dict)] == list(range(5))
    assert inbox.reports() == [Outcome.CONSUMED] * 5
    assert layer.losses.as_dict() == {"invalid": 1}


def test_a_thread_with_a_copy_of_the_context_of_a_consumer_leaves_the_connection_of_the_worker_alone(
    layer: FaultyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    write = connection.WorkerConnection.send

    def noted(self: Any, results: Any) -> None:
        threads.add(threading.current_thread().name)
        write(self, results)

    def consumer(message: Message) -> None:
        answer(message)
        other = Channel("other", channel_layer=message.channel_layer)
        work = partial(contextvars.copy_context().run, partial(other.send, {}, immediately=True))
        thread = threading.Thread(target=work, name="of the consumer")
        thread.start()
        thread.join()

    monkeypatch.setattr(connection.WorkerConnection, "send", noted)
    inbox = Inbox(layer)
    inbox.post("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        assert drain(layer, "other", 1) == [{}]
        assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]
    assert "of the consumer" not in threads


def test_of_what_was_cut_off_only_the_report_is_repeated(layer: FaultyLayer) -> None:
    inbox = Inbox(layer)
    inbox.post("test", {"n": 1})
    layer.fail(Push, AWAY, inbox.name)
    with running(make_worker(layer, {"test": answer})):
        assert inbox.wait(1) == [("client", Outcome.CONSUMED)]
    assert layer.losses.as_dict() == {"broker": 1}


def test_what_was_refused_is_tried_again_in_order(layer: FaultyLayer) -> None:
    inbox = Inbox(layer)
    inbox.post("test", {"n": 1})
    layer.fail(Push, REFUSED, inbox.name)
    with running(make_worker(layer, {"test": answer})):
        assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]
    assert layer.losses.as_dict() == {}


async def quiet_coroutine(message: Message) -> None:
    pass


@pytest.mark.parametrize("consumer", [lambda message: None, quiet_coroutine])
def test_a_report_arrives_when_the_layer_accepts_it_again(
    layer: FaultyLayer, monkeypatch: pytest.MonkeyPatch, consumer: Any
) -> None:
    monkeypatch.setattr(loop, "BLOCK", 0.1)
    monkeypatch.setattr(async_runner, "_REPEAT_AFTER", 0.1)
    inbox = Inbox(layer)
    inbox.post("test", {"n": 1})
    for _ in range(10):  # more often than in `RETRY_TIME`
        layer.fail(Push, REFUSED, inbox.name)
    with running(make_worker(layer, {"test": consumer})):
        assert inbox.wait(1) == [("client", Outcome.CONSUMED)]
    assert layer.losses.as_dict() == {}


def test_of_a_reply_that_is_given_up_the_report_arrives(layer: FaultyLayer) -> None:
    inbox = Inbox(layer)
    inbox.post("test", {"n": 1})
    layer.planner.capacities = Capacities(1000, {inbox.name: 0})
    with running(make_worker(layer, {"test": answer})):
        assert inbox.wait(1) == [("client", Outcome.CONSUMED)]
    assert layer.losses.as_dict() == {"full": 1}


def test_a_take_that_is_refused_is_tried_again(layer: FaultyLayer, caplog: pytest.LogCaptureFixture) -> None:
    layer.fail(Take, REFUSED, "test")
    inbox = Inbox(layer)
    inbox.post("test", {"n": 1})
    with running(make_worker(layer, {"test": answer})):
        inbox.wait(2)
    assert "Cannot take messages" in caplog.text


def put_back_behind_a_slow_consumer(layer: FaultyLayer, errors: Sequence[Exception]) -> list[Outcome]:
    """The reports on four messages, of which three wait behind the first and their `PutBack` fails."""
    inbox = Inbox(layer)
    release = threading.Event()

    def consumer(message: Message) -> None:
        if message["n"] == 0:
            release.wait(scaled(10))

    for error in errors:
        layer.fail(PutBack, error)
    with running(make_worker(layer, {"test": consumer})):
        inbox.post("test", {"n": -1}, local="warm")
        inbox.wait(1)
        message = {"reply_channel": inbox.client()}
        sends = [Outgoing("test", {**message, "n": number}, token=str(number)) for number in range(4)]
        layer.run(layer.planner.pushes(sends, {}))
        eventually(lambda: not layer.faults)
        release.set()
        inbox.wait(5)
    return inbox.reports()[1:]


def test_messages_that_the_layer_refuses_to_take_back_stay_with_the_worker(
    layer: FaultyLayer, large_batches: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert put_back_behind_a_slow_consumer(layer, [REFUSED] * 3) == [Outcome.CONSUMED] * 4
    assert layer.losses.as_dict() == {}
    assert "3 stay with this worker, 0 are lost" in caplog.text


def test_messages_that_may_have_been_put_back_are_counted_and_reported(layer: FaultyLayer, large_batches: None) -> None:
    assert put_back_behind_a_slow_consumer(layer, [AWAY] * 3) == [Outcome.DROPPED] * 3 + [Outcome.CONSUMED]
    assert layer.losses.as_dict() == {"broker": 3}


def test_a_loop_that_fails_starts_again(layer: FaultyLayer, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Message] = []
    layer.send("test", {})
    layer.connect_faults = [RuntimeError("no layer should raise this")]
    with running(make_worker(layer, {"test": seen.append})):
        eventually(lambda: seen)
    assert "The worker's loop failed and was restarted" in caplog.text


def test_a_message_for_later_is_dropped_when_its_channel_stays_full(
    layer: FaultyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    def consumer(message: Message) -> None:
        raise ConsumeLater

    layer.send("test", {})
    layer.planner.capacities = Capacities(1000, {"test": 0})
    with running(make_worker(layer, {"test": consumer})):
        eventually(layer.losses.as_dict)
    assert layer.losses.as_dict() == {"full": 1}
    assert "its channel stayed full" in caplog.text


def test_a_message_for_another_layer_that_stays_full_is_lost_and_logged(
    layer: FaultyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    other = ChannelLayer(channel_capacity={"out": 0})

    def consumer(message: Message) -> None:
        Channel("out", channel_layer=other).send({})
        answer(message)

    inbox = Inbox(layer)
    inbox.post("test", {"n": 1})
    with running(make_worker(layer, {"test": consumer})):
        assert inbox.wait(2) == [("client", {"n": 1}), ("client", Outcome.CONSUMED)]
    assert "Lost a message for out on another layer" in caplog.text
