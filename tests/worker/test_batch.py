"""A batch, as the worker thread and the watchdog use it."""

from __future__ import annotations

from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Delivery
from channels_classic.layers.results import Item
from channels_classic.worker.batch import COLLECT_TIME, Batch
from channels_classic.worker.result import ConsumerResult
from tests.support.clock import Clock


def delivery(number: int) -> Delivery:
    return Delivery("test", {"n": number}, None, Item(b"", None))


def result(number: int) -> ConsumerResult:
    return ConsumerResult(delivery(number), None, Outcome.CONSUMED, [])


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [delivery.message["n"] for delivery in deliveries]


clock = Clock()


def filled(count: int) -> Batch:
    batch = Batch(clock)
    batch.fill([delivery(number) for number in range(count)])
    return batch


def later() -> float:
    return clock() + 1


def earlier() -> float:
    return clock() - 1


def test_messages_are_started_in_order_and_then_the_thread_is_idle() -> None:
    batch = filled(2)
    assert batch.start() == delivery(0)
    assert batch.running()[0] == delivery(0)
    assert batch.start() == delivery(1)
    assert batch.start() is None
    assert batch.running() == (None, None)


def test_what_was_not_started_is_stolen_in_order_when_the_thread_is_busy_for_long() -> None:
    batch = filled(3)
    batch.start()
    assert batch.steal(earlier()) == ([], [])
    unstarted, ended = batch.steal(later())
    assert (numbers(unstarted), ended) == ([1, 2], [])
    assert batch.start() is None


def test_a_message_that_was_started_is_never_stolen() -> None:
    batch = filled(1)
    batch.start()
    assert batch.steal(later()) == ([], [])


def test_what_was_not_written_is_stolen_once() -> None:
    batch = filled(2)
    batch.start()
    batch.end(result(0))
    batch.start()
    _, ended = batch.steal(later())
    assert len(ended) == 1
    batch.written()
    assert batch.ended() == []


def test_endings_are_collected_for_a_moment() -> None:
    batch = filled(3)
    batch.start()
    assert not batch.end(result(0))
    clock.now += 1.001 * COLLECT_TIME
    batch.start()
    assert batch.end(result(1))
    assert len(batch.ended()) == 2
    batch.start()
    assert not batch.end(result(2))


def test_a_slow_consumer_is_written_at_once() -> None:
    batch = filled(1)
    batch.start()
    clock.now += 1.001 * COLLECT_TIME
    assert batch.end(result(0))


def test_nothing_is_stolen_while_the_layer_is_down() -> None:
    batch = filled(3)
    batch.start()
    batch.pause()
    assert batch.steal(later()) == ([], [])
    assert batch.start() == delivery(1)


def test_a_consumer_that_runs_on_after_an_outage_is_still_known() -> None:
    batch = filled(2)
    started = batch.start()
    assert started is not None
    batch.pause()
    assert batch.running() == (None, None)
    batch.resume(started)
    assert batch.running() == (started, clock())
    assert batch.steal(later()) == ([delivery(1)], [])


def test_a_thread_that_ends_gives_up_what_was_not_started() -> None:
    batch = filled(2)
    batch.start()
    assert numbers(batch.abandon()) == [1]
    assert batch.running() == (None, None)


def test_messages_that_could_not_be_put_back_are_started_first() -> None:
    batch = filled(1)
    batch.start()
    batch.restore([delivery(7), delivery(8)])
    batch.fill([delivery(9)])
    assert batch.has_unstarted
    assert batch.steal(later(), with_unstarted=False) == ([], [])
    started = [batch.start() for _ in range(3)]
    assert numbers([found for found in started if found]) == [7, 8, 9]
    assert not batch.has_unstarted


def test_messages_that_go_ahead_keep_their_order() -> None:
    batch = filled(1)
    batch.fill([delivery(7), delivery(8)], ahead=True)
    assert [batch.start() for _ in range(3)] == [delivery(7), delivery(8), delivery(0)]
