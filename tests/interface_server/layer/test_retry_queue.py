"""Retries in turn: the queue of one channel with the time given, then all of them with real timers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from channels_classic.interface_server.layer.retry_queue import (
    FIRST_PAUSE,
    MAX_AT_ONCE,
    REGROW_INTERVAL,
    Retryable,
    RetryQueue,
    RetryQueues,
)
from channels_classic.interface_server.layer.timers import Timers
from tests.support.waiting import eventually_async


class Waiter:
    """A client that waits for room."""

    def __init__(self, number: int = 0, tried: list[Waiter] | None = None) -> None:
        self.number = number
        self._tried = tried

    def retry(self) -> None:
        assert self._tried is not None
        self._tried.append(self)


def full(count: int) -> tuple[RetryQueue, list[Waiter]]:
    """A queue with this many clients."""
    queue, waiters = RetryQueue(0.0), [Waiter(number) for number in range(count)]
    for waiter in waiters:
        assert queue.refused(waiter, 0.0) == []
    return queue, waiters


def accept(queue: RetryQueue, some: list[Retryable]) -> list[Retryable]:
    """Let those that try pass → those that try next."""
    return [released for client in some for released in queue.passed(client)]


def refuse(queue: RetryQueue, some: list[Retryable], now: float = 0.0) -> list[Retryable]:
    return [released for client in some for released in queue.refused(client, now)]


def test_a_report_lets_one_client_try() -> None:
    queue, waiters = full(5)
    assert queue.taken() == waiters[:1]
    assert queue.taken() == [], "while one tries"
    assert accept(queue, [waiters[0]]) == waiters[1:2], "the second report"
    assert accept(queue, [waiters[1]]) == []


def test_a_channel_that_stays_full_is_not_polled_while_reports_come() -> None:
    queue, _ = full(1000)
    tries = refusals = 0
    room, now = 0, 0.0
    for _ in range(5000):  # a worker takes a message each 10 ms
        now += 0.01
        room += 1
        waiting = [*queue.taken(), *queue.due(now)]
        while waiting:
            tries += len(waiting)
            accepted, refused = waiting[:room], waiting[room:]
            room -= len(accepted)
            refusals += len(refused)
            waiting = [*accept(queue, accepted), *refuse(queue, refused, now)]
        if not queue.clients:
            break
    assert not queue.clients
    assert refusals <= 30, "one per second and a few"
    assert now <= 12


def test_with_room_for_all_twice_as_many_try_each_time() -> None:
    queue, _ = full(1000)
    waiting, batches = queue.restart(), []
    while waiting:
        batches.append(len(waiting))
        waiting = accept(queue, waiting)
    assert batches == [1, 2, 4, 8, 16, 32, 64, 128, MAX_AT_ONCE, MAX_AT_ONCE, 233]


def test_a_refusal_ends_the_growth_and_keeps_the_place() -> None:
    queue, waiters = full(10)
    waiting = accept(queue, queue.restart())
    assert waiting == waiters[1:3]
    assert [*queue.passed(waiters[1]), *queue.refused(waiters[2], 1.0)] == []
    assert queue.taken() == waiters[2:3]
    assert accept(queue, [waiters[2]]) == []


def test_time_alone_is_reason_enough_where_no_report_can_come() -> None:
    queue, waiters = full(3)
    assert queue.due(FIRST_PAUSE / 2) == []
    now, tries = 0.0, 0
    while now < 10.0:
        now = queue.deadline
        tries += len(refuse(queue, queue.due(now), now)) or 1
    assert 45 <= tries <= 60, "about every 0.2 s"
    assert list(queue.clients) == waiters


def test_while_a_report_may_come_time_is_a_reason_after_a_second_only() -> None:
    queue, waiters = full(3)
    accept(queue, queue.taken())
    refuse(queue, queue.taken(), 1.0)
    queue, waiters = full(3)
    assert queue.taken() == waiters[:1]
    accept(queue, [waiters[0]])
    refuse(queue, queue.taken(), 1.0)
    accept(queue, queue.taken())
    assert queue.due(1.0 + REGROW_INTERVAL / 2) == []
    assert queue.due(1.0 + REGROW_INTERVAL) == waiters[2:3]


def test_one_that_gives_up_makes_way() -> None:
    queue, waiters = full(3)
    assert queue.passed(waiters[0]) == []
    assert queue.passed(waiters[0]) == []
    assert queue.taken() == waiters[1:2]
    assert queue.refused(waiters[2], 0.0) == [], "it did not try"


def test_nobody_waits_any_more() -> None:
    queue, _ = full(1)
    assert accept(queue, queue.taken()) == []
    assert queue.taken() == []


# All channels, with timers


def run(
    test: Callable[[RetryQueues, list[Waiter]], Awaitable[None]], *, reachable: Callable[[], bool] = lambda: True
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers = Timers(loop.time)
        await test(RetryQueues(timers, loop.time, reachable), [])
        timers.stop()

    asyncio.run(main())


@pytest.mark.parametrize("reachable", [True, False])
def test_everybody_waits_while_the_layer_is_down(reachable: bool) -> None:
    async def test(queues: RetryQueues, tried: list[Waiter]) -> None:
        assert queues.must_wait("c") is not reachable

    run(test, reachable=lambda: reachable)


def test_those_who_come_later_wait_behind() -> None:
    async def test(queues: RetryQueues, tried: list[Waiter]) -> None:
        waiter = Waiter(0, tried)
        queues.refused("c", waiter)
        assert queues.must_wait("c")
        assert not queues.must_wait("other")
        queues.passed("other", waiter)
        queues.passed("c", waiter)
        assert not queues.must_wait("c")

    run(test)


def test_the_first_one_tries_when_something_was_taken() -> None:
    async def test(queues: RetryQueues, tried: list[Waiter]) -> None:
        waiters = [Waiter(number, tried) for number in range(3)]
        for waiter in waiters:
            queues.refused("c", waiter)
        queues.taken("other")
        assert tried == []
        queues.taken("c")
        assert tried == waiters[:1]
        queues.refused("c", waiters[0])
        queues.taken("c")
        assert tried == [waiters[0], waiters[0]]

    run(test)


def test_one_that_is_gone_while_it_tries_holds_nobody_up() -> None:
    async def test(queues: RetryQueues, tried: list[Waiter]) -> None:
        waiters = [Waiter(number, tried) for number in range(2)]
        for waiter in waiters:
            queues.refused("c", waiter)
        queues.refused("d", waiters[0])
        queues.taken("c")
        queues.taken("c")
        assert tried == waiters[:1]
        queues.forget(waiters[0])
        assert tried == waiters
        assert not queues.must_wait("d")
        queues.forget(waiters[1])
        assert not queues.must_wait("c")

    run(test)


def test_a_timer_lets_them_try() -> None:
    async def test(queues: RetryQueues, tried: list[Waiter]) -> None:
        first, second = Waiter(0, tried), Waiter(1, tried)
        queues.refused("c", first)
        queues.refused("c", second)
        await eventually_async(lambda: tried == [first])
        queues.refused("c", first)
        await eventually_async(lambda: tried == [first, first])
        queues.passed("c", first)
        await eventually_async(lambda: tried[-1] is second)
        queues.passed("c", second)
        assert not queues.must_wait("c")

    run(test)


def test_nobody_tries_while_the_layer_is_down_and_all_channels_do_when_it_is_up_again() -> None:
    down = True

    async def test(queues: RetryQueues, tried: list[Waiter]) -> None:
        nonlocal down
        waiters = [Waiter(number, tried) for number in range(2)]
        queues.refused("c", waiters[0])
        queues.refused("d", waiters[1])
        queues.taken("c")
        queues.retry()
        await asyncio.sleep(2 * FIRST_PAUSE)  # the timer fires, and nobody tries
        assert tried == []
        down = False
        queues.retry()
        assert tried == waiters

    run(test, reachable=lambda: not down)
