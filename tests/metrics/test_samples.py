"""Samples: how those of several processes become one, and how many labels there may be. And durations as histograms."""

from __future__ import annotations

import math
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_classic._durations import LIMITS, Durations
from channels_classic._metrics.exchange import TIMEOUT, Exchange
from channels_classic._metrics.samples import MOST_LABELS, OTHER, Samples
from tests.metrics.child import children
from tests.support.waiting import eventually


def some(sockets: int = 1, closed: int = 2, seconds: float = 0.5) -> Samples:
    samples, durations = Samples(), Durations()
    samples.add("sockets", sockets)
    samples.add("sockets_closed_total", closed, "1000")
    durations.add(seconds)
    samples.add_durations("handshake_duration_seconds", durations, "accepted")
    return samples


def test_the_values_of_two_processes_are_added() -> None:
    total = some(1, 2, 0.3)
    total.include(some(10, 20, 3.0))
    assert total.values["sockets"] == {(): 11}
    assert total.values["sockets_closed_total"] == {("1000",): 22}
    counts, seconds = total.values["handshake_duration_seconds"][("accepted",)]  # type: ignore[misc]
    assert (counts[-1], seconds) == (2, pytest.approx(3.3))


def test_values_are_the_same_after_a_journey() -> None:
    assert list(Samples.decode(some().encode())) == list(some())


def test_gauges_do_not_outlast_their_process() -> None:
    assert set(some().lasting().values) == {"sockets_closed_total", "handshake_duration_seconds"}


def test_there_are_so_many_labels_and_no_more() -> None:
    samples = Samples()
    for number in range(MOST_LABELS + 50):
        samples.add("lost_messages_total", 1, "full", f"channel{number}")
    found = samples.values["lost_messages_total"]
    assert len(found) == MOST_LABELS + 1
    assert found[OTHER, OTHER] == 50


@given(st.lists(st.floats(1e-6, 500.0), max_size=50))
def test_a_histogram_counts_what_is_below_each_limit(durations: list[float]) -> None:
    counted = Durations()
    for duration in durations:
        counted.add(duration)
    assert counted.histogram() == [*(sum(one < limit for one in durations) for limit in LIMITS), len(durations)]
    assert counted.seconds == pytest.approx(math.fsum(durations))


# Several processes


def test_the_counters_of_a_process_that_ended_stay_and_its_gauges_go() -> None:
    exchange = Exchange()
    try:
        with children(exchange.folder, 2) as processes:
            assert exchange.collect().values["sockets"] == {(): 2}
            processes[0].kill()
            for _ in range(2):
                found = exchange.collect().values
                assert (found["sockets"], found["sockets_closed_total"]) == ({(): 1}, {("1000",): 4})
        assert exchange.collect().values["sockets_closed_total"] == {("1000",): 4}
        assert not list(exchange.folder.glob("*.sock"))
    finally:
        exchange.remove()
    assert not exchange.folder.exists()


def test_several_processes_that_hang_cost_no_more_time_than_one() -> None:
    exchange = Exchange()
    try:
        with children(exchange.folder, 4) as processes:
            for process in processes[:3]:
                process.send_signal(signal.SIGSTOP)
            eventually(lambda: exchange.collect().values["sockets"] == {(): 1}, timeout=20)
            begun = time.monotonic()
            exchange.collect()
            assert time.monotonic() - begun < 2 * TIMEOUT
            for process in processes[:3]:
                process.send_signal(signal.SIGCONT)
            eventually(lambda: exchange.collect().values["sockets"] == {(): 4}, timeout=20)
    finally:
        exchange.remove()


def test_a_process_that_ends_leaves_what_it_counted_since_it_was_last_asked() -> None:
    exchange, sockets = Exchange(), 0

    def count() -> Samples:
        found = Samples()
        found.add("sockets", sockets)
        found.add("sockets_opened_total", sockets)
        return found

    try:
        with exchange.answering(count):
            assert exchange.collect().values["sockets_opened_total"] == {(): 0}
            sockets = 7
        for _ in range(2):
            assert exchange.collect().values == {"sockets_opened_total": {(): 7}}
        assert not list(exchange.folder.iterdir())
    finally:
        exchange.remove()
