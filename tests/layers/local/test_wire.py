"""The protocol between the host of a local layer and its clients, as bytes."""

from __future__ import annotations

import time
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_classic.exceptions import StepRefused
from channels_classic.layers.local.wire import WAKE, decode_result, decode_step, encode_result, encode_step, unpacker
from channels_classic.layers.results import (
    Audience,
    Item,
    MembershipChange,
    Published,
    PushStatus,
    Roster,
    Taken,
)
from channels_classic.layers.steps import (
    Audit,
    Entry,
    Envelope,
    Flush,
    Heartbeat,
    Join,
    Leave,
    Length,
    Lookup,
    MemberCount,
    Members,
    Publish,
    Push,
    PutBack,
    Record,
    Renew,
    Restore,
    Retire,
    Step,
    Take,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.floats(0, 1e9)
entry = st.builds(Entry, st.binary(max_size=9), number, text, st.none() | st.integers(0, 2**31))
item = st.builds(Item, st.binary(max_size=9), st.tuples(st.floats(1e12, 1e15), text).map(list))
envelope = st.builds(Envelope, st.binary(max_size=9), st.binary(max_size=9))
members = st.lists(text, max_size=3)
record = st.builds(Record, text, st.binary(max_size=9), st.integers(1, 10_000), number)
steps = st.one_of(
    st.builds(Push, text, st.lists(entry, max_size=3), st.booleans()),
    st.builds(PutBack, text, st.lists(item, max_size=3)),
    st.builds(Take, st.lists(text, max_size=3), st.integers(1, 99), number),
    st.builds(Join, text, text, members),
    st.builds(Leave, text, text, members, st.booleans()),
    st.builds(Lookup, text),
    record,
    st.builds(
        *(Publish, text, envelope, text, number, text, st.integers(0, 2**31)),
        *(text, envelope, st.booleans(), st.none() | record),
    ),
    st.builds(Members, text, text),
    st.builds(MemberCount, text, text),
    st.builds(Renew, text, text),
    st.builds(Restore, text, text, members),
    st.builds(Audit, text, text, st.integers(0, 2**48), st.integers(0, 2**48)),
    st.builds(Heartbeat, text, st.lists(st.none() | st.integers(0, 2**48), max_size=2)),
    st.builds(Retire, text),
    st.builds(Length, text),
    st.just(Flush()),
)


@given(st.lists(steps, max_size=5), st.integers(1, 7))
def test_steps_come_out_of_the_stream_as_they_went_in_however_it_is_cut(made: list[Step], size: int) -> None:
    stream = b"".join(map(encode_step, made))
    frames = unpacker()
    found = []
    for start in range(0, len(stream), size):
        frames.feed(stream[start : start + size])
        found += [decode_step(frame) for frame in frames]
    assert found == made


def _answered(kind: type, result: Any) -> Any:
    return decode_result(kind, msgpack.unpackb(encode_result(result)), "here")


@given(
    text, st.lists(item, max_size=3), st.lists(st.tuples(st.sampled_from(["expired", "fenced"]), st.binary(max_size=9)))
)
def test_what_was_taken_comes_back_as_it_was(queue: str, items: list[Item], lost: list[tuple[str, bytes]]) -> None:
    taken = Taken(queue, items, lost)
    assert _answered(Take, taken) == taken


def test_what_expired_on_its_way_to_a_process_that_stood_still_is_lost() -> None:
    now = time.monotonic()
    late, timely = Item(b"late", [now - 1, "client"]), Item(b"timely", [now + 60, "client"])
    assert _answered(Take, Taken("jobs", [late, timely], [])) == Taken("jobs", [timely], [("expired", b"late")])


@given(st.lists(st.sampled_from(PushStatus)))
def test_each_entry_has_its_status(statuses: list[PushStatus]) -> None:
    assert _answered(Push, statuses) == statuses
    assert all(isinstance(status, PushStatus) for status in _answered(Push, statuses))


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (Take, None),
        (Lookup, Audience({"inbox!": 2**51}, ["plain"], ["dead!"])),
        (Publish, Published(Audience({"inbox!": 2**51}, ["plain"], ["dead!"]), 3)),
        (Members, Roster(2**51, ["a", "b"], True, epoch=2**48)),
        (Heartbeat, (2**47,)),
        (Length, 3),
        (Flush, ["inbox!"]),
        (Join, MembershipChange(0, 2**51)),
        (Restore, None),
    ],
)
def test_other_results_come_back_as_they_are(kind: type, result: Any) -> None:
    assert _answered(kind, result) == result


def test_a_refusal_comes_back_as_one() -> None:
    refusal = _answered(Push, StepRefused("there", "the reason"))
    assert isinstance(refusal, StepRefused)
    assert (refusal.where, refusal.reason) == ("here", "the reason")
    assert refusal.unknown


def test_a_wake_up_is_no_step() -> None:
    assert decode_step(msgpack.unpackb(WAKE)) is None


def test_a_step_of_a_later_release_is_refused_and_harms_nothing() -> None:
    assert isinstance(decode_step([99, "what", "ever"]), StepRefused)


@pytest.mark.parametrize(
    "frame",
    [
        None,
        7,
        "text",
        {},
        [],
        ["text"],
        [1],
        [1, "queue", "entries", False],
        [1, b"queue", [], False],
        [1, "queue", [[b"payload", 1.0, ""]], False],
        [1, "queue", [["payload", 1.0, "", None]], False],
        [1, "queue", [[b"payload", "soon", "", None]], False],
        [1, "queue", [[b"payload", 1.0, ["unhashable"], None]], False],
        [1, "queue", [], False, "more"],
        [2, "queue", [[b"payload", [1.0]]]],
        [2, "queue", [[b"payload", ["late", ""]]]],
        [3, ["queue"], "many", 1.0],
        [3, "queue", 1, 1.0],
        [16, None],
        [22, "inbox!", None],
    ],
    ids=repr,
)
def test_a_frame_without_the_fields_of_its_step_is_an_error(frame: Any) -> None:
    with pytest.raises(ValueError, match=r"a frame|code of a step"):
        decode_step(frame)
