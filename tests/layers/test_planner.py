"""The pushes that sends and reports become, and the deliveries that takes become."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_classic.exceptions import ChannelFull, InvalidChannelName, InvalidMessage, StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import EntryKind, Outcome, decode, encode
from channels_classic.layers.losses import Losses
from channels_classic.layers.names import new_inbox
from channels_classic.layers.planner import GROUP_BACKLOG, Delivery, Outgoing, Planner, Report, member_of
from channels_classic.layers.results import Audience, Item, MembershipChange, PushStatus
from channels_classic.layers.steps import Entry, Heartbeat, Lookup, Push, Take

INBOX = "interface.v2.aaaa!"
OTHER = "interface.v2.bbbb!"


@pytest.fixture
def losses() -> Losses:
    return Losses()


@pytest.fixture
def planner(losses: Losses) -> Planner:
    return Planner(60, 86400, Capacities(5, {"wide": 50}), losses)


def fields(push: Push) -> list[list[Any]]:
    return [decode(entry.payload) for entry in push.entries]


# One message


def test_a_message_goes_to_the_list_of_its_channel_at_the_cost_of_its_client(planner: Planner) -> None:
    plain, local, wide = planner.pushes(
        [Outgoing("chat", {"a": 1}), Outgoing("box!me", {"b": 2}), Outgoing("wide", {})], {}
    )
    assert (plain.queue, fields(plain)) == ("chat", [[EntryKind.MESSAGE, {"a": 1}, None, ""]])
    assert (local.queue, fields(local)) == ("box!", [[EntryKind.MESSAGE, {"b": 2}, None, "me"]])
    assert [(push.entries[0].quota_key, push.entries[0].limit) for push in (plain, local, wide)] == [
        ("", 5),
        ("me", 5),
        ("", 50),
    ]
    assert {push.entries[0].ttl for push in (plain, local, wide)} == {60}
    assert not any(push.alive for push in (plain, local, wide))


def test_a_token_travels_with_its_message(planner: Planner) -> None:
    (push,) = planner.pushes([Outgoing("websocket.receive", {}, token="7")], {})
    assert fields(push) == [[EntryKind.MESSAGE, {}, "7", ""]]


def test_what_cannot_be_sent_is_refused_before_anything_is(planner: Planner) -> None:
    with pytest.raises(InvalidMessage):
        planner.pushes([Outgoing("chat", {}), Outgoing("chat", {"value": object()})], {})
    with pytest.raises(InvalidChannelName):
        planner.pushes([Outgoing("not valid", {})], {})


# Groups


def audience(*inboxes: str, channels: Sequence[str] = ()) -> Audience:
    return Audience({inbox: version for version, inbox in enumerate(inboxes, 7)}, channels, ())


def test_a_group_is_one_entry_for_each_inbox_with_its_version(planner: Planner) -> None:
    pushes = planner.pushes([Outgoing("readers", {"text": "x"}, group=True)], {"readers": audience(INBOX, OTHER)})
    assert [(push.queue, push.alive, len(push.entries)) for push in pushes] == [(INBOX, True, 1), (OTHER, True, 1)]
    assert [fields(push) for push in pushes] == [
        [[EntryKind.GROUP, "readers", 7, {"text": "x"}]],
        [[EntryKind.GROUP, "readers", 8, {"text": "x"}]],
    ]
    assert (pushes[0].entries[0].quota_key, pushes[0].entries[0].limit) == ("@readers", GROUP_BACKLOG)


def test_members_that_are_not_clients_of_an_interface_server_get_a_message_each(planner: Planner) -> None:
    found = audience(INBOX, channels=["plain", "box!a", "box!b"])
    pushes = planner.pushes([Outgoing("mixed", {}, group=True)], {"mixed": found})
    assert [(push.queue, push.alive, len(push.entries)) for push in pushes] == [
        (INBOX, True, 1),
        ("plain", False, 1),
        ("box!", False, 2),
    ]
    assert [entry[3] for entry in fields(pushes[2])] == ["a", "b"]


def test_a_member_that_is_left_out_is_named_to_its_owner_alone(planner: Planner) -> None:
    found = audience(INBOX, OTHER, channels=["plain", "box!a"])
    sends = [Outgoing("g", {}, group=True, but=f"{OTHER}me"), Outgoing("g", {}, group=True, but="plain")]
    pushes = planner.pushes(sends, {"g": found})
    assert [(push.queue, *entry[1:]) for push in pushes for entry in fields(push)] == [
        (INBOX, "g", 7, {}),
        (OTHER, "g", 8, {}, "me"),
        ("plain", {}, None, ""),
        ("box!", {}, None, "a"),
        (INBOX, "g", 7, {}),
        (OTHER, "g", 8, {}),
        ("box!", {}, None, "a"),
    ]


def test_an_inbox_found_dead_is_counted(planner: Planner, losses: Losses) -> None:
    planner.audience(Audience({}, (), [INBOX]))
    assert losses.as_dict() == {"dead": 1}


def test_each_group_is_looked_up_once(planner: Planner) -> None:
    sends = [
        Outgoing("g", {}, group=True),
        Outgoing("chat", {}),
        Outgoing("h", {}, group=True),
        Outgoing("g", {}, group=True),
    ]
    assert planner.lookups(sends) == [Lookup("g"), Lookup("h")]


def test_an_empty_group_is_no_excuse_for_a_message_that_cannot_be_sent(planner: Planner) -> None:
    assert planner.pushes([Outgoing("g", {}, group=True)], {"g": audience()}) == []
    with pytest.raises(InvalidMessage):
        planner.pushes([Outgoing("g", {"value": object()}, group=True)], {"g": audience()})


# Order


@given(
    st.lists(st.tuples(st.sampled_from(["chat", "news", "box!a", "box!b", "group"]), st.integers(0, 99)), max_size=12)
)
def test_everything_keeps_its_order_and_neighbours_share_a_push(sent: list[tuple[str, int]]) -> None:
    planner = Planner(60, 86400, Capacities(5), Losses())
    sends = [Outgoing(name, {"number": number}, group=name == "group") for name, number in sent]
    pushes = planner.pushes(sends, {"group": audience(INBOX, channels=["news"])})
    expected = [
        (queue, number)
        for name, number in sent
        for queue in ([INBOX, "news"] if name == "group" else [name.partition("!")[0] + name.partition("!")[1]])
    ]
    entries = [(push.queue, entry) for push in pushes for entry in fields(push)]
    assert [(queue, entry[3 if entry[0] == EntryKind.GROUP else 1]["number"]) for queue, entry in entries] == expected
    assert all(one.queue != next_one.queue for one, next_one in pairwise(pushes))


def test_reports_follow_the_replies_in_the_same_push(planner: Planner) -> None:
    (push,) = planner.pushes([Outgoing(f"{INBOX}me", {"text": "x"})], {}, [Report(f"{INBOX}me", "7", Outcome.CONSUMED)])
    assert fields(push) == [
        [EntryKind.MESSAGE, {"text": "x"}, None, "me"],
        [EntryKind.REPORT, "me", "7", Outcome.CONSUMED],
    ]
    assert push.entries[1].limit is None, "a report is never refused"


def test_a_group_and_a_reply_for_one_inbox_stay_apart_and_in_order(planner: Planner) -> None:
    pushes = planner.pushes(
        [Outgoing(f"{INBOX}me", {}), Outgoing("g", {}, group=True), Outgoing(f"{INBOX}me", {})], {"g": audience(INBOX)}
    )
    assert [(push.queue, push.alive) for push in pushes] == [(INBOX, False), (INBOX, True), (INBOX, False)]


# What came of it


def test_refusals_name_what_did_not_arrive(planner: Planner, losses: Losses) -> None:
    sends = [Outgoing("chat", {}), Outgoing("chat", {}), Outgoing("g", {}, group=True), Outgoing("news", {})]
    pushes = planner.pushes(sends, {"g": audience(INBOX)})
    error = StepRefused("there", "out of memory")
    found = planner.refusals(pushes, [[PushStatus.ACCEPTED, PushStatus.FULL], [PushStatus.DEAD], error])
    assert found.full == [sends[1]]
    assert found.refused == [(sends[3], error)]
    assert losses.as_dict() == {"dead": 1}


def test_a_report_that_finds_no_room_is_no_message_that_was_refused(planner: Planner) -> None:
    pushes = planner.pushes([], {}, [Report(f"{INBOX}me", "7", Outcome.CONSUMED)])
    assert planner.refusals(pushes, [[PushStatus.FULL]]).full == []


def test_everything_accepted_is_nothing_refused(planner: Planner) -> None:
    pushes = planner.pushes([Outgoing("chat", {})], {}, [Report(f"{INBOX}me", "7", Outcome.CONSUMED)])
    found = planner.refusals(pushes, [[PushStatus.ACCEPTED], [PushStatus.ACCEPTED]])
    assert (found.full, found.refused) == ([], [])


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x01", encode(EntryKind.FORGET), b"\x91\x63", encode(EntryKind.MESSAGE)]
)
def test_an_item_that_is_no_message_is_counted_and_passed_over(
    planner: Planner, losses: Losses, payload: bytes
) -> None:
    assert planner.delivery("chat", Item(payload, None)) is None
    assert losses.as_dict() == {"undecodable": 1}


def test_fields_of_later_releases_are_passed_over(planner: Planner) -> None:
    found = planner.delivery("box!", Item(encode(EntryKind.MESSAGE, {"a": 1}, "7", "me", "new", {}), None))
    assert isinstance(found, Delivery)
    assert (found.channel, found.message, found.token) == ("box!me", {"a": 1}, "7")


def test_a_message_of_a_later_release_with_a_gate_is_reported_to_it(planner: Planner, losses: Losses) -> None:
    payload = encode(99, {"reply_channel": f"{INBOX}me"}, "7", "new field")  # type: ignore[arg-type]  # a later kind
    assert planner.delivery("websocket.receive", Item(payload, None)) == Report(f"{INBOX}me", "7", Outcome.DROPPED)
    assert losses.as_dict() == {"undecodable": 1}


def test_a_hint_says_from_which_version_to_which(planner: Planner) -> None:
    (push,) = planner.hint(EntryKind.JOINED, "g", f"{INBOX}me", MembershipChange(3, 5))
    assert isinstance(push, Push)
    assert (push.queue, fields(push)) == (INBOX, [[EntryKind.JOINED, "g", "me", 3, 5]])
    assert planner.hint(EntryKind.LEFT, "g", f"{INBOX}me", MembershipChange(5, 5)) == [], "nothing changed"


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("plain", ("", "plain")),
        ("box!me", ("", "box!me")),
        ("one?two", ("", "one?two")),
        (f"{INBOX}me", (INBOX, "me")),
        ("interface.v1.x!me", ("interface.v1.x!", "me")),
    ],
)
def test_a_client_of_an_interface_server_of_this_version_is_a_member_of_its_inbox(
    name: str, member: tuple[str, str]
) -> None:
    assert member_of(name) == member


# Over every layer


def taken(layer: BaseChannelLayer, inbox: str) -> list[list[Any]]:
    """Return the entries of an inbox, oldest first."""
    (found,) = layer.run([Take([inbox], 1000)])
    return [decode(item.payload) for item in found.items] if found else []


def test_the_owner_of_an_inbox_gets_hints_and_one_envelope_for_all(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    layer.run([Heartbeat(inbox)])
    for name in ("a", "b", "c"):
        layer.group_add("readers", f"{inbox}{name}")
    layer.group_discard("readers", f"{inbox}c")
    layer.send_group("readers", {"text": "x"})
    layer.send(f"{inbox}a", {"text": "y"})
    *hints, envelope, message = taken(layer, inbox)
    assert [hint[:3] for hint in hints] == [
        [EntryKind.JOINED, "readers", "a"],
        [EntryKind.JOINED, "readers", "b"],
        [EntryKind.JOINED, "readers", "c"],
        [EntryKind.LEFT, "readers", "c"],
    ]
    versions = [0, *(hint[4] for hint in hints)]
    assert [hint[3] for hint in hints] == versions[:-1], "each hint begins where the one before it ended"
    assert versions == sorted(set(versions))
    assert envelope == [EntryKind.GROUP, "readers", versions[-1], {"text": "x"}]
    assert message == [EntryKind.MESSAGE, {"text": "y"}, None, "a"]


def test_a_sender_skips_an_inbox_for_as_long_as_it_is_dead(layer: BaseChannelLayer) -> None:
    dead, alive = new_inbox(), new_inbox()
    layer.run([Heartbeat(alive)])
    layer.group_add("readers", f"{dead}a")
    layer.group_add("readers", f"{alive}b")
    layer.send_group("readers", {"text": "x"})
    assert layer.losses.as_dict() == {"dead": 1}
    assert layer.group_channels("readers") == [f"{alive}b"]
    layer.send_group("readers", {"text": "y"})
    assert layer.losses.as_dict() == {"dead": 1}, "it is counted once"
    layer.run([Heartbeat(dead)])
    layer.send_group("readers", {"text": "z"})
    assert [entry[3] for entry in taken(layer, alive)[1:]] == [{"text": text} for text in "xyz"]
    assert taken(layer, dead)[-1][3] == {"text": "z"}


def test_a_slow_group_does_not_use_up_the_capacity_of_its_clients(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    layer.run([Heartbeat(inbox)])
    layer.group_add("readers", f"{inbox}a")
    for number in range(layer.capacity + 20):
        layer.send_group("readers", {"number": number})
    for number in range(layer.capacity):
        layer.send(f"{inbox}a", {"number": number})
    with pytest.raises(ChannelFull) as caught:
        layer.send(f"{inbox}a", {})
    assert (caught.value.channel, caught.value.capacity) == (f"{inbox}a", layer.capacity)
    assert len(taken(layer, inbox)) == 1 + layer.capacity + 20 + layer.capacity


def test_a_full_group_member_is_counted(layer: BaseChannelLayer) -> None:
    layer.group_add("readers", "plain")
    for number in range(layer.capacity + 3):
        layer.send_group("readers", {"number": number})
    assert layer.losses.as_dict() == {"full": 3}


def test_only_its_owner_reads_the_inbox_of_an_interface_server(layer: BaseChannelLayer) -> None:
    with pytest.raises(InvalidChannelName, match="interface server"):
        layer.receive([new_inbox()])


def test_whoever_takes_a_gated_message_by_receive_reports_at_once(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    message = {"reply_channel": f"{inbox}me", "text": "x"}
    layer.run(layer.planner.pushes([Outgoing("websocket.receive", message, token="7")], {}))
    assert layer.receive(["websocket.receive"]) == ("websocket.receive", message)
    assert taken(layer, inbox) == [[EntryKind.REPORT, "me", "7", Outcome.CONSUMED]]


def test_a_gated_message_that_expired_is_reported_and_counted(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    (push,) = layer.planner.pushes([Outgoing("websocket.receive", {"reply_channel": f"{inbox}me"}, token="7")], {})
    expired = Push(push.queue, [Entry(push.entries[0].payload, 0.02)])
    live = layer.planner.pushes([Outgoing("websocket.receive", {"value": "live"})], {})
    layer.run([expired, *live])
    time.sleep(0.04)
    while layer.receive(["websocket.receive"])[0] is None:
        pass  # one look gave the expired one alone
    assert layer.losses.as_dict() == {"expired": 1}
    assert taken(layer, inbox) == [[EntryKind.REPORT, "me", "7", Outcome.EXPIRED]]


def test_a_flush_tells_the_living_to_forget(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    layer.run([Heartbeat(inbox)])
    layer.group_add("readers", f"{inbox}a")
    layer.flush()
    assert taken(layer, inbox) == [[EntryKind.FORGET]]
