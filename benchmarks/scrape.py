"""The time that a scrape of the metrics takes while thousands of sockets are open.

`python -m benchmarks.scrape [SOCKETS [SCRAPES]]` prints it; its status is 1 when the median scrape takes longer than
5 ms. It starts a Redis of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import statistics
import sys
import time

import uvloop

from benchmarks.limits import more_descriptors
from benchmarks.programs import Programs
from benchmarks.sockets import Socket, open_sockets
from tests.support.redis_server import RedisServer, free_port
from tests.support.running_site import RunningSite
from tests.support.site import HOST

GOAL = 0.005
"""Seconds that a scrape may take."""


def scrape(port: int, scrapes: int) -> list[float]:
    """Return the seconds that each scrape took, on one connection after another as Prometheus makes them."""
    durations = []
    for _ in range(scrapes):
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200 and response.read()
        connection.close()
        durations.append(time.perf_counter() - begun)
        time.sleep(0.05)
    return durations


async def measure(site: RunningSite, port: int, sockets: int, scrapes: int) -> float:
    """Print how long scrapes take without sockets and with them; return the median of the latter in seconds."""
    median = 0.0
    opened: list[Socket] = []
    for count in (0, sockets):
        opened += await open_sockets(HOST, site.port, "/room", count)
        await asyncio.sleep(1)
        programs = Programs(f"server={site.interface.pid}")
        before = programs.time()
        durations = await asyncio.to_thread(scrape, port, scrapes)
        median = statistics.median(durations)
        processor = programs.cost(before, scrapes)["µs of server"] / 1000
        print(
            f"{count} sockets: a scrape takes {median * 1000:.2f} ms (median of {scrapes}), "
            f"fastest {min(durations) * 1000:.2f} ms, slowest {max(durations) * 1000:.2f} ms; "
            f"{processor:.1f} ms of processor time of the server for each"
        )
    for socket in opened:
        socket.close()
    return median


def main() -> int:
    """The status of the program."""
    sockets, scrapes = (
        int(sys.argv[place]) if len(sys.argv) > place else default for place, default in ((1, 10_000), (2, 50))
    )
    more_descriptors()
    redis = RedisServer()
    redis.start()
    port = free_port()
    try:
        with RunningSite(redis.url, workers=2, options=("--metrics", f"{HOST}:{port}")) as site:
            return int(uvloop.run(measure(site, port, sockets, scrapes)) > GOAL)
    finally:
        redis.close()


if __name__ == "__main__":
    sys.exit(main())
