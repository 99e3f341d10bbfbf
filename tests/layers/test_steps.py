"""Steps, on which both programs rely: each has the same effect on every layer."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import msgpack
import pytest

from channels_classic.layers import store
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.history import ALL
from channels_classic.layers.local import wire
from channels_classic.layers.names import new_inbox
from channels_classic.layers.redis import commands, routes
from channels_classic.layers.results import (
    Announcement,
    Audience,
    Kept,
    MembershipChange,
    Published,
    PushStatus,
    Taken,
)
from channels_classic.layers.steps import (
    Announce,
    Connection,
    Entry,
    Envelope,
    Flush,
    GetCounters,
    GetPrograms,
    Heartbeat,
    Join,
    Leave,
    Length,
    Lookup,
    Members,
    Publish,
    Push,
    PutBack,
    ReadHistory,
    Record,
    Renew,
    Restore,
    Retire,
    Step,
    Take,
)
from tests.support.waiting import eventually, scaled

SOON = scaled(1.0)
"""Seconds within which a wake-up has ended a read that would block for longer."""


def test_every_layer_knows_every_step() -> None:
    """A step that one of the tables lacks would be a `KeyError` when it is first sent."""
    every = set(get_args(Step))
    assert set(store._RUN) == every
    assert set(commands._COMMANDS) == every
    assert set(wire._SHAPES) - {wire.Lose} == every
    assert set(routes._PLACES) == every - {Push, PutBack, Take}, "these three go by queue, in `Routes` itself"


def test_no_two_steps_have_one_code_on_the_local_wire() -> None:
    """The host would take one for the other."""
    codes = [code for code, _ in wire._SHAPES.values()]
    assert len(codes) == len(set(codes))


def run(layer: BaseChannelLayer, *steps: Step) -> list[Any]:
    return layer.run(list(steps))


def entries(*payloads: bytes, quota_key: str = "", limit: int | None = None) -> list[Entry]:
    return [Entry(payload, 60.0, quota_key, limit) for payload in payloads]


def payloads(taken: Taken | None) -> list[bytes]:
    assert taken is not None
    return [item.payload for item in taken.items]


def membership(layer: BaseChannelLayer, group: str) -> dict[str, set[str]]:
    (found,) = run(layer, Lookup(group))
    rosters = run(layer, *(Members(group, inbox) for inbox in found.inboxes))
    assert [roster.version for roster in rosters] == list(found.inboxes.values())
    owned = {inbox: set(roster.members) for inbox, roster in zip(found.inboxes, rosters, strict=True)}
    return {**owned, **({"": set(found.channels)} if found.channels else {})}


def live(layer: BaseChannelLayer, *inboxes: str) -> None:
    """Let owners of inboxes live that have no memberships to restore."""
    for inbox in inboxes:
        (epochs,) = run(layer, Heartbeat(inbox))
        run(layer, Heartbeat(inbox, epochs))


def test_results_come_in_the_order_of_their_steps(layer: BaseChannelLayer) -> None:
    results = run(
        layer,
        Push("chat", entries(b"1", b"2")),
        Length("chat"),
        Take(["chat"]),
        Lookup("nobody"),
        Take(["nothing"]),
        Heartbeat("inbox!"),
        Length("chat"),
    )
    results[2] = payloads(results[2])
    assert results == [[PushStatus.ACCEPTED] * 2, 2, [b"1"], Audience({}, [], []), None, results[5], 1]


def test_a_take_gives_up_to_its_count_from_the_first_list_that_has_any(layer: BaseChannelLayer) -> None:
    run(layer, Push("second", entries(b"1", b"2", b"3")), Push("third", entries(b"4")))
    (taken,) = run(layer, Take(["first", "second", "third"], 2))
    assert taken.queue == "second"
    assert payloads(taken) == [b"1", b"2"]
    assert list(taken.lost) == []


def test_an_empty_payload_and_a_large_one_are_carried(layer: BaseChannelLayer) -> None:
    large = bytes(range(256)) * 16_000
    run(layer, Push("chat", entries(b"", large)))
    assert payloads(run(layer, Take(["chat"], 2))[0]) == [b"", large]


def test_items_put_back_come_first_and_in_order(layer: BaseChannelLayer) -> None:
    for queue in ("chat", "inbox!"):
        run(layer, Push(queue, entries(b"1", b"2", b"3", quota_key="client")))
        (taken,) = run(layer, Take([queue], 3))
        run(layer, Push(queue, entries(b"4", quota_key="client")), PutBack(queue, taken.items[1:]))
        assert payloads(run(layer, Take([queue], 5))[0]) == [b"2", b"3", b"4"]


def test_the_limit_counts_entries_of_one_account(layer: BaseChannelLayer) -> None:
    pushed = [*entries(b"1", b"2", b"3", quota_key="a", limit=2), *entries(b"4", quota_key="b", limit=2)]
    (statuses,) = run(layer, Push("inbox!", pushed))
    assert statuses == [PushStatus.ACCEPTED, PushStatus.ACCEPTED, PushStatus.FULL, PushStatus.ACCEPTED]
    run(layer, Take(["inbox!"]))
    assert run(layer, Push("inbox!", entries(b"5", quota_key="a", limit=2))) == [[PushStatus.ACCEPTED]]


def test_the_limit_of_one_account_holds_in_a_long_inbox(layer: BaseChannelLayer) -> None:
    others = [Entry(b"x", 60.0, f"client{number}", 5) for number in range(300)]
    run(layer, Push("inbox!", others), Push("inbox!", entries(*[b"y"] * 5, quota_key="a", limit=5)))
    assert run(layer, Push("inbox!", entries(b"z", quota_key="a", limit=5))) == [[PushStatus.FULL]]
    run(layer, Take(["inbox!"], 302))
    assert run(layer, Push("inbox!", entries(b"1", b"2", b"3", quota_key="a", limit=5))) == [
        [PushStatus.ACCEPTED, PushStatus.ACCEPTED, PushStatus.FULL]
    ]


@pytest.mark.parametrize("queue", ["chat", "chat?x"])
def test_a_plain_channel_holds_64_mib_at_most_whatever_its_limit(layer: BaseChannelLayer, queue: str) -> None:
    large = b"x" * 4 * 1024 * 1024
    statuses = [run(layer, Push(queue, entries(large, limit=1000)))[0][0] for _ in range(18)]
    accepted = statuses.count(PushStatus.ACCEPTED)
    assert 12 <= accepted <= 16, "allocators round up"
    assert statuses == [PushStatus.ACCEPTED] * accepted + [PushStatus.FULL] * (18 - accepted)
    run(layer, Take([queue], 1))
    assert run(layer, Push(queue, entries(large, limit=1000))) == [[PushStatus.ACCEPTED]]


def test_only_an_inbox_that_is_alive_takes_what_is_for_the_living(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    push = Push(inbox, entries(b"1", b"2"), alive=True)
    assert run(layer, push) == [[PushStatus.DEAD] * 2]
    assert run(layer, Length(inbox)) == [0]
    assert run(layer, Heartbeat(inbox), push)[1] == [PushStatus.ACCEPTED] * 2


def test_an_owner_that_retires_leaves_nothing(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    run(layer, Heartbeat(inbox), Push(inbox, entries(b"1")), Retire(inbox))
    assert run(layer, Length(inbox), Push(inbox, entries(b"2"), alive=True)) == [0, [PushStatus.DEAD]]


def test_members_are_kept_by_inbox(layer: BaseChannelLayer) -> None:
    live(layer, "a!", "b!")
    run(layer, Join("g", "a!", ["1", "2"]), Join("g", "b!", ["1"]), Join("g", "", ["plain"]), Join("h", "a!", ["9"]))
    assert membership(layer, "g") == {"a!": {"1", "2"}, "b!": {"1"}, "": {"plain"}}
    run(layer, Leave("g", "a!", ["1", "unknown"]), Leave("g", "b!", ["1"]), Leave("g", "c!", ["1"]))
    assert membership(layer, "g") == {"a!": {"2"}, "": {"plain"}}
    run(layer, Leave("g", "", ["plain"]))
    assert membership(layer, "g") == {"a!": {"2"}}


def test_each_change_has_a_version_that_never_was_before(layer: BaseChannelLayer) -> None:
    live(layer, "a!")
    seen = [0]
    for _ in range(3):
        for step in (Join("g", "a!", ["1"]), Join("g", "a!", ["2"]), Leave("g", "a!", ["1"]), Leave("g", "a!", ["2"])):
            (change,) = run(layer, step)
            assert change.previous == (0 if step == Join("g", "a!", ["1"]) else seen[-1])
            assert change.version > max(seen)
            seen.append(change.version)
    (joined,) = run(layer, Join("h", "a!", ["1"]))
    assert joined.version > max(seen), "also not in another group"


def test_what_changes_nothing_has_no_new_version(layer: BaseChannelLayer) -> None:
    live(layer, "a!")
    (joined,) = run(layer, Join("g", "a!", ["1"]))
    version = joined.version
    assert run(layer, Join("g", "a!", ["1"]), Leave("g", "a!", ["2"]), Renew("g", "a!"), Leave("h", "a!", ["1"])) == [
        MembershipChange(version, version),
        MembershipChange(version, version),
        None,
        MembershipChange(0, 0),
    ]
    assert run(layer, Lookup("g")) == [Audience({"a!": version}, [], [])]


def test_clients_that_are_gone_leave_without_a_new_version(layer: BaseChannelLayer) -> None:
    live(layer, "a!")
    (joined,) = run(layer, Join("g", "a!", ["1", "2"]))
    (left,) = run(layer, Leave("g", "a!", ["1"], gone=True))
    assert left == MembershipChange(joined.version, joined.version)
    assert run(layer, Members("g", "a!"))[0][:3] == (joined.version, ["2"], True)
    run(layer, Leave("g", "a!", ["2"], gone=True))
    (again,) = run(layer, Join("g", "a!", ["3"]))
    assert again.previous == 0
    assert again.version > joined.version


def test_a_dead_inbox_is_skipped_until_it_lives_again(layer: BaseChannelLayer) -> None:
    (joined,) = run(layer, Join("g", "a!", ["1"]))
    assert run(layer, Lookup("g"), Lookup("g")) == [Audience({}, [], ["a!"]), Audience({}, [], [])]
    run(layer, Heartbeat("a!"))
    assert run(layer, Lookup("g")) == [Audience({"a!": joined.version}, [], [])]
    run(layer, Retire("a!"))
    assert run(layer, Lookup("g")) == [Audience({}, [], ["a!"])], "it died once more"


def published(group: str, **more: Any) -> Publish:
    """A message for a group, whose payloads say nothing but the version."""
    return Publish(group, Envelope(b"<", b">"), "interface.v2.", 60.0, f"@{group}", 2, **more)


def test_a_message_for_a_group_is_pushed_with_the_version_of_each_inbox(layer: BaseChannelLayer) -> None:
    first, second, old = new_inbox(), new_inbox(), "interface.v1.old!"
    live(layer, first, second, old)
    joined = run(layer, *(Join("g", inbox, ["1", "2"]) for inbox in (first, second, old, "dead!")))
    run(layer, Join("g", "", ["plain"]))
    apart = {"apart": second, "apart_envelope": Envelope(b"[", b"]")}
    both = run(layer, published("g", **apart), published("g"))
    assert [each[:2] for each in both] == [
        (Audience({old: joined[2].version}, ["plain"], ["dead!"]), 0),
        (Audience({old: joined[2].version}, ["plain"], []), 0),
    ]
    versions = [msgpack.packb(change.version) for change in joined]
    assert payloads(run(layer, Take([first], 9))[0]) == [b"<" + versions[0] + b">"] * 2
    assert payloads(run(layer, Take([second], 9))[0]) == [b"[" + versions[1] + b"]", b"<" + versions[1] + b">"]
    assert run(layer, Length(old), Length("plain")) == [0, 0]


def test_where_inboxes_are_elsewhere_a_message_for_a_group_is_left_to_its_sender(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    live(layer, inbox)
    (joined,) = run(layer, Join("g", inbox, ["1"]))
    assert run(layer, published("g", direct=False), Length(inbox)) == [
        Published(Audience({inbox: joined.version}, [], []), 0),
        0,
    ]


@pytest.mark.parametrize("direct", [True, False])
def test_a_message_for_a_group_that_keeps_it_ends_with_its_position(layer: BaseChannelLayer, direct: bool) -> None:
    """It is kept, and left to its sender, where inboxes are elsewhere."""
    inbox, other = new_inbox(), new_inbox()
    live(layer, inbox, other)
    joined = run(layer, Join("g", inbox, ["1"]), Join("g", other, ["1"]))
    apart = {"apart": other, "apart_envelope": Envelope(b"[", b"]")}
    step = published("g", record=Record("g", b"kept", 3, 60.0), direct=direct, **apart)
    found = run(layer, step, step)
    history = run(layer, ReadHistory("g", ALL, 0))[0]
    assert [each.position for each in found] == [1, 2]
    assert {each.life for each in found} == {history.life}
    assert history.kept == [Kept(1, b"kept"), Kept(2, b"kept")]
    sealed = [msgpack.packb(change.version) for change in joined]
    ends = [msgpack.packb(history.life) + msgpack.packb(position) for position in (1, 2)]
    if direct:
        assert [each.left.inboxes for each in found] == [{}, {}]
        assert payloads(run(layer, Take([inbox], 9))[0]) == [b"<" + sealed[0] + b">" + end for end in ends]
        assert payloads(run(layer, Take([other], 9))[0]) == [b"[" + sealed[1] + b"]" + end for end in ends]
    else:
        assert [set(each.left.inboxes) for each in found] == [{inbox, other}] * 2
        assert run(layer, Length(inbox), Length(other)) == [0, 0]


def test_a_message_for_a_group_finds_its_quota_used_up(layer: BaseChannelLayer) -> None:
    """Large ones, since a Redis layer counts where many small ones wait only when they are pushed one by one."""
    inbox = new_inbox()
    live(layer, inbox)
    run(layer, Join("g", inbox, ["1"]))
    large = published("g")._replace(envelope=Envelope(b"<", b"x" * 100_000))
    assert [found.full for found in run(layer, large, large, large, large)] == [0, 0, 1, 1]
    assert run(layer, Length(inbox)) == [2]


def test_nobody_gets_a_message_for_an_empty_group(layer: BaseChannelLayer) -> None:
    assert run(layer, published("nobody")) == [Published(Audience({}, [], []), 0)]


def test_asking_for_the_epoch_changes_nothing(layer: BaseChannelLayer) -> None:
    (first,) = run(layer, Heartbeat("a!"))
    assert run(layer, Heartbeat("a!"), Heartbeat("a!", first), Heartbeat("a!")) == [first] * 3


def test_what_an_owner_restores_is_added_to_what_changed_since(layer: BaseChannelLayer) -> None:
    """Until the owner confirms the epoch: others may have joined and left meanwhile, which it does not know yet."""
    (epochs,) = run(layer, Heartbeat("a!"))
    run(layer, Leave("g", "a!", ["1"]), Leave("g", "a!", ["2"]), Join("g", "a!", ["2"]), Join("g", "a!", ["new"]))
    assert run(layer, Members("g", "a!"))[0].complete is False
    run(layer, Restore("g", "a!", ["1", "2", "3"]))
    assert membership(layer, "g") == {"a!": {"2", "3", "new"}}
    run(layer, Leave("g", "a!", ["3"]), Restore("g", "a!", ["1", "2", "3"]))
    assert membership(layer, "g") == {"a!": {"2", "new"}}, "restoring twice revives nobody"
    run(layer, Heartbeat("a!", epochs), Leave("g", "a!", ["2"]), Restore("g", "a!", ["1", "2", "3"]))
    assert membership(layer, "g") == {"a!": {"new"}}, "a late one revives nobody"
    assert run(layer, Members("g", "a!"))[0].complete is True


def test_a_flush_names_the_living_and_leaves_them_alive(layer: BaseChannelLayer) -> None:
    alive, retired = new_inbox(), new_inbox()
    run(
        layer,
        Heartbeat(alive),
        Heartbeat(retired),
        Retire(retired),
        Push("chat", entries(b"1")),
        Join("g", alive, ["1"]),
    )
    (inboxes,) = run(layer, Flush())
    assert list(inboxes) == [alive]
    assert run(layer, Length("chat"), Push(alive, entries(b"2"), alive=True)) == [0, [PushStatus.ACCEPTED]]
    assert membership(layer, "g") == {}


def test_a_take_that_waits_gives_nothing_after_its_timeout(layer: BaseChannelLayer) -> None:
    connection = layer.connect()
    began = time.monotonic()
    connection.write([Take(["quiet"], 1, 0.2), Length("quiet")])
    assert [connection.read(), connection.read()] == [None, 0]
    assert 0.15 < time.monotonic() - began < 0.2 + SOON
    connection.close()


def test_steps_behind_a_take_that_waits_are_run_after_it(layer: BaseChannelLayer) -> None:
    connection = layer.connect()
    connection.write([Take(["chat"], 1, 5.0), Length("chat"), Push("answers", entries(b"1"))])
    run(layer, Push("chat", entries(b"1", b"2")))
    assert payloads(connection.read()) == [b"1"]
    assert [connection.read(), connection.read()] == [1, [PushStatus.ACCEPTED]]
    connection.close()


def test_a_wake_up_ends_a_take_that_waits_and_loses_nothing(layer: BaseChannelLayer) -> None:
    with _Blocked(layer) as blocked:
        blocked.connection.wake()
        assert blocked.result() is None
        run(layer, Push("chat", entries(b"1")))
        assert payloads(run(layer, Take(["chat"]))[0]) == [b"1"]


def test_a_wake_up_that_comes_first_ends_the_next_take(layer: BaseChannelLayer) -> None:
    connection = layer.connect()
    connection.wake()
    began = time.monotonic()
    connection.write([Take(["chat"], 1, 10.0)])
    assert connection.read() is None
    assert time.monotonic() - began < SOON
    connection.close()


def test_a_connection_works_on_after_a_wake_up(layer: BaseChannelLayer) -> None:
    with _Blocked(layer) as blocked:
        for _ in range(3):
            blocked.connection.wake()
        assert blocked.result() is None
        # A wake-up that came late may end one more read early, but takes nothing away.
        run(layer, Push("chat", entries(b"1", b"2")))
        got: list[bytes] = []
        while len(got) < 2:
            blocked.connection.write([Take(["chat"], 1, 5.0)])
            taken = blocked.connection.read()
            got += payloads(taken) if taken else []
        assert got == [b"1", b"2"]


def test_a_reader_that_closes_while_it_waits_swallows_nothing(layer: BaseChannelLayer) -> None:
    async def scenario() -> list[bytes]:
        connection = await layer.connect_async()
        reading = asyncio.ensure_future(connection.run([Take(["chat"], 1, 10.0)]))
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await connection.close()
        await asyncio.sleep(0.05)
        await layer.run_async([Push("chat", entries(b"1"))])
        (taken,) = await layer.run_async([Take(["chat"], 1, 1.0)])
        await layer.close_async()
        return payloads(taken)

    assert asyncio.run(scenario()) == [b"1"]


def test_both_faces_do_the_same(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    steps: list[Step] = [
        Heartbeat(inbox),
        Push(inbox, entries(b"1", b"2", quota_key="a", limit=1), alive=True),
        Take([inbox], 5),
        Join("g", "", ["1"]),
        Lookup("g"),
        Leave("g", "", ["1"]),
        Lookup("g"),
        Retire(inbox),
        Length(inbox),
    ]

    async def scenario() -> list[Any]:
        results = await layer.run_async(steps)
        await layer.close_async()
        return results

    found = [layer.run(steps), asyncio.run(scenario())]
    for results in found:
        results[2] = payloads(results[2])
    assert found[0] == found[1]
    assert found[0] == [
        found[0][0],
        [PushStatus.ACCEPTED, PushStatus.FULL],
        [b"1"],
        MembershipChange(0, 1),
        Audience({}, ["1"], []),
        MembershipChange(0, 0),
        Audience({}, [], []),
        None,
        0,
    ]


@pytest.mark.parametrize("number", [1, 4])
def test_one_of_many_who_wait_gets_each_entry(layer: BaseChannelLayer, number: int) -> None:
    taken: list[bytes] = []

    def read(_: int) -> None:
        connection = layer.connect()
        while True:
            connection.write([Take(["chat"], 3, 5.0)])
            got = payloads(connection.read())
            taken.extend(payload for payload in got if payload != b"stop")
            if b"stop" in got:
                run(layer, Push("chat", entries(*[b"stop"] * (got.count(b"stop") - 1))))
                break
        connection.close()

    with ThreadPoolExecutor(number) as pool:
        readers = pool.map(read, range(number))
        for value in range(100):
            run(layer, Push("chat", entries(b"%d" % value)))
        eventually(lambda: len(taken) == 100)
        run(layer, Push("chat", entries(*[b"stop"] * number)))
        list(readers)
    assert sorted(taken, key=int) == [b"%d" % value for value in range(100)]


def programs(layer: BaseChannelLayer) -> list[Announcement]:
    (found,) = run(layer, GetPrograms())
    assert isinstance(found, list)
    return sorted(found)


def test_a_program_is_known_by_its_last_announcement_for_as_long_as_it_said(layer: BaseChannelLayer) -> None:
    run(layer, Announce("one", b"old", 60.0), Announce("one", b"new", 60.0), Announce("two", b"", 0.3))
    first, second = programs(layer)
    assert (first[:2], second[:2]) == (("one", b"new"), ("two", b""))
    assert 0 <= first.age < 30
    eventually(lambda: [found.program for found in programs(layer)] == ["one"])
    assert programs(layer)[0].age > 0


def test_a_program_that_withdraws_is_known_no_longer(layer: BaseChannelLayer) -> None:
    run(layer, Announce("one", b"x", 60.0), Announce("two", b"y", 60.0), Announce("one", b"", 0), Announce("3", b"", 0))
    assert [found.program for found in programs(layer)] == ["two"]


def test_a_flush_leaves_the_programs(layer: BaseChannelLayer) -> None:
    run(layer, Announce("one", b"x", 60.0), Flush())
    assert [found.program for found in programs(layer)] == ["one"]


def test_the_counters_are_read_by_kind_and_channel(layer: BaseChannelLayer) -> None:
    layer.losses.count("died", "jobs", 3)
    run(layer, Push("jobs", entries(b"1", b"2", limit=1)), Push("box?x", entries(b"1", limit=9)))
    (counts,) = run(layer, GetCounters())
    kinds = {"full": ["jobs"], "lost_died": ["jobs"], "messages": ["box?", "jobs"]}
    assert sorted(counts) == [
        (kind, name, 3 if kind == "lost_died" else 1) for kind, names in kinds.items() for name in names
    ]


class _Blocked:
    """A connection that waits on `chat` in a thread of its own."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.connection: Connection = layer.connect()
        self._results: list[Any] = []
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> _Blocked:
        self.connection.write([Take(["chat"], 1, 20.0)])
        self._thread.start()
        return self

    def _read(self) -> None:
        self._results.append(self.connection.read())

    def result(self) -> Any:
        """Return the result of the take, which must come soon."""
        self._thread.join(SOON)
        assert self._results, "the take still waits"
        return self._results[0]

    def __exit__(self, *error: object) -> None:
        self.connection.wake()
        self._thread.join(scaled(5))
        self.connection.close()
