"""The most memory that each process used for one large response and one large upload, with a slow and a fast client.

`python -m benchmarks.streams [MEGABYTES]` prints a table. A slow client reads or writes 1 MB a second throughout, so
1000 megabytes take 17 minutes, in which the machine has little to do. Each case has a site and a Redis of its own.
"""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.site import HOST

MEGABYTE = 1_000_000
PROGRAMS = ("interface", "worker", "redis")


def peak(pid: int) -> float:
    """The most memory that a process ever used, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Pace:
    """Keeps a client to 1 MB a second for some seconds."""

    def __init__(self, seconds: float) -> None:
        self._start = time.monotonic()
        self._seconds = seconds

    def keep(self, done: int) -> None:
        """Wait if more bytes than this should not be done yet."""
        passed = time.monotonic() - self._start
        ahead = done / MEGABYTE - passed
        if ahead > 0 and passed < self._seconds:
            time.sleep(ahead)


def download(port: int, size: int, slow: float = 0.0) -> None:
    """Read a response of this many megabytes, in the first `slow` seconds 1 MB a second."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    connection.request("GET", f"/stream/{size}")
    response = connection.getresponse()
    received, pace = 0, Pace(slow)
    while part := response.read(MEGABYTE // 10):
        received += len(part)
        pace.keep(received)
    assert received == size * MEGABYTE, received
    connection.close()


def upload(port: int, size: int, slow: float = 0.0) -> None:
    """Send a body of this many megabytes, in the first `slow` seconds 1 MB a second."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)

    def parts() -> Iterator[bytes]:
        pace = Pace(slow)
        for number in range(size * 10):
            yield b"x" * (MEGABYTE // 10)
            pace.keep((number + 1) * MEGABYTE // 10)

    connection.request("POST", "/count", body=parts(), headers={"Content-Length": str(size * MEGABYTE)})
    answer = connection.getresponse().read()
    assert answer == str(size * MEGABYTE).encode(), answer[:200]
    connection.close()


@dataclass
class Measured:
    """Duration of a case, and for each program the peak memory in MiB before it and the growth during it."""

    seconds: float
    before: dict[str, float]
    grown: dict[str, float]

    def __str__(self) -> str:
        memory = (f"{self.before[program]:.0f} + {self.grown[program]:.0f}" for program in PROGRAMS)
        return f"{self.seconds:8.1f} " + "".join(f"{text:>12}" for text in memory)


def measure(work: Callable[[RunningSite], None]) -> Measured:
    """Do `work` on a site of its own, with a Redis of its own."""
    redis = RedisServer()
    redis.start()
    try:
        with RunningSite(redis.url, workers=1) as site:
            pids = dict(zip(PROGRAMS, (site.interface.pid, site.workers[0].pid, redis.pid), strict=True))
            before = {program: peak(pid) for program, pid in pids.items()}
            start = time.monotonic()
            work(site)
            seconds = time.monotonic() - start
            assert "Traceback" not in site.output, site.output[-3000:]
            return Measured(seconds, before, {program: peak(pid) - before[program] for program, pid in pids.items()})
    finally:
        redis.close()


def main(size: int) -> None:
    """Print the table; the two slow clients work at the same time."""
    whole = float("inf")
    print(f"{size} MB; the most memory in MiB, before + more".ljust(44), "seconds ", *(f"{p:>11}" for p in PROGRAMS))
    with ThreadPoolExecutor(2) as pool:
        slow = {
            "response, read at 1 MB/s": pool.submit(measure, lambda site: download(site.port, size, whole)),
            "upload, sent at 1 MB/s": pool.submit(measure, lambda site: upload(site.port, size, whole)),
        }
        for name, case in slow.items():
            print(name.ljust(44), case.result(), flush=True)
    print("response, as fast as it goes".ljust(44), measure(lambda site: download(site.port, size)), flush=True)
    print("upload, as fast as it goes".ljust(44), measure(lambda site: upload(site.port, size)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
