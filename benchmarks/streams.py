"""The most memory that each process used for one large response to a slow client, and for one large upload.

`python -m benchmarks.streams [MEGABYTES [SECONDS]]`: the client reads 1 MB a second for that many seconds, then the
rest as fast as it comes. It starts a Redis of its own.
"""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.redis_server import RedisServer
from tests.running_site import HOST, RunningSite

MEGABYTE = 1_000_000


def peak(pid: int) -> float:
    """The most memory that a process ever used, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def download(port: int, size: int, slow: float) -> None:
    """Read a response of so many megabytes, 1 MB a second at first."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    connection.request("GET", f"/stream/{size}")
    response = connection.getresponse()
    received, start = 0, time.monotonic()
    while part := response.read(MEGABYTE):
        received += len(part)
        ahead = received / MEGABYTE - (time.monotonic() - start)
        if ahead > 0 and time.monotonic() - start < slow:
            time.sleep(ahead)
    assert received == size * MEGABYTE, received
    connection.close()


def upload(port: int, size: int) -> None:
    """Send a body of so many megabytes."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)

    def parts() -> Iterator[bytes]:
        for _ in range(size):
            yield b"x" * MEGABYTE

    connection.request("POST", "/count", body=parts(), headers={"Content-Length": str(size * MEGABYTE)})
    answer = connection.getresponse().read()
    assert answer == str(size * MEGABYTE).encode(), answer[:200]
    connection.close()


def measure(name: str, work: Callable[[RunningSite], None]) -> dict[str, float]:
    """Do `work` on a site of its own, and print how much more memory than before each process ever used, in MiB."""
    redis = RedisServer()
    redis.start()
    try:
        with RunningSite(redis.url, workers=1) as site:
            pids = {"interface": site.interface.pid, "worker": site.workers[0].pid, "redis": redis.pid}
            before = {program: peak(pid) for program, pid in pids.items()}
            start = time.monotonic()
            work(site)
            grown = {program: peak(pid) - before[program] for program, pid in pids.items()}
            text = ", ".join(f"{program} {before[program]:.0f} + {grown[program]:.0f}" for program in pids)
            print(f"{name}: {time.monotonic() - start:.1f} s; most memory in MiB: {text}")
            return grown
    finally:
        redis.close()


if __name__ == "__main__":
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    measure(f"{megabytes} MB response", lambda site: download(site.port, megabytes, seconds))
    measure(f"{megabytes} MB upload", lambda site: upload(site.port, megabytes))
