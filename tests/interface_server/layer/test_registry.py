"""What the process does for the memberships of its clients; steps are noted instead of sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from channels_classic.interface_server.layer.registry import CHUNK, Memberships, Registry, chunks
from channels_classic.layers.codec import Outcome
from channels_classic.layers.steps import Join, Leave, Rejoin, Step

INBOX = "interface.v1.x!"


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
        for name in names:
            registry.joined("g", name)
        for client in clients:
            registry.gone(client)
        assert steps == []
        await asyncio.sleep(0)
        assert steps == [Leave("g", INBOX, names[:CHUNK]), Leave("g", INBOX, names[CHUNK:])]

    run(test)


def test_a_client_that_is_gone_stays_no_member() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        (client,) = add(registry, "a")
        registry.gone(client)
        registry.joined("g", "a")
        await asyncio.sleep(0)
        assert steps == [Leave("g", INBOX, ["a"])]

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
        registry.joined("g", "a")
        registry.renew()
        assert steps == []
        now += HALF
        registry.renew()
        registry.renew()
        assert steps == [Join("g", INBOX, ["a"])]

    run(test, lambda: now)


def test_all_memberships_are_restored_in_small_steps() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        names = [str(number) for number in range(2 * CHUNK)]
        add(registry, *names)
        for name in names:
            registry.joined("g", name)
        first, second = registry.rejoin(replace=True)
        assert isinstance(first, Rejoin)
        assert isinstance(second, Join)
        assert first.replace
        assert {*first.members, *second.members} == set(names)

    run(test)


def test_where_the_layer_has_the_members_they_are_taken_over() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        add(registry, "a", "b", "c", "d")
        for name in "abc":
            registry.joined("g", name)
        (step,) = registry.rejoin(replace=False)
        assert step == Rejoin("g", INBOX, ())
        registry.left("g", "a")  # after the layer was asked
        registry.settle("g", ["a", "b", "d", "gone"])
        registry.rejoined()
        assert steps == []
        await asyncio.sleep(0)
        assert steps == [Leave("g", INBOX, ["gone"])]
        (step,) = registry.rejoin(replace=True)
        assert isinstance(step, Rejoin)
        assert set(step.members) == {"b", "d"}

    run(test)


def test_what_changes_while_memberships_are_restored_is_carried_out_again() -> None:
    async def test(registry: Registry, steps: list[Step]) -> None:
        add(registry, "a", "b")
        registry.joined("g", "a")
        registry.joined("g", "b")
        restoring = registry.rejoin(replace=True)
        next(restoring)
        registry.left("g", "a")
        registry.joined("h", "b")
        assert steps == [Leave("g", INBOX, ["a"]), Join("h", INBOX, ["b"])]
        list(restoring)
        registry.rejoined()
        registry.left("h", "b")
        assert len(steps) == 2

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
        await asyncio.wait_for(waiting, 5)

    run(test)


MIRROR_HALF = 100.0


class Clock:
    """The time the tests say it is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def memberships(clock: Clock | None = None) -> Memberships:
    return Memberships(MIRROR_HALF, clock or Clock())


def test_members_are_those_that_joined_and_did_not_leave() -> None:
    mirror = memberships()
    mirror.join("a", "1")
    mirror.join("a", "2")
    mirror.join("b", "1")
    mirror.leave("a", "1")
    mirror.leave("a", "1")
    assert mirror.members("a") == ["2"]
    assert mirror.members("b") == ["1"]
    assert set(mirror.groups()) == {"a", "b"}


def test_a_dropped_client_was_in_these_groups() -> None:
    mirror = memberships()
    mirror.join("a", "1")
    mirror.join("b", "1")
    mirror.join("b", "2")
    assert set(mirror.drop("1")) == {"a", "b"}
    assert mirror.drop("1") == []
    assert mirror.groups() == ["b"]


def test_a_group_is_due_once_in_half_the_expiry_however_long_it_lives() -> None:
    clock = Clock()
    mirror = memberships(clock)
    mirror.join("a", "1")
    times = []
    while clock.now < 10 * MIRROR_HALF:
        clock.now += 1.0
        times += [clock.now for _ in mirror.due(1000)]
    assert all(later - earlier <= MIRROR_HALF + 1.0 for earlier, later in zip([0.0, *times], times, strict=False))
    assert len(times) in (10, 11)


def test_a_group_that_emptied_is_not_due_any_more() -> None:
    clock = Clock()
    mirror = memberships(clock)
    mirror.join("a", "1")
    mirror.leave("a", "1")
    clock.now = 10 * MIRROR_HALF
    assert list(mirror.due(1000)) == []


def test_only_so_many_members_are_due_at_a_time() -> None:
    clock = Clock()
    mirror = memberships(clock)
    for group in range(10):
        for local in range(10):
            mirror.join(f"group{group}", f"{group}.{local}")
    clock.now = 2 * MIRROR_HALF
    rounds = []
    while found := list(mirror.due(30)):
        rounds.append(sum(len(members) for _, members in found))
    assert rounds == [30, 30, 30, 10]


def test_forgetting_leaves_nothing() -> None:
    clock = Clock()
    mirror = memberships(clock)
    mirror.join("a", "1")
    mirror.forget()
    clock.now = 2 * MIRROR_HALF
    assert not mirror.groups()
    assert not mirror.drop("1")
    assert not list(mirror.due(1000))


def test_chunks_hold_everything_in_order() -> None:
    members = [str(number) for number in range(2 * CHUNK + 1)]
    pieces = list(chunks(members))
    assert [len(piece) for piece in pieces] == [CHUNK, CHUNK, 1]
    assert [member for piece in pieces for member in piece] == members
