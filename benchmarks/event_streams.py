"""Event streams beside WebSockets, on one server: the memory of each, and broadcasts to as many of each in turn."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from typing import cast

from benchmarks.clients import Figures, Room
from benchmarks.command_line import client_parser, print_figures
from benchmarks.programs import Programs
from benchmarks.sockets import Socket, open_sockets

TURNS = 2
"""Turns of each kind; what disturbs the machine meanwhile disturbs both."""

SERVERS = ("interface server", "server")
"""The name of ours, and that of a peer."""

TOGETHER = 50
END = b"\n\n"
"""The end of an event; neither the headers nor the borders of chunks hold two of these line breaks in a row."""


class Stream(asyncio.Protocol):
    """One stream; `on_frames` is told how many events came whenever some did."""

    def __init__(self, host: str, path: str) -> None:
        self.on_frames: Callable[[int], None] = lambda count: None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the class
        self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("refused"))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        count = data.count(END)
        self._rest = data[data.rfind(END) + len(END) :] if count else data
        if not self.opened.done() and count:
            count -= 1  # the token, or Nchan's greeting
            self.opened.set_result(None)
        if count:
            self.on_frames(count)

    def close(self) -> None:
        """Drop the connection."""
        self._transport.abort()


async def open_streams(host: str, port: int, path: str, count: int) -> list[Stream]:
    """Open `count` streams."""
    loop = asyncio.get_running_loop()
    streams: list[Stream] = []
    while len(streams) < count:
        number = min(TOGETHER, count - len(streams))
        batch = [(await loop.create_connection(lambda: Stream(host, path), host, port))[1] for _ in range(number)]
        await asyncio.gather(*(stream.opened for stream in batch))
        streams += batch
    return streams


class Comparison:
    """Measures both kinds on one server."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._where = options.url.host, options.url.port
        self._path = options.url.path
        self._count: int = options.sockets
        self._seconds: float = options.seconds / TURNS
        self._programs: Programs = options.programs

    async def memory(self) -> Figures:
        """Return the KiB of each kind. The streams stay open meanwhile: memory that was freed would be used again."""
        for few in (await self._open(open_streams, TOGETHER), await self._open(open_sockets, TOGETHER)):
            _close(few)
        await asyncio.sleep(1)
        empty = self._programs.memory()
        streams = await self._open(open_streams, self._count)
        await asyncio.sleep(1)
        between = self._programs.memory()
        sockets = await self._open(open_sockets, self._count)
        await asyncio.sleep(1)
        full = self._programs.memory()
        _close([*streams, *sockets])
        await asyncio.sleep(1)
        stream, socket = (between - empty) / self._count, (full - between) / self._count
        return {"KiB a stream": stream, "KiB a socket": socket, "times the memory": stream / max(socket, 0.1)}

    async def _open(self, opening: Callable[..., object], count: int, path: str = "/echo") -> Sequence[Socket | Stream]:
        return await opening(*self._where, path, count)  # type: ignore[misc, no-any-return]

    async def broadcasts(self, opening: Callable[..., object]) -> tuple[int, float, float, int]:
        """Return the deliveries, the seconds that they and the server took, and how many were lost."""
        (speaker,) = await open_sockets(*self._where, self._path, 1)
        listeners = await self._open(opening, self._count, self._path)
        room = Room([speaker, *listeners])  # type: ignore[list-item]  # a stream is never the first
        await room.say(b"warm up")
        begun, said, taken, before = room.received, 1, 0.0, self._processor
        until = time.perf_counter() + self._seconds
        while room.complete and time.perf_counter() < until:
            taken += await room.say(b"hello, all of you")
            said += 1
        used = self._processor - before
        _close([speaker, *listeners])
        await asyncio.sleep(1)
        return room.received - begun, taken, used, sum(said - count for count in room.counts)

    @property
    def _processor(self) -> float:
        """The seconds for which the server that holds the connections had a processor."""
        used = self._programs.time()
        return next((used[name] for name in SERVERS if name in used), 0.0)

    async def measure(self) -> Figures:
        """Return all figures."""
        figures = await self.memory()
        kinds = (open_streams, open_sockets)
        turns = [[await self.broadcasts(opening) for opening in kinds] for _ in range(TURNS)]
        # By kind: deliveries, their seconds, those of the server, and lost ones.
        (made, took, used, lost), (made_2, took_2, used_2, lost_2) = (
            [sum(column) for column in zip(*(turn[kind] for turn in turns), strict=True)] for kind in (0, 1)
        )
        return {
            "deliveries/s": made / took,
            "deliveries to sockets/s": made_2 / took_2,
            "times the rate/s": (made / took) / (made_2 / took_2),
            "µs for streams": used / made * 1e6,
            "µs for sockets": used_2 / made_2 * 1e6,
            **figures,
            "lost": lost + lost_2,
        }


def _close(clients: Sequence[Socket | Stream]) -> None:
    for client in clients:
        client.close()


def main() -> None:
    """Print the figures as JSON."""
    parser = client_parser(__doc__)
    parser.add_argument("--sockets", type=int, default=1000, help="of each kind")
    parser.add_argument("--programs", type=Programs, default="", help="whose memory to measure: server=123,redis=45")
    print_figures(Comparison(parser.parse_args()).measure())


if __name__ == "__main__":
    main()
