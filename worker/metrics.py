"""The metrics of a worker process, computed for each scrape from its counts and its state."""

from __future__ import annotations

from channels_classic._metrics.samples import Samples
from channels_classic._metrics.site import lost
from channels_classic.layers.codec import Outcome

from .runtime import Runtime
from .stats import ConsumerStats, merge


def samples(runtime: Runtime, threads: int) -> Samples:
    """Return the samples of this process, which takes messages in this many threads. From any thread."""
    found = Samples()
    in_threads, in_coroutines = runtime.running()
    found.add("worker_processes", 1)
    found.add("worker_threads", threads)
    found.add("worker_busy_threads", len(in_threads))
    found.add("worker_coroutines", len(in_coroutines))
    for stats in merge(runtime.statistics()).values():
        _add_consumer(found, stats)
    found.add("put_back_messages_total", runtime.context.counts.put_back)
    found.add("layer_connections", runtime.outage.connections)
    found.add("layer_outages_total", runtime.outage.number)
    found.include(lost(runtime.context.layer.losses))
    return found


def _add_consumer(found: Samples, stats: ConsumerStats) -> None:
    if stats.durations.counts:
        found.add_durations("consumer_duration_seconds", stats.durations, stats.name)
    outcomes: dict[Outcome | None, int] = {Outcome.CONSUMED: stats.consumed, **stats.others}
    for outcome, number in outcomes.items():
        if number:
            label = "put_back" if outcome is None else outcome.name.lower()
            found.add("consumed_messages_total", number, stats.name, label)
