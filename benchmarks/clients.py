"""The load, from one process that costs little; each client prints its figures as JSON. Any server will do.

`python -m benchmarks.clients http|echo|broadcast|idle|crowd|first URL …`: see `--help`. The figures' names are their
units. What is sent is checked when it comes back: `wrong` counts answers that were not as expected, `lost` and `twice`
deliveries.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from urllib.request import Request, urlopen

from benchmarks.command_line import Address, client_parser, print_figures
from benchmarks.limits import descriptors
from benchmarks.programs import Programs
from benchmarks.sockets import Socket, frame, open_sockets

Figures = dict[str, float]

QUIET = 10.0
"""Seconds without any delivery after which what is missing of a broadcast counts as lost, and no more follow."""

RESERVED = 500
"""Descriptors kept for files and other sockets, in the client and in the server."""

TIMEOUT = 60.0
"""Seconds within which something must happen."""


def spread(seconds: Sequence[float]) -> Figures:
    """The median and the 99th percentile of times."""
    ordered = sorted(seconds)
    return {
        "ms, median": statistics.median(ordered) * 1000,
        "ms, 99 %": ordered[int(len(ordered) * 0.99)] * 1000,
    }


# HTTP


async def http(address: Address, options: argparse.Namespace) -> Figures:
    """Requests per second over connections that are kept, where the server keeps them; by `wrk`."""
    url = str(address)
    headers = {"Cookie": options.cookie} if options.cookie else {}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
        body = answer.read().decode()
    if options.expect not in body:
        sys.exit(f"{url} answered {body[:200]!r} where {options.expect!r} was expected.")
    command = ["wrk", "-t1", f"-c{options.connections}", "--latency"]
    command += [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    subprocess.run([*command, f"-d{math.ceil(options.seconds / 4)}s", url], capture_output=True, check=True)
    before, command = options.programs.time(), [*command, f"-d{math.ceil(options.seconds)}s", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count = re.search(r"(\d+) requests in", output)
    return {**_read_wrk(output), **options.programs.cost(before, int(count[1]) if count else 0)}


def _read_wrk(output: str) -> Figures:
    """Return the figures that `wrk` printed."""
    rate, median, last, failures, sockets = (re.search(pattern, output) for pattern in _WRK)
    if rate is None or median is None or last is None:
        sys.exit(f"wrk said nothing that is understood here:\n{output}")
    wrong = (int(failures[1]) if failures else 0) + (sum(map(int, sockets.groups())) if sockets else 0)
    return {
        "requests/s": float(rate[1]),
        "ms, median": float(median[1]) * _SCALE[median[2]],
        "ms, 99 %": float(last[1]) * _SCALE[last[2]],
        "wrong": wrong,
    }


_SCALE = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_WRK = (
    r"Requests/sec:\s+([\d.]+)",
    r"50%\s+([\d.]+)(us|ms|s)",
    r"99%\s+([\d.]+)(us|ms|s)",
    r"Non-2xx or 3xx responses: (\d+)",
    r"connect (\d+), read (\d+), write (\d+), timeout (\d+)",
)


# WebSocket


class Talk:
    """A socket that sends its next frame when the last came back, at once or after about `pause` seconds."""

    def __init__(self, socket: Socket, number: int, pause: float) -> None:
        self.times: list[float] = []
        self.wrong = 0
        self._socket = socket
        self._pause = pause
        self._text = b"hello, how are you? I am number %05d" % number
        self._frame = frame(self._text)
        socket.on_text = self._came
        self.say()

    def say(self) -> None:
        self._sent = time.perf_counter()
        self._socket.write(self._frame)

    def _came(self, text: bytes) -> None:
        self.times.append(time.perf_counter() - self._sent)
        self.wrong += text != self._text
        if self._pause:
            asyncio.get_running_loop().call_later(random.uniform(0.5, 1.5) * self._pause, self.say)
        else:
            self.say()


async def echo(url: Address, options: argparse.Namespace) -> Figures:
    """Echoes per second of sockets that each wait for the last one, and how long each took."""
    sockets = await _open(url, options.sockets)
    talks = [Talk(socket, number, options.pause) for number, socket in enumerate(sockets)]
    await asyncio.sleep(min(1.0, options.seconds / 3))
    for talk in talks:
        talk.times.clear()
    begun, before = time.perf_counter(), options.programs.time()
    await asyncio.sleep(options.seconds)
    elapsed = time.perf_counter() - begun
    times = [seconds for talk in talks for seconds in talk.times]
    closed = sum(socket.closed for socket in sockets)
    if not times:
        sys.exit(f"None of {len(sockets)} sockets had an echo within {options.seconds:g} s; {closed} were closed.")
    _close(sockets)
    return {
        "messages/s": len(times) / elapsed,
        **spread(times),
        "wrong": sum(talk.wrong for talk in talks) + closed,
        **options.programs.cost(before, len(times)),
    }


class Room:
    """Sockets of which each gets what one says; who got how much, and when the last of it came."""

    def __init__(self, sockets: Sequence[Socket]) -> None:
        self.counts = [0] * len(sockets)
        self.received = 0
        self.last = 0.0
        self._awaited = 0
        self._complete = asyncio.Event()
        self._sockets = sockets
        for number, socket in enumerate(sockets):
            socket.on_frames = self._counting(number)

    def _counting(self, number: int) -> Callable[[int], None]:
        def on_frames(count: int) -> None:
            self.counts[number] += count
            self.received += count
            self.last = time.perf_counter()
            if self.received >= self._awaited:
                self._complete.set()

        return on_frames

    @property
    def complete(self) -> bool:
        """Return True once every socket got the last message."""
        return self._complete.is_set()

    async def say(self, text: bytes) -> float:
        """Seconds from the frame to the last delivery of it."""
        begun = self.last = time.perf_counter()
        self._awaited = self.received + len(self._sockets)
        self._complete.clear()
        self._sockets[0].write(frame(text))
        while not self.complete and time.perf_counter() - self.last < QUIET:
            try:
                await asyncio.wait_for(self._complete.wait(), 1)
            except asyncio.TimeoutError:
                continue
        return self.last - begun


async def broadcast(url: Address, options: argparse.Namespace) -> Figures:
    """Deliveries per second when each broadcast waits for the one before; a frame of one socket begins it."""
    sockets = await _open(url, options.sockets)
    room = Room(sockets)
    await room.say(b"warm up")
    said, begun, before = 1, room.received, options.programs.time()
    times: list[float] = []
    until = time.perf_counter() + options.seconds
    while room.complete and (time.perf_counter() < until or len(times) < 2):
        times.append(await room.say(b"hello, all of you"))
        said += 1
    cost = options.programs.cost(before, room.received - begun)
    missing = [said - count for count in room.counts]
    _close(sockets)
    return {
        "deliveries/s": (room.received - begun) / (sum(times) or 1.0),
        **(spread(times) if times else {}),
        "lost": sum(count for count in missing if count > 0),
        "twice": -sum(count for count in missing if count < 0),
        **cost,
    }


async def idle(url: Address, options: argparse.Namespace) -> Figures:
    """Measure how fast sockets open, 50 at a time, and the memory that each costs the programs."""
    _close(await _open(url, 50))
    await asyncio.sleep(1)
    empty, before, begun = options.programs.memory(), options.programs.time(), time.perf_counter()
    sockets = await _open(url, options.sockets)
    elapsed = time.perf_counter() - begun
    cost = options.programs.cost(before, options.sockets)
    await asyncio.sleep(1)
    grown = options.programs.memory() - empty
    closed = sum(socket.closed for socket in sockets)
    _close(sockets)
    memory = {"KiB a socket": grown / options.sockets} if options.programs else {}
    return {"connects/s": options.sockets / elapsed, **memory, "wrong": closed, **cost}


async def crowd(url: Address, options: argparse.Namespace) -> Figures:
    """Measure how long the echoes of 64 sockets take among few sockets and among many, and a broadcast to those."""
    talking, few = 64, 36
    many = min(options.sockets, descriptors() - RESERVED) - talking
    room = url._replace(path=url.path.rpartition("/")[0] + "/room")
    sockets = await _open(room, few)
    talks = [Talk(socket, number, 0.1) for number, socket in enumerate(await _open(url, talking))]
    calm = await _echoes(talks, options.seconds)
    sockets += await _open(room, many - few)
    busy = await _echoes(talks, options.seconds)
    members = Room(sockets)
    await members.say(b"hello, all of you")
    _close(sockets)
    return {
        "sockets": many + talking,
        "ms, 99 % of 100": calm["ms, 99 %"],
        "ms, 99 % of all": busy["ms, 99 %"],
        "times as long": busy["ms, 99 %"] / calm["ms, 99 %"],
        "lost": sum(count == 0 for count in members.counts),
        "twice": sum(count > 1 for count in members.counts),
        "wrong": sum(talk.wrong for talk in talks) + sum(socket.closed for socket in sockets),
    }


async def _echoes(talks: Sequence[Talk], seconds: float) -> Figures:
    """Return the spread of the echoes, when a second has passed."""
    await asyncio.sleep(1)
    for talk in talks:
        talk.times.clear()
    await asyncio.sleep(max(seconds, 2.0))
    return spread([taken for talk in talks for taken in talk.times])


async def first(url: Address, options: argparse.Namespace) -> Figures:
    """Seconds since `--since` until a frame came back, on a server that may just be starting."""
    since = options.since or time.monotonic()
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            (socket,) = await _open(url, 1)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        came = asyncio.get_running_loop().create_future()
        socket.on_text = came.set_result
        socket.write(frame(b"hello"))
        text = await asyncio.wait_for(came, TIMEOUT)
        elapsed = time.monotonic() - since
        _close([socket])
        return {"s to the first echo": elapsed, "wrong": float(text != b"hello")}
    sys.exit(f"There is no echo at {url} after {TIMEOUT:g} s.")


async def _open(url: Address, count: int) -> list[Socket]:
    return await asyncio.wait_for(open_sockets(*url, count), 2 * TIMEOUT)


def _close(sockets: Sequence[Socket]) -> None:
    for socket in sockets:
        socket.close()


CLIENTS = {"http": http, "echo": echo, "broadcast": broadcast, "idle": idle, "crowd": crowd, "first": first}


def main() -> None:
    """Run the client that the command line names."""
    parser = client_parser(__doc__, CLIENTS)
    parser.add_argument("--connections", type=int, default=64, help="of http")
    parser.add_argument("--cookie", help="of http")
    parser.add_argument("--expect", default="", help="what http finds in the first response")
    parser.add_argument("--sockets", type=int, default=64)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two frames of echo, on average")
    parser.add_argument(
        "--programs", type=Programs, default="", help="whose memory and time to measure: server=123,redis=45"
    )
    parser.add_argument("--since", type=float, help="time.monotonic() when first began")
    options = parser.parse_args()
    print_figures(CLIENTS[options.client](options.url, options))


if __name__ == "__main__":
    main()
