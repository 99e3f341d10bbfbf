"""Who may try again, and when: clients that only note it, a wheel on a real loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from channels_classic.interface_server.layer.retry_queue import RetryQueues
from channels_classic.interface_server.layer.timers import Timers
from tests.support.waiting import eventually_async


class Waiter:
    """A client that waits for room."""

    def __init__(self, tried: list[Waiter]) -> None:
        self._unblocked = tried

    def retry(self) -> None:
        self._unblocked.append(self)


def run(
    test: Callable[[RetryQueues, list[Waiter]], Awaitable[None]], *, reachable: Callable[[], bool] = lambda: True
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers = Timers(loop.time)
        await test(RetryQueues(timers, loop.time, reachable), [])
        timers.stop()

    asyncio.run(main())


def test_nobody_waits_for_a_channel_with_room() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        assert not retry_queues.must_wait("c")

    run(test)


def test_everybody_waits_while_the_layer_is_away() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        assert retry_queues.must_wait("c")

    run(test, reachable=lambda: False)


def test_those_who_come_later_wait_behind() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        waiter = Waiter(tried)
        retry_queues.refused("c", waiter)
        assert retry_queues.must_wait("c")
        assert not retry_queues.must_wait("other")
        retry_queues.passed("c", waiter)
        assert not retry_queues.must_wait("c")

    run(test)


def test_the_first_one_tries_when_something_was_taken() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        waiters = [Waiter(tried) for _ in range(3)]
        for waiter in waiters:
            retry_queues.refused("c", waiter)
        retry_queues.taken("other")
        assert tried == []
        retry_queues.taken("c")
        retry_queues.taken("c")
        assert tried == waiters[:1]

    run(test)


def test_while_there_is_room_more_and_more_try_in_order() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        waiters = [Waiter(tried) for _ in range(20)]
        for waiter in waiters:
            retry_queues.refused("c", waiter)
        retry_queues.taken("c")
        answered = 0
        while answered < len(tried):
            retry_queues.passed("c", tried[answered])
            answered += 1
        assert tried == waiters
        assert not retry_queues.must_wait("c")

    run(test)


def test_one_that_is_refused_again_keeps_its_place() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        first, second = Waiter(tried), Waiter(tried)
        retry_queues.refused("c", first)
        retry_queues.refused("c", second)
        retry_queues.taken("c")
        retry_queues.refused("c", first)
        retry_queues.taken("c")
        assert tried == [first, first]

    run(test)


def test_time_alone_is_reason_enough_to_try() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        waiter = Waiter(tried)
        retry_queues.refused("c", waiter)
        await eventually_async(lambda: len(tried) == 1)
        retry_queues.refused("c", waiter)
        await eventually_async(lambda: len(tried) == 2)

    run(test)


def test_nobody_tries_while_the_layer_is_away_and_all_do_when_it_is_back() -> None:
    away = True

    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        nonlocal away
        waiters = [Waiter(tried) for _ in range(2)]
        retry_queues.refused("c", waiters[0])
        retry_queues.refused("d", waiters[1])
        retry_queues.taken("c")
        assert tried == []
        away = False
        retry_queues.retry()
        assert tried == waiters

    run(test, reachable=lambda: not away)


def test_one_that_gives_up_makes_way() -> None:
    async def test(retry_queues: RetryQueues, tried: list[Waiter]) -> None:
        first, second = Waiter(tried), Waiter(tried)
        retry_queues.refused("c", first)
        retry_queues.refused("c", second)
        retry_queues.passed("c", first)
        await eventually_async(lambda: tried == [second])

    run(test)
