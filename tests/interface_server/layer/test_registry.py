"""Memberships of the clients of a process; steps are noted instead of sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from random import Random
from typing import Any

from channels_classic.interface_server.layer.registry import CHUNK, GroupIndex, Registry, Renewals, chunks
from channels_classic.layers.codec import Outcome
from channels_classic.layers.results import Roster
from channels_classic.layers.steps import Leave, Renew, Restore, Step
from tests.support.waiting import scaled

INBOX = "interface.v2.x!"


class Client:
    """A client with a name, and nothing to say."""

    slot: int | None = None

    def __init__(self, local: str) -> None:
        self.local = local
        self.reports: list[str] = []

    def report(self, token: str, outcome: Outcome) -> None:
        self.reports.append(token)


HALF = 1000.0


def run(test: Callable[[Registry, list[Step]], Awaitable[None]], clock: Callable[[], float] = lambda: 0.0) -> None:
    async def main() -> None:
        steps: list[Step] = []
        registry = Registry(INBOX, HALF, clock, steps.append)
        await test(registry, steps)

    asyncio.run(main())


def add(registry: Registry, *names: str) -> list[Any]:
    clients: list[Any] = [Client(name) for name in names]
    for client in clients:
        assert registry.add(client) == INBOX + client.local
    return clients


def test_clients_that_leave_together_leave_a_group_in_one_step() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        names = [str(number) for number in range(CHUNK + 1)]
        clients = add(registry, *names)
        for version, name in enumerate(names):
            registry.joined("g", name, version, version + 1)
        for client in clients:
            registry.gone(client)
        assert steps == []
        await asyncio.sleep(0)
        assert steps == [Leave("g", INBOX, names[:CHUNK], gone=True), Leave("g", INBOX, names[CHUNK:], gone=True)]

    run(test)


def test_a_client_that_is_gone_stays_no_member() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        (client,) = add(registry, "a")
        registry.gone(client)
        registry.joined("g", "a", 0, 1)
        await asyncio.sleep(0)
        assert steps == [Leave("g", INBOX, ["a"], gone=True)]
        assert not registry.groups.knows("g", 1)

    run(test)


def test_reports_reach_a_client_that_is_gone_until_it_is_removed() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        (client,) = add(registry, "a")
        registry.gone(client)
        registry.reported("a", "1", Outcome.CONSUMED)
        registry.remove(client)
        registry.remove(client)
        registry.reported("a", "2", Outcome.CONSUMED)
        assert client.reports == ["1"]

    run(test)


def test_memberships_are_renewed_in_time() -> None:
    now = 0.0

    async def test(registry: Registry, steps: list[Step]) -> None:
        nonlocal now
        add(registry, "a")
        registry.joined("g", "a", 0, 1)
        registry.renew()
        assert steps == []
        now += HALF
        registry.renew()
        registry.renew()
        assert steps == [Renew("g", INBOX)]

    run(test, lambda: now)


def test_all_memberships_are_restored_in_small_steps() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        names = [str(number) for number in range(2 * CHUNK)]
        add(registry, *names)
        for version, name in enumerate(names):
            registry.joined("g", name, version, version + 1)
        first, second = registry.restore_all()
        assert isinstance(first, Restore)
        assert isinstance(second, Restore)
        assert {*first.members, *second.members} == set(names)
        assert not registry.groups.knows("g", 1), "others may have changed what the layer has now"

    run(test)


def test_members_of_the_layer_are_taken_over_and_those_that_are_gone_pruned() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        clients = add(registry, "a", "b", "c")
        registry.joined("g", "a", 0, 1)
        registry.take_over("g", Roster(5, ["b", "c", "gone"], True))
        assert registry.groups.knows("g", 5)
        assert set(registry.groups.members("g")) == {*clients[1:]}
        await asyncio.sleep(0)
        assert steps == [Leave("g", INBOX, ["gone"], gone=True)]

    run(test)


def test_it_can_be_waited_for_that_everybody_is_gone() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        await registry.emptied()
        here, leaving = add(registry, "a", "b")
        registry.gone(leaving)
        waiting = asyncio.create_task(registry.emptied())
        await asyncio.sleep(0)
        registry.remove(here)
        assert registry.everybody() == [leaving]
        await asyncio.sleep(0)
        assert not waiting.done()
        registry.remove(leaving)
        await asyncio.wait_for(waiting, scaled(5))

    run(test)


# The index


def members(index: GroupIndex, group: str) -> set[str]:
    return {client.local for client in index.members(group)}


def client(local: str) -> Any:
    return Client(local)


def test_hints_in_order_keep_a_group_certain() -> None:
    index = GroupIndex()
    index.joined("g", client("a"), 0, 3)
    index.joined("g", client("b"), 3, 5)
    index.left("g", "a", 5, 6)
    assert members(index, "g") == {"b"}
    assert index.knows("g", 6)
    assert index.knows("g", 5), "an envelope may be older than the newest hint"
    assert not index.knows("g", 7)


def test_a_hint_that_was_lost_makes_a_group_uncertain() -> None:
    index = GroupIndex()
    index.joined("g", client("a"), 0, 1)
    index.joined("g", client("c"), 2, 3)  # that of b is lost
    assert not index.knows("g", 1)
    index.left("g", "a", 3, 4)
    assert not index.knows("g", 4), "it stays so until the layer was asked"
    index.take_over("g", 4, [client("b"), client("c")])
    assert index.knows("g", 4)
    assert members(index, "g") == {"b", "c"}


def test_hints_that_changed_places_win_over_nothing_newer() -> None:
    index = GroupIndex()
    index.left("g", "a", 1, 2)
    index.joined("g", client("a"), 0, 1)
    assert not index.knows("g", 2), "the message that follows has this version, and the layer is asked"
    index.take_over("g", 5, [client("b")])
    index.joined("g", client("a"), 0, 1)
    index.left("g", "b", 3, 4)
    assert members(index, "g") == {"b"}, "what the layer said is newer"
    assert index.knows("g", 5)


def test_a_hint_that_comes_twice_changes_nothing() -> None:
    index = GroupIndex()
    for _ in range(2):
        index.joined("g", client("a"), 0, 1)
    index.left("g", "a", 1, 2)
    index.joined("g", client("b"), 0, 3)
    index.joined("g", client("a"), 0, 1)
    assert members(index, "g") == {"b"}
    assert index.knows("g", 3)


def test_a_group_that_lost_its_data_is_uncertain_and_loses_nobody_by_a_hint() -> None:
    index = GroupIndex()
    index.joined("g", client("a"), 0, 8)
    index.joined("g", client("b"), 0, 9)  # the layer has no other member any more
    assert members(index, "g") == {"a", "b"}
    assert not index.knows("g", 9)


def test_an_uncertain_group_with_members_is_not_made_certain_by_a_first_join() -> None:
    index = GroupIndex()
    index.joined("g", client("a"), 0, 8)
    index.doubt_all()
    index.joined("g", client("b"), 0, 9)  # that a left was lost, or has to be restored
    assert not index.knows("g", 9)


def test_a_group_of_which_nothing_is_known_is_uncertain() -> None:
    index = GroupIndex()
    assert not index.knows("g", 1)
    index.joined("g", client("b"), 4, 5)
    assert not index.knows("g", 5)


def test_a_client_that_is_gone_leaves_its_groups_as_certain_as_they_are() -> None:
    index = GroupIndex()
    a, b = client("a"), client("b")
    index.joined("g", a, 0, 1)
    index.joined("g", b, 1, 2)
    index.joined("h", a, 0, 3)
    assert set(index.drop("a")) == {"g", "h"}
    assert index.drop("a") == []
    assert index.groups() == ["g"]
    assert index.knows("g", 2)


def test_nothing_is_left_of_a_flush() -> None:
    index = GroupIndex()
    index.joined("g", client("a"), 0, 1)
    index.clear()
    assert index.groups() == []
    assert index.drop("a") == []


def test_memberships_are_counted_and_the_largest_groups_known_whatever_becomes_of_them() -> None:
    index, clients, dice = GroupIndex(), [client(str(number)) for number in range(6)], Random(1)
    for version in range(1, 500):
        group, some = dice.choice("abcd"), dice.sample(clients, 3)
        match dice.randrange(5):
            case 0 | 1:
                index.joined(group, some[0], version - 1, version)
            case 2:
                index.left(group, some[0].local, version - 1, version)
            case 3:
                index.take_over(group, version, some)
            case 4:
                index.drop(some[0].local)
        sizes = {group: len(members(index, group)) for group in index.groups()}
        assert (index.member_count, len(index)) == (sum(sizes.values()), len(sizes))
        assert list(index.largest(2).values()) == sorted(sizes.values(), reverse=True)[:2]
    index.clear()
    assert (index.member_count, len(index), index.largest(2)) == (0, 0, {})


def test_a_group_is_renewed_once_in_half_the_expiry_however_long_it_lives() -> None:
    now = 0.0
    renewals = Renewals(HALF, lambda: now)
    renewals.add("a")
    renewals.add("a")
    times = [0.0]
    while now < 10 * HALF:
        now += 10.0
        times += [now for _ in renewals.due(1000, lambda group: True)]
    assert all(later - earlier <= HALF + 10.0 for earlier, later in pairwise(times))
    assert len(times) in (11, 12)


def test_only_so_many_groups_are_renewed_at_a_time_and_none_without_members() -> None:
    now = 0.0
    renewals = Renewals(HALF, lambda: now)
    for number in range(5):
        renewals.add(f"group{number}")
    now = 2 * HALF
    assert [len([*renewals.due(2, lambda group: group != "group0")]) for _ in range(3)] == [2, 2, 0]


def test_chunks_hold_everything_in_order() -> None:
    names = [str(number) for number in range(2 * CHUNK + 1)]
    pieces = list(chunks(names))
    assert [len(piece) for piece in pieces] == [CHUNK, CHUNK, 1]
    assert [name for piece in pieces for name in piece] == names


def test_a_hint_that_there_was_nobody_leaves_the_version_at_which_others_were_known() -> None:
    """With it the layer finds out whether they left, or were lost."""
    index, clients = GroupIndex(), [Client(name) for name in "abc"]
    index.joined("g", clients[0], 0, 1)  # type: ignore[arg-type]  # as much of a client as is needed
    assert index.version_before("g") == 0
    index.joined("g", clients[1], 0, 5)  # type: ignore[arg-type]
    index.joined("g", clients[2], 5, 6)  # type: ignore[arg-type]
    assert (index.version("g"), index.version_before("g"), len(index.members("g"))) == (0, 1, 3)
    index.restored("g")
    assert (index.version_before("g"), index.version_before("other")) == (0, 0)
