"""The ledger: what a process holds, as its supervisor reads it."""

from __future__ import annotations

from channels_classic.layers.planner import Delivery
from channels_classic.layers.results import Item
from channels_classic.worker.inflight import Held, InFlightTable
from tests.support.waiting import scaled


def delivery(number: int, channel: str = "work", token: str | None = "7") -> Delivery:
    return Delivery(channel, {"reply_channel": f"inbox!{number}"}, token, Item(b"", None))


def test_the_other_side_sees_what_is_held_and_not_finished() -> None:
    table = InFlightTable.make(3)
    reader = InFlightTable(table.descriptor)
    first, second = delivery(1), delivery(2, token=None)
    table.hold([first, second])
    assert sorted(reader.held(), key=str) == [Held("work", "inbox!1", "7"), Held("work", "inbox!2", "")]
    table.release(first)
    assert reader.held() == [Held("work", "inbox!2", "")]
    table.release(second)
    assert reader.held() == []


def test_cells_are_used_again_and_what_finds_none_is_not_noted() -> None:
    table = InFlightTable.make(2)
    for _ in range(3):
        held = [delivery(number) for number in range(3)]
        table.hold(held)
        assert len(table.held()) == 2
        for one in held:
            table.release(one)
        assert table.held() == []


def test_the_longest_names_fit() -> None:
    table = InFlightTable.make(1)
    table.hold([Delivery("c" * 100, {"reply_channel": "r" * 50 + "!" + "r" * 49}, "1" * 20, Item(b"", None))])
    assert table.held() == [Held("c" * 100, "r" * 50 + "!" + "r" * 49, "1" * 20)]


def test_a_process_is_silent_only_while_it_is_busy() -> None:
    table = InFlightTable.make(0)
    assert table.heartbeat_age() == 0
    table.beat(busy=True)
    assert 0 <= table.heartbeat_age() < scaled(1)
    table.beat(busy=False)
    assert table.heartbeat_age() == 0


def test_a_message_whose_names_do_not_fit_is_not_noted_and_leaves_others_alone() -> None:
    table = InFlightTable.make(2)
    table.hold([delivery(1), Delivery("c" * 100, {"reply_channel": "r!" * 50}, "1" * 100, Item(b"", None))])
    assert table.held() == [Held("work", "inbox!1", "7")]
