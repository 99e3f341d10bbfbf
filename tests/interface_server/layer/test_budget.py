"""Tests of the clients that are cut off when all clients together hold too much."""

from __future__ import annotations

from channels_classic.interface_server.layer.budget import UNCOUNTED, ByteBudget

MB = 1024 * 1024


class Client:
    """Holds what it is told."""

    def __init__(self, buffered: int) -> None:
        self.buffered = buffered

    def cut_off(self) -> None:
        """Nobody calls it: that is for the caller of the budget."""


def test_little_is_not_counted() -> None:
    budget = ByteBudget(MB)
    assert budget.note(Client(0), UNCOUNTED) == []
    assert budget.total == 0


def test_what_a_client_held_before_is_replaced() -> None:
    budget, client = ByteBudget(10 * MB), Client(0)
    for size in (MB, 2 * MB, 3 * MB):
        assert budget.note(client, size) == []
        assert budget.total == size
    budget.note(client, 0)
    assert budget.total == 0


def test_the_largest_are_cut_off_until_the_rest_fits() -> None:
    budget = ByteBudget(10 * MB)
    small, large, larger = Client(MB), Client(4 * MB), Client(5 * MB)
    assert [victim for one in (larger, small, large) for victim in budget.note(one, one.buffered)] == []
    last = Client(4 * MB)
    assert budget.note(last, last.buffered) == [larger]
    assert budget.total == 9 * MB
    small.buffered = 3 * MB
    assert budget.note(small, 3 * MB) == [large]


def test_clients_that_have_taken_their_bytes_meanwhile_are_spared() -> None:
    budget, idle, busy = ByteBudget(10 * MB), Client(8 * MB), Client(8 * MB)
    budget.note(idle, 8 * MB)
    idle.buffered = 0
    assert budget.note(busy, 8 * MB) == []
    assert budget.total == 8 * MB


def test_without_a_limit_nothing_is_counted() -> None:
    budget = ByteBudget(0)
    assert budget.note(Client(MB), MB) == []
    assert budget.total == 0
