"""The one timer of all clients."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from channels_classic.interface_server.layer.timers import TICK, Timers
from channels_classic.interface_server.websocket.actions import Stalled
from channels_classic.interface_server.websocket.inbound import InboundLimits, InboundQueue
from tests.support.waiting import eventually_async


class Item:
    """Notes when it was asked, and gives the deadlines it was made with one after another."""

    def __init__(self, *deadlines: float) -> None:
        self.slot: int | None = None
        self.asked: list[float] = []
        self._deadlines = list(deadlines)

    def due(self, now: float) -> float:
        self.asked.append(now)
        return self._deadlines.pop(0) if self._deadlines else math.inf


def run(test: object) -> None:
    asyncio.run(test())  # type: ignore[operator]


def test_an_item_is_asked_once_its_time_has_come() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        timers, item, start = Timers(loop.time), Item(), loop.time()
        timers.schedule(item, start + 0.1)
        await eventually_async(lambda: item.asked)
        assert item.asked[0] >= start + 0.1
        assert item.slot is None

    run(test)


def test_an_item_is_asked_again_at_the_time_it_gives() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        timers, item = Timers(loop.time), Item(start + 0.2)
        timers.schedule(item, start + 0.05)
        await eventually_async(lambda: len(item.asked) == 2)
        assert item.asked[1] >= start + 0.2

    run(test)


def test_a_later_time_changes_nothing_and_an_earlier_one_counts() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        timers, item, start = Timers(loop.time), Item(), loop.time()
        timers.schedule(item, start + 1000)
        timers.schedule(item, start + 0.1)
        timers.schedule(item, start + 500)
        await eventually_async(lambda: item.asked)
        assert loop.time() < start + 100

    run(test)


def test_a_forgotten_item_is_not_asked() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        timers, forgotten, other = Timers(loop.time), Item(), Item()
        when = loop.time() + 0.05
        timers.schedule(forgotten, when)
        timers.schedule(other, when + 2 * TICK)
        timers.cancel(forgotten)
        timers.cancel(forgotten)
        await eventually_async(lambda: other.asked)
        assert not forgotten.asked

    run(test)


def test_an_item_may_forget_another_of_the_same_moment() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        timers, last = Timers(loop.time), Item()
        items: list[Item] = []

        class Rival(Item):
            def due(self, now: float) -> float:
                for item in items:
                    timers.cancel(item)
                return super().due(now)

        items += [Rival(), Rival()]
        when = loop.time() + 0.05
        for item in items:
            timers.schedule(item, when)
        timers.schedule(last, when + 2 * TICK)
        await eventually_async(lambda: last.asked)
        assert sum(len(item.asked) for item in items) == 1

    run(test)


def test_many_items_share_one_timer_and_are_asked_in_time() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        timers, start = Timers(loop.time), loop.time()
        items = [Item() for _ in range(200)]
        for number, item in enumerate(reversed(items)):
            timers.schedule(item, start + 0.002 * number)
        await eventually_async(lambda: all(item.asked for item in items))
        assert all(item.asked[0] >= start + 0.002 * number for number, item in enumerate(reversed(items)))

    run(test)


def test_an_endless_deadline_is_none() -> None:
    async def test() -> None:
        timers, item = Timers(asyncio.get_running_loop().time), Item()
        timers.schedule(item, math.inf)
        assert item.slot is None

    run(test)


def test_a_stopped_wheel_asks_nobody() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        timers, item = Timers(loop.time), Item()
        timers.schedule(item, loop.time() + 0.01)
        timers.stop()
        other = Timers(loop.time)
        last = Item()
        other.schedule(last, loop.time() + 0.1)
        await eventually_async(lambda: last.asked)
        assert not item.asked

    run(test)


class Moments(asyncio.SelectorEventLoop):
    """An event loop at a moment that the test chooses."""

    now = 0.0

    def time(self) -> float:
        return self.now


def test_an_item_that_is_asked_a_rounding_error_before_its_time_is_asked_again_in_the_next_turn() -> None:
    """The clock of uvloop shows whole milliseconds, so its timer may go off in the one that was computed."""
    loop, paused_at, timeout, now = Moments(), 20000.15, 0.2, 20000.35
    assert now < paused_at + timeout < now + 1e-9
    timers = Timers(loop.time)
    inbound = InboundQueue(InboundLimits(expiry=60, frames=1, size=100, timeout=timeout), "/")
    seen: list[Any] = []

    class Socket:
        slot: int | None = None

        def due(self, now: float) -> float:
            assert len(seen) < 9
            seen.append(inbound.due(now))
            timers.schedule(self, inbound.deadline)  # as a socket does whatever it carries out
            return inbound.deadline

    async def test() -> None:
        inbound.pause(paused_at)
        timers.schedule(Socket(), inbound.deadline)
        for loop.now in (now, now + TICK):
            for _ in range(3):
                await asyncio.sleep(0)
        timers.stop()

    loop.now = paused_at
    loop.run_until_complete(test())
    loop.close()
    assert seen == [[], [Stalled()]]


def test_an_item_that_fails_keeps_no_other_from_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        class Broken(Item):
            def due(self, now: float) -> float:
                super().due(now)
                raise LookupError("broken")

        loop = asyncio.get_running_loop()
        timers, items, later = Timers(loop.time), [Broken(), Broken(), Item()], Item()
        when = loop.time() + 0.05
        for item in items:
            timers.schedule(item, when)
        timers.schedule(later, when + 2 * TICK)
        await eventually_async(lambda: later.asked)
        assert all(item.asked for item in items)
        await eventually_async(lambda: len(items[0].asked) == 2)
        timers.stop()

    run(test)
    assert "broken" in caplog.text


def test_items_that_keep_scheduling_each_other_in_the_past_hold_nobody_up() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        timers = Timers(loop.time)
        items: list[Item] = []

        class Restless(Item):
            def due(self, now: float) -> float:
                for item in items:
                    timers.schedule(item, now - 1)
                return super().due(now)

        items += [Restless(), Restless()]
        for item in items:
            timers.schedule(item, loop.time())
        await eventually_async(lambda: all(len(item.asked) >= 3 for item in items))
        timers.stop()

    run(test)
