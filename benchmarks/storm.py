"""A storm: a server with many sockets is replaced, while their clients come back as `WebSocketBridge` does.

`python -m benchmarks.storm URL --programs "interface server=123" --sockets 5000 --drain 30` sends SIGHUP to the program
when all sockets are open. A few of them talk all the time. The consumer of disconnects counts in Redis, which
`REDIS_URL` names. Where the server speaks the sub-protocol that recovers, ten messages a second go to a group of all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from itertools import count

import redis

from benchmarks.command_line import Address, client_parser, print_figures
from benchmarks.feed import Feed, Follower, all_arrived, all_joined
from benchmarks.programs import Programs
from benchmarks.project.counting import CONSUMED, SOCKETS
from benchmarks.sockets import Socket, frame

TALKERS = 50
TALK_INTERVAL = 0.1
"""Seconds between an echo and the next frame of a socket that talks, on average: the same each time would keep step
with the feed, and so wait for each of its messages or for none.
"""

CALM = 5.0
"""Seconds for which the undisturbed echo is measured."""

OPEN_TIMEOUT = 120.0
"""Seconds within which all clients must be back."""

TOGETHER = 50
"""Handshakes at once while the sockets are opened."""

HELLO = b"hello"
"""The frame of a socket that talks, and its echo."""

RETRY = re.compile(rb"retry=(\d+)")

# Of websocketbridge.js, in seconds.
FIRST_DELAY, GROWTH, LAST_DELAY, TIMEOUT = 1.5, 1.3, 10.0, 4.0


def percentile(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else float("nan")


def peak(times: list[float]) -> int:
    """Return the most events in any second."""
    window: deque[float] = deque()
    most = 0
    for when in sorted(times):
        window.append(when)
        while window[0] <= when - 1:
            window.popleft()
        most = max(most, len(window))
    return most


@dataclass
class Record:
    """The events of all clients since it was cleared."""

    handshakes: list[float] = field(default_factory=list)
    echoes: list[float] = field(default_factory=list)
    failed: int = 0
    closed: set[str] = field(default_factory=set)
    """The paths of the sockets that were open and are not any more: each attempt has a path of its own."""
    numbers: Iterator[int] = field(default_factory=count)


class Client(Follower):
    """A page: a socket that is opened again whenever it closes. It talks, if `talks`."""

    def __init__(self, address: Address, record: Record, talks: bool) -> None:
        super().__init__()
        self._host, self._port, self._path = address
        self._record = record
        self._talks = talks
        self._echoed = asyncio.Event()
        self.is_open = False

    async def connect(self) -> Socket:
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(self._make_socket, self._host, self._port)
        try:
            await asyncio.wait_for(asyncio.shield(socket.opened), TIMEOUT)
        except BaseException:
            socket.close()
            raise
        return socket

    def _make_socket(self) -> Socket:
        """Return a socket that notes everything, from the first frame on."""
        socket = Socket(self._host, f"{self._path}/{next(self._record.numbers)}", self.protocols)
        socket.on_text = lambda text: self._received(text, socket.speaks_protocol)
        return socket

    def _received(self, text: bytes, recovers: bool) -> None:
        if (self.receive(text) if recovers else text) == HELLO:
            self._echoed.set()

    async def run(self, socket: Socket) -> None:
        """Stay connected, for ever."""
        while True:
            self.is_open = True
            await self._stay(socket)
            self.is_open = False
            self._record.closed.add(socket.path)
            found = RETRY.search(socket.close_frame)
            asked = float(found[1]) * random.uniform(1, 1.5) if found else 0.0
            socket = await self._return(asked)

    async def _stay(self, socket: Socket) -> None:
        if not self._talks:
            await socket.gone.wait()
            return
        while not socket.gone.is_set():
            self._echoed.clear()
            begun = time.perf_counter()
            socket.write(frame(HELLO))
            waits = [asyncio.ensure_future(self._echoed.wait()), asyncio.ensure_future(socket.gone.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if self._echoed.is_set():
                self._record.echoes.append(time.perf_counter() - begun)
                await asyncio.sleep(random.uniform(0.5, 1.5) * TALK_INTERVAL)

    async def _return(self, asked: float) -> Socket:
        delay = asked or random.uniform(FIRST_DELAY, 2 * FIRST_DELAY)
        while True:
            await asyncio.sleep(delay)
            self._record.handshakes.append(time.perf_counter())
            try:
                return await self.connect()
            except (OSError, asyncio.TimeoutError):
                self._record.failed += 1
                delay = min(delay * GROWTH, LAST_DELAY)


async def storm(options: argparse.Namespace) -> dict[str, float]:
    """Return the figures of one storm."""
    record = Record()
    clients = [Client(options.url, record, number < TALKERS) for number in range(options.sockets)]
    tasks = []
    for start in range(0, len(clients), TOGETHER):
        batch = clients[start : start + TOGETHER]
        sockets = await asyncio.gather(*(client.connect() for client in batch))
        tasks += [asyncio.create_task(client.run(socket)) for client, socket in zip(batch, sockets, strict=True)]
    feed = None
    if sockets[0].speaks_protocol:
        await all_joined(clients)
        feed = Feed()
    await asyncio.sleep(1)
    record.echoes.clear()
    await asyncio.sleep(CALM)
    calm = percentile(record.echoes)
    record.echoes.clear()
    begun = time.perf_counter()
    os.kill(options.programs.pid("interface server", "server"), signal.SIGHUP)
    while len(record.closed) < len(clients) or not all(client.is_open for client in clients):
        if time.perf_counter() - begun > OPEN_TIMEOUT:
            missing = sum(not client.is_open for client in clients)
            sys.exit(f"After {OPEN_TIMEOUT:g} s {len(record.closed)} sockets were closed, and {missing} are not open.")
        await asyncio.sleep(0.05)
    elapsed = time.perf_counter() - begun
    stormy = percentile(record.echoes)
    consumed, seen = await disconnects(record.closed)
    missed = await stop(feed, clients) if feed is not None else {}
    for task in tasks:
        task.cancel()
    return {
        **missed,
        "failed attempts": record.failed,
        "handshakes in the busiest second": peak(record.handshakes),
        "times the paced rate": peak(record.handshakes) / (len(clients) / options.drain),
        "s until all are back": elapsed,
        "ms, 99 % before": calm * 1000,
        "ms, 99 % meanwhile": stormy * 1000,
        "times the 99 % before": stormy / calm,
        "lost": len(record.closed - seen),
        "twice": consumed - len(seen),
    }


async def stop(feed: Feed, clients: list[Client]) -> dict[str, float]:
    """End the feed; return the deliveries that are missing of it, and those that came twice."""
    await feed.stop()
    missed = await all_arrived(clients, feed.sent, timeout=10)
    return {
        "missed": missed,
        "% missed": 100 * missed / (feed.sent * len(clients)),
        "delivered twice": sum(client.twice for client in clients),
        "gaps": sum(client.gaps for client in clients),
    }


async def disconnects(expected: Set[str]) -> tuple[int, Set[str]]:
    """Return how many disconnects were consumed, and of which sockets, once none is missing or no more come.

    Attempts that their client gave up during the handshake are among them, as far as the server had taken them.
    """
    counters = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    deadline = time.monotonic() + 10
    while True:
        with counters.pipeline() as pipeline:
            pipeline.get(CONSUMED)
            pipeline.smembers(SOCKETS)
            consumed, seen = pipeline.execute()
        if seen >= expected or time.monotonic() > deadline:
            counters.close()
            return int(consumed or 0), seen
        await asyncio.sleep(0.1)


def main() -> None:
    """Print the figures as JSON."""
    parser = client_parser(__doc__, is_timed=False)
    parser.add_argument("--programs", type=Programs, required=True, help="interface server=123, or server=123")
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--drain", type=float, default=30.0, help="seconds, for the paced rate")
    print_figures(storm(parser.parse_args()))


if __name__ == "__main__":
    main()
