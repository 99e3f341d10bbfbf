"""An honest client beside slow, silent and vanished ones: by how much its answers come later than without them.

`python -m benchmarks.slow_clients URL [--seconds …]` prints the figures as JSON. The site must have the pages of
`benchmarks.project`. The others are there before the honest client measures: what is compared is the time in which they
do nothing, or next to nothing, but are not gone.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.clients import TIMEOUT, Figures, spread
from benchmarks.command_line import client_parser, print_figures
from benchmarks.sockets import open_sockets

UPLOADS, READERS, SILENT, STREAMS = 50, 50, 50, 10

PAUSE = 0.5
"""Seconds between two pieces of a slow client."""

PIECE = 500
"""Bytes of one piece: twice as many per second as an upload must have at least."""

BEGINNING = 600_000
"""Bytes of an upload that come at once: more than the message of a request carries."""

UPLOAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * BEGINNING
ANSWER = b"Hello, world"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class Site:
    """The place of the site."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    async def connect(self, data: bytes, *, receive_buffer: int = 0) -> Connection:
        """Return a connection on which `data` was sent; with a small buffer the client reads slowly for the server."""
        plain = socket.socket()
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (self.host, self.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=4096)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def honest(self, seconds: float) -> tuple[list[float], int]:
        """Ask for a small page again and again; return the times, and the number of wrong answers."""
        reader, writer = await self.connect(b"")
        times, wrong, until = [], 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            begun = time.perf_counter()
            writer.write(get("/"))
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(len(ANSWER))
            times.append(time.perf_counter() - begun)
            wrong += not head.startswith(b"HTTP/1.1 200 ") or body != ANSWER
        writer.close()
        return times, wrong


class Others:
    """The slow, the silent, and those that left."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []  # one that nobody holds closes its connection

    async def begin(self) -> None:
        """Return when all of them are there, and those that leave have left."""
        site = self._site
        await self._each(UPLOADS, self._upload)
        await self._each(READERS, self._read)
        self._silent = [await site.connect(b"") for _ in range(SILENT // 2)]
        self._sockets = await open_sockets(site.host, site.port, "/echo", SILENT - SILENT // 2)
        await self._each(STREAMS, self._leave)

    @staticmethod
    async def _each(count: int, begin: Callable[[], Awaitable[None]]) -> None:
        await asyncio.wait_for(asyncio.gather(*(begin() for _ in range(count))), TIMEOUT)

    async def _upload(self) -> None:
        _, writer = await self._site.connect(UPLOAD)

        async def go_on() -> None:
            writer.write(b"x" * PIECE)
            await writer.drain()

        self._repeat(go_on)

    async def _read(self) -> None:
        reader, writer = await self._site.connect(get("/download"), receive_buffer=4096)
        self._writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")

        async def go_on() -> None:
            if not await reader.read(PIECE):
                raise ConnectionError("the end of a response came early")

        self._repeat(go_on)

    async def _leave(self) -> None:
        reader, writer = await self._site.connect(get("/endless"))
        await reader.readuntil(b"tick")
        writer.transport.abort()

    def _repeat(self, step: Callable[[], Awaitable[Any]]) -> None:
        async def repeat() -> None:
            while True:
                await step()
                await asyncio.sleep(PAUSE)

        self._tasks.append(asyncio.create_task(repeat()))

    def end(self) -> int:
        """Leave; return the number of those that were cut off although they went on."""
        cut_off = sum(task.done() for task in self._tasks) + sum(socket.closed for socket in self._sockets)
        for task in self._tasks:
            task.cancel()
        return cut_off


async def measure(site: Site, seconds: float) -> Figures:
    """Measure without the others and with them, for `seconds` each."""
    await site.honest(1.0)
    alone, wrong = await site.honest(seconds)
    crowd = Others(site)
    await crowd.begin()
    beside, more_wrong = await site.honest(seconds)
    figures, before = spread(beside), spread(alone)
    return {
        "ms, 99 %, alone": before["ms, 99 %"],
        **figures,
        "times the 99 % alone": figures["ms, 99 %"] / before["ms, 99 %"],
        "ms, slowest": max(beside) * 1000,
        "wrong": wrong + more_wrong + crowd.end(),
    }


def main() -> None:
    """Print the figures."""
    options = client_parser(__doc__).parse_args()
    print_figures(measure(Site(options.url.host, options.url.port), 2 * options.seconds))


if __name__ == "__main__":
    main()
