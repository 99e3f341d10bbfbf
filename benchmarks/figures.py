"""First figures: HTTP, echo and broadcast through one interface server, one Redis and one worker on this machine.

`python -m benchmarks.figures [redis|local]`. Needs `redis-server` and, for HTTP, `wrk`.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import uvloop

from benchmarks.sockets import Socket, frame, open_sockets
from tests.redis_server import RedisServer
from tests.running_site import HOST, RunningSite

SECONDS = 5.0


def http(site: RunningSite, connections: int) -> str:
    """Requests per second of a trivial view."""
    if shutil.which("wrk") is None:
        return "wrk is not installed"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS:.0f}s", f"http://{HOST}:{site.port}/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    errors = re.search(r"(Socket errors.*|Non-2xx.*)", output)
    assert rate is not None
    return f"{float(rate[1]):,.0f} req/s" + (f" ({errors[1]})" if errors else "")


async def echo(site: RunningSite, count: int) -> str:
    """Each socket sends the next frame when the last one came back."""
    sockets = await open_sockets(HOST, site.port, "/", count)
    message = frame(b"hello, how are you?")
    received = 0

    def answering(socket: Socket) -> Callable[[int], None]:
        def on_frames(number: int) -> None:
            nonlocal received
            received += number
            socket.write(message)

        return on_frames

    for socket in sockets:
        socket.on_frames = answering(socket)
        socket.write(message)
    await asyncio.sleep(1)
    received, begun = 0, time.perf_counter()
    await asyncio.sleep(SECONDS)
    rate = received / (time.perf_counter() - begun)
    for socket in sockets:
        socket.close()
    return f"{rate:,.0f} msg/s"


async def round_trip(site: RunningSite) -> str:
    """The median time of one frame there and back, with one socket."""
    (socket,) = await open_sockets(HOST, site.port, "/", 1)
    times = []
    for _ in range(2000):
        came = asyncio.get_running_loop().create_future()
        socket.on_frames = lambda number, came=came: came.set_result(None)  # type: ignore[misc]
        begun = time.perf_counter()
        socket.write(frame(b"hello"))
        await came
        times.append(time.perf_counter() - begun)
    socket.close()
    return f"{statistics.median(times) * 1000:.2f} ms"


async def latency(site: RunningSite, count: int) -> str:
    """Median and 99th percentile of round trips, when each socket sends about two frames a second."""
    sockets = await open_sockets(HOST, site.port, "/", count)
    times: list[float] = []
    until = time.perf_counter() + SECONDS

    async def converse(socket: Socket) -> None:
        await asyncio.sleep(random.uniform(0, 0.5))
        while time.perf_counter() < until:
            came = asyncio.get_running_loop().create_future()
            socket.on_frames = lambda number: came.set_result(None)  # noqa: B023  # it is awaited in this round
            begun = time.perf_counter()
            socket.write(frame(b"hello"))
            await came
            times.append(time.perf_counter() - begun)
            await asyncio.sleep(random.uniform(0.25, 0.75) if count > 1 else 0)

    await asyncio.gather(*map(converse, sockets))
    for socket in sockets:
        socket.close()
    times.sort()
    return f"{statistics.median(times) * 1000:.2f} ms, {times[int(len(times) * 0.99)] * 1000:.2f} ms"


async def broadcast(site: RunningSite, count: int, rounds: int = 20) -> str:
    """Deliveries per second when each broadcast waits for the one before."""
    sockets = await open_sockets(HOST, site.port, "/room", count)
    received, complete = 0, asyncio.Event()

    def on_frames(number: int) -> None:
        nonlocal received
        received += number
        if received >= count:
            complete.set()

    for socket in sockets:
        socket.on_frames = on_frames
    with site.layer() as layer:
        await asyncio.to_thread(layer.send_group, "room", {"text": "warm up"})
        await asyncio.wait_for(complete.wait(), 30)
        begun = time.perf_counter()
        for _ in range(rounds):
            received = 0
            complete.clear()
            await asyncio.to_thread(layer.send_group, "room", {"text": "hello, all of you"})
            await asyncio.wait_for(complete.wait(), 30)
        rate = rounds * count / (time.perf_counter() - begun)
    for socket in sockets:
        socket.close()
    await asyncio.sleep(1)
    return f"{rate:,.0f} deliveries/s"


def main(layer: str = "redis") -> None:
    """Print one line per figure."""
    redis = RedisServer()
    if layer == "redis":
        redis.start()
    try:
        with RunningSite(redis.url if layer == "redis" else None, workers=1) as site:
            for connections in (16, 64):
                print(f"HTTP, {connections} connections: {http(site, connections)}", flush=True)
            for name, figure in (
                ("echo, 64 sockets", echo(site, 64)),
                ("echo, 1 socket, median round trip", round_trip(site)),
                *((f"echo, {count:,} sockets, p50 and p99", latency(site, count)) for count in (1, 100, 1000)),
                ("broadcast to 1,000", broadcast(site, 1000)),
                ("broadcast to 5,000", broadcast(site, 5000)),
            ):
                print(f"{name}: {uvloop.run(figure)}", flush=True)
    finally:
        redis.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
