"""Who may try again, and when: clients that only note it, a wheel on a real loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from channels_classic.interface_server.layer.retry_queue import Backlog
from channels_classic.interface_server.layer.timers import Wheel
from tests.support.waiting import eventually_async


class Waiter:
    """A client that waits for room."""

    def __init__(self, tried: list[Waiter]) -> None:
        self._tried = tried

    def retry(self) -> None:
        self._tried.append(self)


def run(
    test: Callable[[Backlog, list[Waiter]], Awaitable[None]], *, reachable: Callable[[], bool] = lambda: True
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop.time)
        await test(Backlog(wheel, loop.time, reachable), [])
        wheel.stop()

    asyncio.run(main())


def test_nobody_waits_for_a_channel_with_room() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        assert not backlog.must_wait("c")

    run(test)


def test_everybody_waits_while_the_layer_is_away() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        assert backlog.must_wait("c")

    run(test, reachable=lambda: False)


def test_those_who_come_later_wait_behind() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        waiter = Waiter(tried)
        backlog.refused("c", waiter)
        assert backlog.must_wait("c")
        assert not backlog.must_wait("other")
        backlog.passed("c", waiter)
        assert not backlog.must_wait("c")

    run(test)


def test_the_first_one_tries_when_something_was_taken() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        waiters = [Waiter(tried) for _ in range(3)]
        for waiter in waiters:
            backlog.refused("c", waiter)
        backlog.taken("other")
        assert tried == []
        backlog.taken("c")
        backlog.taken("c")
        assert tried == waiters[:1]

    run(test)


def test_while_there_is_room_more_and_more_try_in_order() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        waiters = [Waiter(tried) for _ in range(20)]
        for waiter in waiters:
            backlog.refused("c", waiter)
        backlog.taken("c")
        answered = 0
        while answered < len(tried):
            backlog.passed("c", tried[answered])
            answered += 1
        assert tried == waiters
        assert not backlog.must_wait("c")

    run(test)


def test_one_that_is_refused_again_keeps_its_place() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        first, second = Waiter(tried), Waiter(tried)
        backlog.refused("c", first)
        backlog.refused("c", second)
        backlog.taken("c")
        backlog.refused("c", first)
        backlog.taken("c")
        assert tried == [first, first]

    run(test)


def test_time_alone_is_reason_enough_to_try() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        waiter = Waiter(tried)
        backlog.refused("c", waiter)
        await eventually_async(lambda: len(tried) == 1)
        backlog.refused("c", waiter)
        await eventually_async(lambda: len(tried) == 2)

    run(test)


def test_nobody_tries_while_the_layer_is_away_and_all_do_when_it_is_back() -> None:
    away = True

    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        nonlocal away
        waiters = [Waiter(tried) for _ in range(2)]
        backlog.refused("c", waiters[0])
        backlog.refused("d", waiters[1])
        backlog.taken("c")
        assert tried == []
        away = False
        backlog.retry()
        assert tried == waiters

    run(test, reachable=lambda: not away)


def test_one_that_gives_up_makes_way() -> None:
    async def test(backlog: Backlog, tried: list[Waiter]) -> None:
        first, second = Waiter(tried), Waiter(tried)
        backlog.refused("c", first)
        backlog.refused("c", second)
        backlog.passed("c", first)
        await eventually_async(lambda: tried == [second])

    run(test)
