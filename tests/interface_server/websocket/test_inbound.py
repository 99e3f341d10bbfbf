"""The messages of one WebSocket on their way to the layer: what is to be done at each step. No session, no loop."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence

import pytest

from channels_classic.interface_server.layer.writer import SendResult
from channels_classic.interface_server.websocket.actions import (
    Action,
    Block,
    Drained,
    Found,
    Lost,
    Overtaken,
    Resume,
    Send,
    Stalled,
    Taken,
    TooLarge,
    Unblock,
)
from channels_classic.interface_server.websocket.gate import DISCONNECT_GRACE, MARGIN
from channels_classic.interface_server.websocket.inbound import (
    CONNECT,
    DISCONNECT,
    RECEIVE,
    InboundLimits,
    InboundQueue,
)
from channels_classic.layers.codec import Outcome

EXPIRY = 60.0
LIMITS = InboundLimits(expiry=EXPIRY, frames=3, size=100, timeout=30.0)


def brief(actions: Sequence[Action]) -> list[object]:
    """Sends by channel, order and token; other actions as they are."""
    return [(action.channel, action.order, action.token) if isinstance(action, Send) else action for action in actions]


def connecting() -> InboundQueue:
    inbound = InboundQueue(LIMITS, "/p")
    inbound.connect({"reply_channel": "r!a"}, 0.0)
    return inbound


def connected() -> InboundQueue:
    """A queue whose handshake was consumed."""
    inbound = connecting()
    inbound.settled(0, CONNECT, SendResult.ACCEPTED, 0.0)
    inbound.report("0", Outcome.CONSUMED, 0.0)
    return inbound


def blocked() -> InboundQueue:
    """A queue whose first frame was refused."""
    inbound = connected()
    inbound.frame("a", 1.0)
    assert inbound.settled(1, RECEIVE, SendResult.FULL, 1.0) == [Block(RECEIVE)]
    return inbound


def test_the_messages_of_a_client_have_an_order_and_its_reply_channel() -> None:
    inbound = InboundQueue(LIMITS, "/p")
    (connect,) = inbound.connect({"reply_channel": "r!a", "path": "/p"}, 0.0)
    assert connect == Send(CONNECT, {"reply_channel": "r!a", "path": "/p", "order": 0}, 0, "0")
    assert inbound.channel == CONNECT
    inbound.report("0", Outcome.CONSUMED, 0.0)
    (frame,) = inbound.frame(b"x", 0.0)
    assert frame == Send(RECEIVE, {"reply_channel": "r!a", "path": "/p", "order": 1, "bytes": b"x"}, 1, "1")
    inbound.report("1", Outcome.CONSUMED, 0.0)
    (disconnect,) = inbound.end(1000, 0.0)
    message = {"reply_channel": "r!a", "path": "/p", "order": 2, "code": 1000}
    assert disconnect == Send(DISCONNECT, message, 2, "2")


def test_a_frame_waits_for_the_report_on_the_one_before() -> None:
    inbound = connected()
    assert brief(inbound.frame("a", 0.0)) == [(RECEIVE, 1, "1")]
    assert inbound.frame("b", 0.0) == []
    assert (inbound.waiting, inbound.size) == (1, 1)
    assert inbound.settled(1, RECEIVE, SendResult.ACCEPTED, 0.0) == []
    assert brief(inbound.report("1", Outcome.CONSUMED, 0.0)) == [Taken(RECEIVE), (RECEIVE, 2, "2")]


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (Outcome.CONSUMED, [Found("unheard", RECEIVE)]),
        (Outcome.EXPIRED, [Found("unheard", RECEIVE)]),
        (Outcome.DIED, [Found("unheard", RECEIVE), Lost("died", RECEIVE)]),
        (Outcome.RUNNING, []),
    ],
)
def test_a_frame_whose_report_comes_after_its_lease_is_counted_under_its_true_name(
    outcome: Outcome, counted: list[Action]
) -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.frame("b", 0.0)
    assert brief(inbound.due(EXPIRY + MARGIN)) == [Lost("unheard", RECEIVE), (RECEIVE, 2, "2")]
    assert not inbound.is_in_turn("1")
    assert inbound.is_in_turn("2")
    assert inbound.report("1", outcome, EXPIRY + MARGIN + 1) == counted


def test_a_frame_that_may_not_have_been_written_is_counted_once_and_not_at_all_when_its_report_comes() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.frame("b", 0.0)
    assert inbound.settled(1, RECEIVE, SendResult.LOST, 1.0) == [Lost("broker", RECEIVE)]
    assert brief(inbound.report("1", Outcome.CONSUMED, 2.0)) == [
        Found("broker", RECEIVE),
        Taken(RECEIVE),
        (RECEIVE, 2, "2"),
    ]
    assert inbound.settled(2, RECEIVE, SendResult.LOST, 3.0) == [Lost("broker", RECEIVE)]
    assert inbound.due(EXPIRY + MARGIN + 3.0) == []


def test_a_frame_whose_report_comes_before_the_end_of_the_connection_that_wrote_it_is_not_lost() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.frame("b", 0.0)
    inbound.report("1", Outcome.CONSUMED, 1.0)
    assert inbound.settled(1, RECEIVE, SendResult.LOST, 2.0) == []
    assert inbound.settled(2, RECEIVE, SendResult.LOST, 3.0) == [Lost("broker", RECEIVE)]


def test_a_frame_that_a_worker_runs_is_not_lost_with_the_connection_that_wrote_it() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.report("1", Outcome.RUNNING, 1.0)
    assert inbound.settled(1, RECEIVE, SendResult.LOST, 2.0) == []


def test_a_running_consumer_has_made_room_once() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    assert inbound.report("1", Outcome.RUNNING, 0.0) == [Taken(RECEIVE)]
    assert inbound.report("1", Outcome.RUNNING, 0.0) == []
    assert inbound.report("1", Outcome.CONSUMED, 0.0) == []
    assert inbound.report("1", Outcome.CONSUMED, 0.0) == []
    assert inbound.report("7", Outcome.CONSUMED, 0.0) == []


def test_a_report_before_anything_was_sent_changes_nothing() -> None:
    assert InboundQueue(LIMITS, "/p").report("0", Outcome.CONSUMED, 0.0) == []


def test_a_handshake_counts_as_sent_once_the_layer_has_taken_it() -> None:
    inbound = connecting()
    assert not inbound.is_sent
    assert inbound.settled(0, CONNECT, SendResult.FULL, 0.0) == [Block(CONNECT)]
    assert not inbound.is_sent
    assert inbound.nothing_sent
    inbound.retry(1.0)
    assert not inbound.is_sent
    assert inbound.settled(0, CONNECT, SendResult.ACCEPTED, 1.0) == [Unblock(CONNECT)]
    assert inbound.is_sent
    assert not inbound.nothing_sent


def test_a_client_that_leaves_before_anything_was_sent_sends_nothing() -> None:
    inbound = connecting()
    inbound.settled(0, CONNECT, SendResult.FULL, 0.0)
    assert inbound.end(1006, 0.0) == [Unblock(CONNECT), Drained()]


def test_a_refused_message_is_sent_again_at_its_turn() -> None:
    inbound = blocked()
    (again,) = inbound.retry(2.0)
    assert isinstance(again, Send)
    assert (again.order, again.retried) == (1, True)
    assert inbound.settled(1, RECEIVE, SendResult.UNAVAILABLE, 2.0) == [Block(RECEIVE)]
    inbound.retry(3.0)
    assert inbound.settled(1, RECEIVE, SendResult.ACCEPTED, 3.0) == [Unblock(RECEIVE)]


def test_a_client_that_left_while_its_frames_waited_is_not_closed_as_one_that_waited_too_long() -> None:
    inbound = blocked()
    inbound.frame("b", 1.0)
    inbound.frame("c", 1.0)
    assert not inbound.has_room
    inbound.pause(1.0)
    assert inbound.end(1006, 2.0) == []
    assert inbound.due(1.0 + LIMITS.timeout) == []
    assert inbound.deadline == math.inf


def test_a_turn_with_nothing_to_send_makes_way() -> None:
    inbound = blocked()
    inbound.flush(2.0)
    assert inbound.retry(2.0) == []
    inbound = blocked()
    inbound.retry(2.0)
    assert inbound.retry(2.0) == [Unblock(RECEIVE)]


def test_a_frame_keeps_its_place_when_the_report_on_the_one_before_overtakes_the_layers_answer() -> None:
    inbound = blocked()
    inbound.frame("b", 1.0)
    inbound.retry(2.0)
    reported = inbound.report("1", Outcome.CONSUMED, 2.0)  # by another connection than the answer
    assert brief(reported) == [Taken(RECEIVE), (RECEIVE, 2, "2")]
    assert inbound.settled(2, RECEIVE, SendResult.UNAVAILABLE, 2.0) == [Block(RECEIVE)]  # it waits behind others
    assert inbound.settled(1, RECEIVE, SendResult.ACCEPTED, 2.0) == [], "the second one waits now"
    inbound.retry(3.0)
    assert inbound.settled(2, RECEIVE, SendResult.ACCEPTED, 3.0) == [Unblock(RECEIVE)]


def test_a_message_that_may_have_been_written_is_not_sent_again() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.frame("b", 0.0)
    assert inbound.settled(1, RECEIVE, SendResult.LOST, 0.0) == [Lost("broker", RECEIVE)]
    assert inbound.due(EXPIRY + MARGIN - 0.1) == []
    assert brief(inbound.due(EXPIRY + MARGIN)) == [(RECEIVE, 2, "2")], "it is counted already"


def test_a_message_that_no_layer_carries_makes_way() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.frame("b", 0.0)
    lost = Lost("invalid", RECEIVE)
    assert brief(inbound.settled(1, RECEIVE, SendResult.INVALID, 0.0)) == [lost, TooLarge(), (RECEIVE, 2, "2")]
    inbound.report("2", Outcome.CONSUMED, 0.0)
    assert inbound.settled(2, RECEIVE, SendResult.INVALID, 0.0) == [lost, TooLarge()], "its report came first"


@pytest.mark.parametrize("result", [SendResult.FULL, SendResult.UNAVAILABLE])
def test_a_disconnect_is_never_given_up(result: SendResult) -> None:
    inbound = connected()
    inbound.end(1000, 0.0)
    for hour in range(48):
        now = hour * 3600.0
        assert inbound.settled(1, DISCONNECT, result, now) == [Block(DISCONNECT)]
        assert brief(inbound.retry(now)) == [(DISCONNECT, 1, "1")]
    assert inbound.settled(1, DISCONNECT, SendResult.ACCEPTED, now) == [Unblock(DISCONNECT), Drained()]
    assert inbound.report("1", Outcome.CONSUMED, now) == [Taken(DISCONNECT)]


def test_a_disconnect_that_may_have_been_written_is_the_end() -> None:
    inbound = connected()
    inbound.end(1000, 0.0)
    assert inbound.settled(1, DISCONNECT, SendResult.LOST, 0.0) == [Lost("broker", DISCONNECT), Drained()]
    assert inbound.report("1", Outcome.CONSUMED, 1.0) == [Found("broker", DISCONNECT), Taken(DISCONNECT)]


def test_a_message_that_counts_as_lost_when_the_answer_to_its_sender_is_lost_counts_once() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    assert Lost("unheard", RECEIVE) in inbound.due(1000.0)
    assert inbound.settled(1, RECEIVE, SendResult.LOST, 1000.0) == []
    assert Found("unheard", RECEIVE) in inbound.report("1", Outcome.CONSUMED, 1001.0)


def test_when_the_process_stops_everything_passes_and_what_is_refused_is_lost() -> None:
    inbound = blocked()
    inbound.frame("b", 1.0)
    inbound.end(1001, 1.0)
    assert brief(inbound.flush(2.0)) == [
        Unblock(RECEIVE),
        (RECEIVE, 1, None),
        (RECEIVE, 2, None),
        (DISCONNECT, 3, None),
    ]
    assert inbound.settled(1, RECEIVE, SendResult.FULL, 2.0) == [Lost("full", RECEIVE)]
    assert inbound.settled(2, RECEIVE, SendResult.ACCEPTED, 2.0) == []
    assert inbound.settled(3, DISCONNECT, SendResult.FULL, 2.0) == [Lost("full", DISCONNECT), Drained()]


def test_a_dead_worker_is_counted_once_however_that_is_learned() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    assert inbound.report("1", Outcome.DIED, 0.0) == [Taken(RECEIVE), Lost("died", RECEIVE)]
    assert inbound.report("1", Outcome.DIED, 0.0) == []
    inbound.frame("b", 0.0)
    assert inbound.due(1000.0) == [Lost("unheard", RECEIVE)]
    assert inbound.due(2000.0) == []
    assert inbound.report("2", Outcome.DIED, 0.0) == [Found("unheard", RECEIVE), Lost("died", RECEIVE)]
    assert inbound.report("2", Outcome.DIED, 0.0) == []


def test_the_disconnect_overtakes_a_consumer_that_may_wait_for_it() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.end(1000, 1.0)
    assert inbound.deadline == 1.0 + DISCONNECT_GRACE
    assert brief(inbound.due(1.0 + DISCONNECT_GRACE)) == [(DISCONNECT, 2, None), Overtaken(RECEIVE)]


def test_a_lease_is_short_after_an_outage() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.shorten(5.0)
    assert inbound.deadline == 5.0 + MARGIN


@pytest.mark.parametrize("frames", [["a"] * 3, ["a" * 100]])
def test_reading_pauses_for_messages_or_bytes_and_continues_when_there_is_room(frames: list[str]) -> None:
    inbound = connected()
    inbound.frame("", 0.0)
    assert inbound.resume() == []
    for frame in frames:
        assert inbound.has_room
        inbound.frame(frame, 0.0)
    assert not inbound.has_room
    inbound.pause(0.0)
    assert inbound.deadline == LIMITS.timeout
    inbound.pause(10.0)
    assert inbound.deadline == LIMITS.timeout, "from the first pause on"
    assert brief(inbound.report("1", Outcome.CONSUMED, 1.0)) == [Taken(RECEIVE), (RECEIVE, 2, "2"), Resume()]
    assert inbound.resume() == []


def test_a_large_frame_that_is_refused_again_and_again_does_not_begin_a_new_pause() -> None:
    inbound = connected()
    inbound.frame("x" * LIMITS.size, 0.0)
    inbound.settled(1, RECEIVE, SendResult.FULL, 0.0)
    inbound.pause(0.0)
    for now in (10.0, 20.0):
        assert brief(inbound.retry(now)) == [(RECEIVE, 1, "1")]
        inbound.settled(1, RECEIVE, SendResult.FULL, now)
    assert inbound.due(LIMITS.timeout) == [Stalled()]


def test_reading_continues_when_a_large_frame_that_was_refused_is_accepted() -> None:
    inbound = connected()
    inbound.frame("x" * LIMITS.size, 0.0)
    inbound.settled(1, RECEIVE, SendResult.FULL, 0.0)
    inbound.pause(0.0)
    inbound.retry(10.0)
    assert inbound.settled(1, RECEIVE, SendResult.ACCEPTED, 10.0) == [Unblock(RECEIVE), Resume()]


def test_a_pause_that_is_too_long_is_said_once() -> None:
    inbound = connected()
    inbound.frame("a", 0.0)
    inbound.pause(0.0)
    assert inbound.due(LIMITS.timeout) == [Stalled()]
    assert inbound.due(LIMITS.timeout + 1) == []
    assert inbound.deadline < math.inf
    assert inbound.resume() == [Resume()]


def test_nothing_is_due_before_its_time() -> None:
    inbound = InboundQueue(LIMITS, "/p")
    assert inbound.deadline == math.inf
    assert inbound.due(0.0) == []
    connected().due(1000.0)


def test_frames_that_wait_can_be_dropped_and_the_disconnect_is_not() -> None:
    inbound = connected()
    for frame in ("a", "b", "c"):
        inbound.frame(frame, 0.0)
    inbound.end(1013, 0.0)
    assert inbound.discard(0.0) == [Lost("full", RECEIVE)] * 2
    assert (inbound.waiting, inbound.size) == (1, 0)
    assert brief(inbound.report("1", Outcome.CONSUMED, 0.0)) == [Taken(RECEIVE), (DISCONNECT, 4, "4")]


def test_a_frame_that_is_dropped_while_it_waits_for_room_makes_way() -> None:
    inbound = blocked()
    inbound.frame("b", 1.0)
    lost = [Lost("full", RECEIVE)] * 2
    assert inbound.discard(2.0) == [*lost, Unblock(RECEIVE)]
    assert brief(inbound.end(1013, 3.0)) == [(DISCONNECT, 3, "3")]
    inbound = blocked()
    inbound.end(1006, 1.0)
    assert brief(inbound.discard(2.0)) == [lost[0], Unblock(RECEIVE), (DISCONNECT, 2, "2")]


def test_a_frame_that_is_dropped_behind_one_that_waits_for_room_changes_nothing() -> None:
    inbound = connected()
    inbound.frame("", 1.0)  # without bytes, so there is nothing to gain
    inbound.frame("b", 1.0)
    inbound.settled(1, RECEIVE, SendResult.FULL, 1.0)
    assert inbound.discard(2.0) == [Lost("full", RECEIVE)]
    assert brief(inbound.retry(3.0)) == [(RECEIVE, 1, "1")]


def test_reading_does_not_continue_because_frames_were_dropped() -> None:
    inbound = blocked()
    inbound.pause(1.0)
    assert inbound.discard(2.0) == [Lost("full", RECEIVE), Unblock(RECEIVE)], "only once no frame is queued"
    assert inbound.resume() == [Resume()]


def test_a_disconnect_that_has_to_wait_makes_way_for_frames() -> None:
    inbound = blocked()
    inbound.retry(2.0)
    inbound.end(1000, 2.0)
    inbound.report("1", Outcome.CONSUMED, 2.0)  # by another connection than the answer
    assert inbound.settled(2, DISCONNECT, SendResult.UNAVAILABLE, 2.0) == [Unblock(RECEIVE), Block(DISCONNECT)]
    assert inbound.settled(1, RECEIVE, SendResult.ACCEPTED, 2.0) == []


def test_a_frame_that_was_overtaken_and_then_refused_makes_way() -> None:
    inbound = blocked()
    inbound.retry(2.0)
    inbound.end(1000, 2.0)
    assert brief(inbound.due(2.0 + DISCONNECT_GRACE)) == [(DISCONNECT, 2, None), Overtaken(RECEIVE)]
    assert inbound.settled(1, RECEIVE, SendResult.FULL, 8.0) == [Lost("full", RECEIVE), Unblock(RECEIVE)]


class Walk:
    """A client that does anything in any order, with its sends answered in order and one place in line per channel."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.inbound = InboundQueue(LIMITS, "/p")
        self.now = 0.0
        self.lines: set[str] = set()
        self.trying = False
        self.unanswered: deque[Send] = deque()
        self.ended = self.drained = False
        self.perform(self.inbound.connect({"reply_channel": "r!a"}, 0.0))

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Block):
                self.lines.add(action.channel)
                self.trying = False
            elif isinstance(action, Unblock):
                self.lines.remove(action.channel)
                self.trying = False
            elif isinstance(action, Drained):
                self.drained = True
                assert not self.lines
            elif isinstance(action, Send) and not action.retried and self.must_wait(action.channel):
                self.perform(self.inbound.settled(action.order, action.channel, SendResult.UNAVAILABLE, self.now))
            elif isinstance(action, Send):
                self.unanswered.append(action)
        assert len(self.lines) <= 1, "it waits for one message"
        assert not self.trying or self.unanswered, "who tries is answered"

    def must_wait(self, channel: str) -> bool:
        """Behind itself or, now and then, others."""
        return channel in self.lines or self.random.random() < 0.3

    def answer(self, result: SendResult) -> None:
        if self.unanswered:
            send = self.unanswered.popleft()
            self.perform(self.inbound.settled(send.order, send.channel, result, self.now))

    def retry(self) -> None:
        if self.lines and not self.trying:
            actions = self.inbound.retry(self.now)
            self.trying = any(isinstance(action, Send) for action in actions)
            self.unanswered.extend(action for action in actions if isinstance(action, Send))
            self.perform([action for action in actions if not isinstance(action, Send)])

    def report(self) -> None:
        if self.unanswered:
            self.perform(self.inbound.report(str(self.unanswered[-1].order), Outcome.CONSUMED, self.now))

    def report_all(self) -> None:
        for order in range(20):
            self.perform(self.inbound.report(str(order), Outcome.CONSUMED, self.now))

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.perform(self.inbound.end(1000, self.now))

    def frame(self) -> None:
        if not self.ended:
            self.perform(self.inbound.frame(self.random.choice(["", "a"]), self.now))

    def wait(self) -> None:
        self.now += self.random.choice([DISCONNECT_GRACE, EXPIRY + MARGIN])
        self.perform(self.inbound.due(self.now))

    def step(self) -> None:
        results = [SendResult.ACCEPTED, SendResult.FULL, SendResult.UNAVAILABLE, SendResult.LOST, SendResult.INVALID]
        steps: list[Callable[[], None]] = [
            self.frame,
            self.frame,
            self.end,
            self.retry,
            self.retry,
            self.report,
            self.report_all,
            self.wait,
            lambda: self.answer(self.random.choice(results)),
            lambda: self.answer(SendResult.FULL),
            lambda: self.perform(self.inbound.discard(self.now)),
        ]
        self.random.choice(steps)()


def test_whatever_happens_a_client_waits_in_one_line_at_most_and_in_none_at_its_end() -> None:
    for seed in range(3000):
        walk = Walk(seed)
        for _ in range(15):
            if not walk.drained:
                walk.step()
        for _ in range(60):
            if not walk.drained:
                walk.end()
                walk.retry()
                walk.answer(SendResult.ACCEPTED)
                walk.report_all()
                walk.wait()
        assert walk.drained, seed


def test_a_message_counted_as_lost_whose_worker_died_is_lost_once() -> None:
    queue = InboundQueue(InboundLimits(60.0, 64, 1_000_000, 60.0), "/")
    queue.connect({"reply_channel": "inbox!1"}, 0.0)
    assert Lost("broker", CONNECT) in queue.settled(0, CONNECT, SendResult.LOST, 0.0)
    todo = queue.report("0", Outcome.DIED, 1.0)
    assert Found("broker", CONNECT) in todo
    assert [action for action in todo if isinstance(action, Lost)] == [Lost("died", CONNECT)]
