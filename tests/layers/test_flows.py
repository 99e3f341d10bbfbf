"""Flows, driven by hand: the steps of each operation, without a layer that carries them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from channels_classic.exceptions import ChannelFull, InvalidChannelName, LayerUnavailable, StepRefused
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import EntryKind, decode, encode, encode_kept
from channels_classic.layers.flows import Flow, Flows
from channels_classic.layers.losses import Losses
from channels_classic.layers.planner import Planner
from channels_classic.layers.results import (
    Audience,
    History,
    Item,
    Kept,
    MembershipChange,
    Published,
    PushStatus,
    Recorded,
    Taken,
)
from channels_classic.layers.steps import (
    Join,
    Leave,
    Length,
    Lookup,
    MemberCount,
    Publish,
    Push,
    Record,
    SetStart,
    Step,
    Take,
)

INBOX, OTHER = "interface.v2.aaaa!", "interface.v2.bbbb!"


@pytest.fixture
def losses() -> Losses:
    return Losses()


@pytest.fixture
def flows(losses: Losses) -> Flows:
    return Flows(Planner(60, 86400, Capacities(5, {}), losses))


def drive(flow: Flow[Any], *results: list[Any]) -> tuple[list[Sequence[Step]], Any]:
    """Return the steps of a flow that is given these results, round by round, and what it returns."""
    rounds = []
    try:
        rounds.append(next(flow))
        for result in results:
            rounds.append(flow.send(result))
    except StopIteration as stop:
        return rounds, stop.value
    raise AssertionError(f"The flow goes on with {rounds[-1]!r}.")


def kinds(rounds: list[Sequence[Step]]) -> list[list[type]]:
    return [[type(step) for step in steps] for steps in rounds]


def test_a_message_is_one_push(flows: Flows) -> None:
    rounds, _ = drive(flows.send("work", {}), [[PushStatus.ACCEPTED]])
    (((push,)),) = rounds
    assert isinstance(push, Push)
    assert push.queue == "work"


def test_a_full_channel_raises(flows: Flows) -> None:
    with pytest.raises(ChannelFull):
        drive(flows.send("work", {}), [[PushStatus.FULL]])


def test_a_refused_step_raises(flows: Flows) -> None:
    with pytest.raises(StepRefused):
        drive(flows.send("work", {}), [StepRefused("work", "OOM")])


def test_nothing_is_read_of_no_channels(flows: Flows) -> None:
    assert drive(flows.receive([], 0.0)) == ([], (None, None))


def test_a_receive_is_one_take(flows: Flows) -> None:
    rounds, result = drive(flows.receive(["a"], 5.0), [None])
    assert rounds == [[Take(["a"], 1, 5.0)]]
    assert result == (None, None)


def test_a_receive_that_looks_first_waits_only_when_there_is_nothing(flows: Flows) -> None:
    rounds, _ = drive(flows.receive(["a"], 5.0, look=True), [None], [None])
    assert rounds == [[Take(["a"], 1)], [Take(["a"], 1, 5.0)]]
    message = Item(encode(EntryKind.MESSAGE, {}, None, ""), None)
    rounds, _ = drive(flows.receive(["a"], 5.0, look=True), [Taken("a", [message])])
    assert rounds == [[Take(["a"], 1)]]


def test_what_is_taken_after_a_lost_message_waits_for_the_rest_of_the_time_alone(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 103.0, 106.0])
    monkeypatch.setattr("channels_classic.layers.flows.monotonic", lambda: next(times))
    lost = Taken("a", [], [("expired", b"")])
    rounds, result = drive(flows.receive(["a"], 5.0), [lost], [lost], [None])
    assert rounds == [[Take(["a"], 1, 5.0)], [Take(["a"], 1, 2.0)], [Take(["a"], 1)]]
    assert result == (None, None)


def test_an_inbox_is_read_by_its_owner_alone(flows: Flows) -> None:
    with pytest.raises(InvalidChannelName):
        drive(flows.receive([INBOX], 0.0))


def test_a_new_channel_that_exists_is_drawn_again(flows: Flows) -> None:
    rounds, name = drive(flows.new_channel("reply?"), [1], [0])
    assert kinds(rounds) == [[Length], [Length]]
    assert rounds[1] == [Length(name)]


def test_a_change_of_members_is_followed_by_a_hint_to_their_owner(flows: Flows) -> None:
    joined, _ = drive(
        flows.group_add("room", INBOX + "a", None, None, None, 0), [MembershipChange(0, 1)], [[PushStatus.ACCEPTED]]
    )
    left, _ = drive(flows.group_discard("room", INBOX + "a"), [MembershipChange(1, 2)], [[PushStatus.ACCEPTED]])
    assert kinds(joined) == [[Join], [Push]]
    assert kinds(left) == [[Leave], [Push]]


def test_no_hint_follows_where_nothing_changed(flows: Flows) -> None:
    rounds, _ = drive(flows.group_discard("room", INBOX + "a"), [MembershipChange(2, 2)])
    assert kinds(rounds) == [[Leave]]


def test_a_start_is_noted_before_its_client_joins(flows: Flows) -> None:
    flow = flows.group_add("room", INBOX + "a", None, None, None, 10)
    assert [type(step) for step in next(flow)] == [SetStart, Join]


def test_an_add_whose_kept_messages_are_refused_must_not_be_repeated(flows: Flows) -> None:
    """The channel is a member, and gets nothing when it is added again."""
    history = History(1, 1, [Kept(1, encode_kept(msgpack.packb({"n": 1}), ""))])
    with pytest.raises(LayerUnavailable, match="OOM") as refused:
        drive(
            flows.group_add("room", "plain", None, None, "0", 10),
            [history, MembershipChange(0, 1)],
            [StepRefused("here", "OOM")],
        )
    assert refused.value.written


def test_members_are_counted_where_they_are(flows: Flows) -> None:
    audience = Audience({INBOX: 1, OTHER: 4}, ["x"], [])
    rounds, count = drive(flows.group_count("room"), [audience], [2, 3])
    assert rounds == [[Lookup("room")], [MemberCount("room", INBOX), MemberCount("room", OTHER)]]
    assert count == 6


def test_members_that_are_full_are_counted_and_not_raised(flows: Flows, losses: Losses) -> None:
    """Those that the layer found, and those that were left to the sender."""
    left = Audience({INBOX: 1}, ["plain"], [])
    flow = flows.send_group("room", {"text": "hi"}, "", 0, 60.0)
    rounds, _ = drive(flow, [Published(left, 2)], [[PushStatus.FULL], [PushStatus.ACCEPTED]])
    assert kinds(rounds) == [[Publish], [Push, Push]]
    assert losses.by_channel() == [("full", "room", 3)]


_LEFT = Audience({INBOX: 1}, ["plain"], [])


@pytest.mark.parametrize(
    ("keep", "first", "is_written"),
    [(0, Published(_LEFT, 0, 1), True), (0, Published(_LEFT, 0), False), (5, Published(_LEFT, 0, 0, 1, 1), True)],
)
def test_a_group_send_of_which_nothing_more_can_be_written_tells_whether_anybody_has_it(
    flows: Flows, keep: int, first: object, is_written: bool
) -> None:
    """A message that a member has, or that is kept, must not be sent again.

    Another sender of the same batch, of whose message nothing is written, may have been given the same error.
    """
    unreachable, refused = LayerUnavailable("here", "nobody listens", ""), StepRefused("here", "OOM")
    unreachable.written = False
    flow = flows.send_group("room", {"text": "hi"}, "", keep, 60.0)
    next(flow)
    flow.send([first])
    with pytest.raises(LayerUnavailable) as broken:
        flow.throw(unreachable)
    assert broken.value.written is is_written
    assert unreachable.written is False
    with pytest.raises(LayerUnavailable if is_written else StepRefused):
        drive(flows.send_group("room", {"text": "hi"}, "", keep, 60.0), [first], [refused, refused])
    with pytest.raises(LayerUnavailable, match="OOM") as partly:
        drive(flows.send_group("room", {"text": "hi"}, "", keep, 60.0), [first], [[PushStatus.ACCEPTED], refused])
    assert partly.value.written


def test_a_group_send_that_leaves_nobody_to_the_sender_is_one_step(flows: Flows) -> None:
    rounds, _ = drive(flows.send_group("room", {}, "", 0, 60.0), [Published(Audience({}, [], []), 0)])
    assert kinds(rounds) == [[Publish]]


def test_a_host_that_does_not_know_the_step_of_a_group_send_is_asked_who_the_members_are(flows: Flows) -> None:
    refusal = StepRefused("here", "it is older", unknown=True)
    audience = Audience({INBOX: 1}, [], [])
    rounds, _ = drive(flows.send_group("room", {}, "", 0, 60.0), [refusal], [audience], [[PushStatus.ACCEPTED]])
    assert kinds(rounds) == [[Publish], [Lookup], [Push]]
    recorded = Recorded(audience, 7, 1)
    rounds, _ = drive(flows.send_group("room", {}, "", 5, 60.0), [refusal], [recorded], [[PushStatus.ACCEPTED]])
    assert kinds(rounds) == [[Publish], [Record], [Push]]
    (push,) = rounds[-1]
    assert isinstance(push, Push)
    assert decode(push.entries[0].payload)[4:] == ["", 7, 1]


def test_a_group_send_that_is_refused_for_another_reason_raises_and_is_not_tried_otherwise(flows: Flows) -> None:
    """It may have been pushed to some of the members."""
    with pytest.raises(StepRefused):
        drive(flows.send_group("room", {}, "", 0, 60.0), [StepRefused("here", "OOM")])
