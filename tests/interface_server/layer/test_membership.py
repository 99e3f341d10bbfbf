"""The mirror of memberships: a clock that the tests move, no layer."""

from __future__ import annotations

from channels_classic.interface_server.layer.membership import CHUNK, Memberships, chunks

HALF = 100.0


class Clock:
    """The time the tests say it is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def memberships(clock: Clock | None = None) -> Memberships:
    return Memberships(HALF, clock or Clock())


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
    while clock.now < 10 * HALF:
        clock.now += 1.0
        times += [clock.now for _ in mirror.due(1000)]
    assert all(later - earlier <= HALF + 1.0 for earlier, later in zip([0.0, *times], times, strict=False))
    assert len(times) in (10, 11)


def test_a_group_that_emptied_is_not_due_any_more() -> None:
    clock = Clock()
    mirror = memberships(clock)
    mirror.join("a", "1")
    mirror.leave("a", "1")
    clock.now = 10 * HALF
    assert list(mirror.due(1000)) == []


def test_only_so_many_members_are_due_at_a_time() -> None:
    clock = Clock()
    mirror = memberships(clock)
    for group in range(10):
        for local in range(10):
            mirror.join(f"group{group}", f"{group}.{local}")
    clock.now = 2 * HALF
    rounds = []
    while found := list(mirror.due(30)):
        rounds.append(sum(len(members) for _, members in found))
    assert rounds == [30, 30, 30, 10]


def test_forgetting_leaves_nothing() -> None:
    clock = Clock()
    mirror = memberships(clock)
    mirror.join("a", "1")
    mirror.forget()
    clock.now = 2 * HALF
    assert not mirror.groups()
    assert not mirror.drop("1")
    assert not list(mirror.due(1000))


def test_chunks_hold_everything_in_order() -> None:
    members = [str(number) for number in range(2 * CHUNK + 1)]
    pieces = list(chunks(members))
    assert [len(piece) for piece in pieces] == [CHUNK, CHUNK, 1]
    assert [member for piece in pieces for member in piece] == members
