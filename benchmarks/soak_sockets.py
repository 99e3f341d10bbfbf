"""Thousands of idle sockets and hundreds of busy ones on one interface server, while workers restart again and again.

`python -m benchmarks.soak_sockets [SECONDS [IDLE [ACTIVE]]]` prints what happened; its status is 1 when a socket was
dropped, an echo was out of order or missing, or memory grew. It starts a Redis of its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from pathlib import Path

import uvloop

from benchmarks.limits import more_descriptors
from benchmarks.sockets import Socket, frame, open_sockets
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.site import HOST

RESTART = 20.0
"""Seconds between two restarts of a worker."""

PAUSE = 0.5
"""Seconds between an echo and the next frame of a busy socket."""

TIMEOUT = 30.0
"""Seconds within which every echo must come, restarts or not."""

GROWTH = 1.1
"""MiB by which the interface server may grow after the first tenth of the time."""


def resident(pid: int) -> float:
    """The memory of a process, in KiB."""
    return float(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


class Busy:
    """A socket that sends a number, waits for it, pauses, and sends the next."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.echoes = 0
        self.wrong = 0
        self.slowest = 0.0
        self._texts: deque[bytes] = deque()
        self._news = asyncio.Event()
        socket.on_text = self._came

    def _came(self, text: bytes) -> None:
        self._texts.append(text)
        self._news.set()

    async def run(self, until: float) -> None:
        """Send until it is over, or the socket is."""
        number = 0
        while time.monotonic() < until and not self.socket.closed:
            number += 1
            self._news.clear()
            begun = time.monotonic()
            self.socket.write(frame(b"%d" % number))
            try:
                await asyncio.wait_for(self._news.wait(), TIMEOUT)
            except asyncio.TimeoutError:
                self.wrong += 1
                return
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.wrong += list(self._texts) != [b"%d" % number]
            self._texts.clear()
            self.echoes += 1
            await asyncio.sleep(PAUSE)


async def restart(site: RunningSite, until: float) -> int:
    """Replace one worker after the other; gives how many."""
    count = 0
    while time.monotonic() + RESTART < until:
        await asyncio.sleep(RESTART)
        site.workers.append(await asyncio.to_thread(site.run, "runworker"))
        old = site.workers.pop(0)
        await asyncio.to_thread(old.stop)
        count += 1
    return count


async def soak(site: RunningSite, seconds: float, idle: int, active: int) -> bool:
    """Return True if nothing went wrong."""
    pid = site.interface.pid
    empty = resident(pid)
    sleepers = await open_sockets(HOST, site.port, "/", idle)
    await asyncio.sleep(2)
    print(f"{idle} idle sockets: {(resident(pid) - empty) / idle:.1f} KiB each")
    busy = [Busy(socket) for socket in await open_sockets(HOST, site.port, "/", active)]
    until = time.monotonic() + seconds
    restarting = asyncio.create_task(restart(site, until))
    running = asyncio.gather(*(one.run(until) for one in busy))
    await asyncio.sleep(seconds / 10)
    early = resident(pid)
    await running
    restarts, late = await restarting, resident(pid)
    dropped = sum(socket.closed for socket in [*sleepers, *(one.socket for one in busy)])
    wrong, echoes = sum(one.wrong for one in busy), sum(one.echoes for one in busy)
    print(
        f"{seconds:g} s with {active} active sockets and {restarts} restarts: {echoes} echoes, "
        f"{wrong} wrong or missing, slowest {max(one.slowest for one in busy):.2f} s; {dropped} sockets dropped; "
        f"memory {early / 1024:.0f} to {late / 1024:.0f} MiB"
    )
    for socket in [*sleepers, *(one.socket for one in busy)]:
        socket.close()
    return not dropped and not wrong and late < early * GROWTH


def main() -> int:
    """The status of the program."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    idle, active = (
        int(sys.argv[place]) if len(sys.argv) > place else default for place, default in ((2, 5000), (3, 500))
    )
    more_descriptors()
    redis = RedisServer()
    redis.start()
    try:
        with RunningSite(redis.url, workers=2) as site:
            well = uvloop.run(soak(site, seconds, idle, active))
            print("" if "Traceback" not in site.output else site.output[-3000:], end="")
            return 0 if well and "Traceback" not in site.output else 1
    finally:
        redis.close()


if __name__ == "__main__":
    sys.exit(main())
