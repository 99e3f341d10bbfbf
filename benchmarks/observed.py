"""The processor time that observing costs: echo and broadcast with metrics and announcements, and without.

`python -m benchmarks.observed [ROUNDS [SECONDS]]` prints it. In each round both are measured one after another, with
fresh programs and in changing order; the ratios are those of the two of one round. Time is that which interface server,
worker and Redis had a processor for, divided by the messages: other programs on the machine slow all of them down, and
cost none of them that. A scrape of each program every five seconds is three times what Prometheus usually does.
"""

from __future__ import annotations

import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.request import urlopen

from benchmarks.contenders import INTERFACE, WORKER, Contender
from benchmarks.limits import more_descriptors
from benchmarks.rounds import HOST, Course
from benchmarks.scenarios import FULL_SIZES, SCENARIOS, Scenario
from tests.support.redis_server import free_port

SCRAPE_INTERVAL = 5.0
"""Seconds between two scrapes of a program."""

COSTS = ("µs of interface server", "µs of worker", "µs of Redis")
READY = ("Listening on channels", 1)
OBSERVED = Contender(
    "observed",
    (
        (*INTERFACE, "--metrics", f"{HOST}:{{interface_metrics}}"),
        (*WORKER, "--metrics", f"{HOST}:{{worker_metrics}}"),
    ),
    READY,
    "redis",
)
UNOBSERVED = Contender("unobserved", (INTERFACE, WORKER), READY, "redis", environment={"UNOBSERVED": "1"})


@contextmanager
def scraping(ports: list[str]) -> Iterator[None]:
    """Read the metrics of both programs, as soon as they are there and then again and again."""
    is_over = threading.Event()

    def scrape(port: str) -> None:
        pause = 0.1
        while not is_over.wait(pause):
            with suppress(OSError), urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
                answer.read()
                pause = SCRAPE_INTERVAL

    threads = [threading.Thread(target=scrape, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def measure(course: Course, scenario: Scenario, rounds: int, ports: list[str]) -> None:
    """Print what observing costs in one scenario."""
    costs: dict[str, list[float]] = {OBSERVED.name: [], UNOBSERVED.name: []}
    for number in range(rounds):
        for contender in (OBSERVED, UNOBSERVED) if number % 2 else (UNOBSERVED, OBSERVED):
            with scraping(ports if contender is OBSERVED else []):
                figures = course.figures(scenario, contender)
            costs[contender.name].append(sum(figures[name] for name in COSTS))
    ratios = [with_ / without for with_, without in zip(*costs.values(), strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{scenario.title}: {statistics.median(costs[OBSERVED.name]):.1f} µs a message observed, "
        f"{statistics.median(costs[UNOBSERVED.name]):.1f} unobserved; ratio {middle:.3f}, "
        f"half of {rounds} rounds from {low:.3f} to {high:.3f}",
        flush=True,
    )


def main() -> None:
    """Measure both scenarios."""
    rounds, seconds = (
        float(sys.argv[place]) if len(sys.argv) > place else default
        for place, default in ((1, 10), (2, SCRAPE_INTERVAL))
    )
    ports = {"interface_metrics": str(free_port()), "worker_metrics": str(free_port())}
    more_descriptors()
    with Course(seconds, {**FULL_SIZES, **ports}) as course:
        for scenario in SCENARIOS:
            if scenario.key in ("echo", "broadcast-1000"):
                measure(course, scenario, int(rounds), [*ports.values()])


if __name__ == "__main__":
    main()
