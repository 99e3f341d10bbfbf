"""The gate alone: no layer, no loop, a clock that the tests move."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from channels_classic.interface_server.websocket.gate import (
    DISCONNECT_GRACE,
    MARGIN,
    TRANSITIONS,
    Gate,
    GateEvent,
    GateState,
    InboundMessage,
)
from channels_classic.layers.codec import RUNNING_INTERVAL, Outcome

EXPIRY = 60.0
ENDS = [outcome for outcome in Outcome if outcome is not Outcome.RUNNING]


def connect() -> InboundMessage:
    return InboundMessage("websocket.connect", {}, 0)


def frame(order: int, size: int = 1) -> InboundMessage:
    return InboundMessage("websocket.receive", {}, order, size)


def disconnect(order: int) -> InboundMessage:
    return InboundMessage("websocket.disconnect", {}, order, last=True)


def gate_with(*messages: InboundMessage, now: float = 0.0) -> Gate:
    gate = Gate(EXPIRY)
    for message in messages:
        gate.put(message, now)
    return gate


def test_the_first_message_passes_at_once() -> None:
    gate = gate_with(connect())
    assert gate.next(0.0) == connect()
    assert gate.state is GateState.IN_FLIGHT


def test_a_frame_waits_for_the_report_of_the_handshake() -> None:
    gate = gate_with(connect(), frame(1))
    gate.next(0.0)
    assert gate.next(0.0) is None
    assert gate.report("0", Outcome.CONSUMED, 0.1)
    assert gate.next(0.1) == frame(1)


@pytest.mark.parametrize("outcome", ENDS)
def test_every_end_of_the_outstanding_message_opens_the_gate(outcome: Outcome) -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    assert gate.report("1", outcome, 0.1)
    assert gate.next(0.1) == frame(2)


def test_a_report_for_another_message_opens_nothing() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    assert not gate.report("0", Outcome.CONSUMED, 0.1)
    assert not gate.report("2", Outcome.CONSUMED, 0.1)
    assert gate.next(0.1) is None


def test_a_report_that_comes_twice_opens_the_gate_once() -> None:
    gate = gate_with(frame(1), frame(2), frame(3))
    gate.next(0.0)
    assert gate.report("1", Outcome.CONSUMED, 0.1)
    gate.next(0.1)
    assert not gate.report("1", Outcome.CONSUMED, 0.2)
    assert gate.next(0.2) is None


def test_the_lease_opens_the_gate_when_nothing_is_heard() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    assert gate.deadline == EXPIRY + MARGIN
    assert gate.due(EXPIRY + MARGIN - 0.1) == []
    assert gate.next(EXPIRY + MARGIN - 0.1) is None
    assert gate.due(EXPIRY + MARGIN) == []
    assert gate.next(EXPIRY + MARGIN) == frame(2)


def test_replies_are_in_turn_until_the_next_message_passes() -> None:
    gate = gate_with(frame(1), frame(2))
    assert not gate.is_in_turn("1")
    gate.next(0.0)
    assert gate.is_in_turn("1")
    gate.due(EXPIRY + MARGIN)
    assert gate.is_in_turn("1"), "nothing else was handed out"
    gate.next(EXPIRY + MARGIN)
    assert not gate.is_in_turn("1")
    assert gate.is_in_turn("2")


def test_what_overtakes_a_message_does_not_make_its_replies_late() -> None:
    gate = gate_with(frame(1), disconnect(2))
    gate.next(0.0)
    assert gate.overtake(1.0) == [disconnect(2)]
    assert gate.is_in_turn("1")


def test_a_message_counts_as_lost_once_and_is_found_once() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    assert gate.outstanding == "1"
    assert gate.find("1", Outcome.CONSUMED) is None
    assert gate.lose("1", "broker", "websocket.receive")
    assert not gate.lose("1", "unheard", "websocket.receive")
    assert gate.lose("2", "unheard", "websocket.disconnect")
    assert gate.find("1", Outcome.RUNNING) is None
    assert gate.find("1", Outcome.CONSUMED) == ("broker", "websocket.receive")
    assert gate.find("1", Outcome.CONSUMED) is None
    assert gate.find("2", Outcome.CONSUMED) == ("unheard", "websocket.disconnect")


def test_a_consumer_that_says_it_runs_keeps_the_gate_shut() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    now = 0.0
    while now < 10 * EXPIRY:
        now += RUNNING_INTERVAL
        gate.report("1", Outcome.RUNNING, now)
        gate.due(now)
        assert gate.next(now) is None
    assert gate.deadline <= now + EXPIRY + MARGIN
    gate.due(gate.deadline)
    assert gate.next(now + EXPIRY + MARGIN) == frame(2)


def test_losing_the_layer_shortens_the_lease_but_a_running_consumer_prolongs_it_again() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    gate.shorten(10.0)
    assert gate.deadline == 10.0 + MARGIN
    gate.report("1", Outcome.RUNNING, 12.0)
    assert gate.deadline > 10.0 + MARGIN


def test_a_lease_that_ended_in_a_standstill_is_extended_and_never_shortened() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.extend(10.0)
    gate.next(0.0)
    gate.extend(10.0)
    assert gate.deadline == EXPIRY + MARGIN
    gate.extend(EXPIRY + 2 * MARGIN)
    assert gate.deadline == EXPIRY + 2 * MARGIN


def test_losing_the_layer_never_prolongs_a_lease() -> None:
    gate = gate_with(frame(1))
    gate.next(0.0)
    gate.shorten(EXPIRY + MARGIN - 1.0)
    assert gate.deadline == EXPIRY + MARGIN


def test_a_refused_message_is_the_next_one_again_after_a_retry() -> None:
    gate = gate_with(frame(1, size=5), frame(2, size=7))
    gate.next(0.0)
    assert gate.refuse("1")
    assert gate.state is GateState.BLOCKED
    assert (gate.waiting, gate.size) == (2, 12)
    assert gate.next(0.1) is None
    gate.retry()
    assert gate.next(0.2) == frame(1, size=5)
    assert (gate.waiting, gate.size) == (1, 7)


def test_a_held_message_waits_without_a_lease() -> None:
    gate = gate_with(frame(1))
    gate.next(0.0)
    gate.refuse("1")
    assert gate.deadline == float("inf")
    assert gate.due(1000.0) == []


def test_only_the_outstanding_message_can_be_refused() -> None:
    gate = gate_with(frame(1))
    assert not gate.refuse("1")
    gate.next(0.0)
    assert not gate.refuse("2")


def test_a_retry_of_nothing_changes_nothing() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    gate.retry()
    assert gate.state is GateState.IN_FLIGHT
    assert gate.next(0.0) is None


def test_the_disconnect_comes_after_all_frames() -> None:
    gate = gate_with(frame(1), frame(2), disconnect(3))
    assert gate.next(0.0) == frame(1)
    gate.report("1", Outcome.CONSUMED, 0.1)
    assert gate.next(0.1) == frame(2)
    assert gate.next(0.1) is None
    gate.report("2", Outcome.CONSUMED, 0.2)
    assert gate.next(0.2) == disconnect(3)
    assert gate.state is GateState.CLOSED
    assert gate.deadline == float("inf")


def test_the_disconnect_overtakes_a_consumer_after_the_grace() -> None:
    gate = gate_with(frame(1))
    gate.next(0.0)
    gate.put(disconnect(2), 10.0)
    assert gate.deadline == 10.0 + DISCONNECT_GRACE
    assert gate.due(10.0 + DISCONNECT_GRACE - 0.1) == []
    assert gate.due(10.0 + DISCONNECT_GRACE) == [disconnect(2)]
    assert gate.state is GateState.CLOSED


def test_the_grace_begins_when_the_message_before_the_disconnect_passed() -> None:
    gate = gate_with(frame(1), frame(2), disconnect(3))
    gate.next(0.0)
    gate.report("1", Outcome.CONSUMED, 8.0)
    gate.next(8.0)
    assert gate.deadline == 8.0 + DISCONNECT_GRACE


def test_frames_before_the_disconnect_do_not_overtake_a_message_nobody_took_yet() -> None:
    gate = gate_with(frame(1), frame(2), disconnect(3))
    gate.next(0.0)
    assert gate.deadline == EXPIRY + MARGIN
    assert gate.due(DISCONNECT_GRACE + 1.0) == []


def test_everything_passes_in_order_after_the_grace_when_a_consumer_runs() -> None:
    gate = gate_with(frame(1), frame(2), disconnect(3))
    gate.next(0.0)
    gate.report("1", Outcome.RUNNING, DISCONNECT_GRACE)
    assert gate.due(DISCONNECT_GRACE) == [frame(2), disconnect(3)]
    assert gate.state is GateState.CLOSED


def test_a_disconnect_that_is_refused_is_tried_for_as_long_as_it_takes() -> None:
    gate = gate_with(disconnect(1))
    for now in range(10 * int(EXPIRY)):
        assert gate.next(now) == disconnect(1)
        assert gate.refuse("1")
        gate.retry()


def test_a_message_that_no_layer_carries_opens_the_gate() -> None:
    gate = gate_with(frame(1), frame(2))
    gate.next(0.0)
    assert not gate.drop("2", 0.0)
    assert gate.drop("1", 0.0)
    assert gate.next(0.0) == frame(2)


def test_untouched_means_that_the_handshake_waits() -> None:
    gate = gate_with(connect())
    assert gate.nothing_sent
    gate.next(0.0)
    assert not gate.nothing_sent
    gate.refuse("0")
    assert gate.nothing_sent


@pytest.mark.parametrize(("state", "change"), list(product(GateState, GateEvent)))
def test_a_change_does_what_the_table_says_and_nothing_else(state: GateState, change: GateEvent) -> None:
    gate = Gate(EXPIRY)
    gate.state = state
    known = (state, change) in TRANSITIONS
    assert gate._change(change) is known
    assert gate.state is TRANSITIONS.get((state, change), state)


class Socket(RuleBasedStateMachine):
    """A socket, a layer and workers that do what they please: order, one at a time, everything passes once."""

    unread = Bundle("unread")
    """Messages in the layer that no worker has finished, with whether they carry a token."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.gate = Gate(EXPIRY)
        self.put: list[int] = []
        self.passed: list[int] = []
        self.outstanding: set[int] = set()
        self.overtaken = False
        self.closed = False

    def _pass(self) -> list[int]:
        found = []
        while (message := self.gate.next(self.now)) is not None:
            self.passed.append(message.order)
            self.outstanding.add(message.order)
            found.append(message.order)
        return found

    @precondition(lambda self: not self.closed)
    @rule(target=unread, last=st.booleans())
    def send(self, last: bool) -> object:
        order = len(self.put)
        self.put.append(order)
        self.closed = last
        self.gate.put(disconnect(order) if last else frame(order), self.now)
        return multiple(*self._pass())

    @rule(target=unread, message=consumes(unread), outcome=st.sampled_from(ENDS))
    def end(self, message: int, outcome: Outcome) -> object:
        self.outstanding.discard(message)
        self.gate.report(str(message), outcome, self.now)
        return multiple(*self._pass())

    @rule(message=unread)
    def run_on(self, message: int) -> None:
        self.gate.report(str(message), Outcome.RUNNING, self.now)

    @rule(target=unread, message=consumes(unread))
    def refuse(self, message: int) -> object:
        if message != self.passed[-1] or not self.gate.refuse(str(message)):
            return message
        self.passed.pop()
        self.outstanding.discard(message)
        return multiple()

    @rule(target=unread)
    def retry(self) -> object:
        self.gate.retry()
        return multiple(*self._pass())

    @rule(target=unread, seconds=st.sampled_from([0.1, DISCONNECT_GRACE, 2 * RUNNING_INTERVAL, EXPIRY + MARGIN]))
    def wait(self, seconds: float) -> object:
        self.now += seconds
        leased = self.gate.state is GateState.IN_FLIGHT and self.now >= self.gate._lease_over
        overtaking = [message.order for message in self.gate.due(self.now)]
        self.overtaken = self.overtaken or bool(overtaking) or leased
        self.passed += overtaking
        self.outstanding.update(overtaking)
        return multiple(*overtaking, *self._pass())

    @rule()
    def lose_the_layer(self) -> None:
        self.gate.shorten(self.now)

    @invariant()
    def messages_pass_in_order_and_once(self) -> None:
        assert self.passed == self.put[: len(self.passed)]
        assert self.gate.waiting == len(self.put) - len(self.passed)

    @invariant()
    def one_is_outstanding_unless_time_ran_out(self) -> None:
        assert self.overtaken or len(self.outstanding) <= 1

    @invariant()
    def nothing_waits_at_an_open_gate(self) -> None:
        assert self.gate.state is not GateState.OPEN or not self.gate.waiting

    @invariant()
    def a_busy_gate_has_a_deadline(self) -> None:
        assert self.gate.state is not GateState.IN_FLIGHT or self.gate.deadline < float("inf")


TestSocket = Socket.TestCase
