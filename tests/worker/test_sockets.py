"""Open sockets while the workers behind them are replaced and killed: none closes, and frames stay in order.

`DEPLOYS=1000` opens this many sockets, and does at length what is done here a few times (`make deploys`).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import pytest
from websockets.asyncio.client import ClientConnection

from channels_classic.worker import Worker
from tests.support.processes import Process
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually
from tests.worker.programs import TIMEOUT

LONG = "DEPLOYS" in os.environ

SOCKETS = int(os.environ.get("DEPLOYS", "50"))

PACE = 0.1
"""Seconds between the frames of a socket, at least: others have work to do, too."""

pytestmark = pytest.mark.timeout(600 if LONG else 120)

EXPIRY = 10 if LONG else 3
"""Seconds after which the interface server no longer waits for what a killed worker was just being given."""


@pytest.fixture(params=["local", "redis"])
def make_site(request: pytest.FixtureRequest) -> Callable[..., RunningSite]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    return lambda: RunningSite(url, workers=0)


@contextmanager
def run_worker(site: RunningSite, *options: str) -> Iterator[Process]:
    """A worker of the site. What both wrote is shown when the test fails."""
    with site.run("runworker", *options) as worker:
        try:
            yield worker
        finally:
            worker.stop()
            sys.stdout.write(worker.output + site.output)


class Talk:
    """Sends numbers, two at a time, and keeps what comes back.

    For what has not come after a moment the next ones do not wait: frames of a killed worker never come. Only the last
    one must: all others were answered before it, or are lost.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.sent = 0
        self.seen: list[int] = []

    async def go_on(self, until: asyncio.Event) -> None:
        while not until.is_set():
            await self._send()
            await self._send()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._receive(), 3)
            await asyncio.sleep(PACE)
        await self._send()
        await asyncio.wait_for(self._receive(), 2 * TIMEOUT)

    async def _send(self) -> None:
        await self._socket.send(str(self.sent))
        self.sent += 1

    async def _receive(self) -> None:
        while not self.seen or self.seen[-1] < self.sent - 1:
            self.seen.append(int(await self._socket.recv()))

    @property
    def lost(self) -> int:
        """The frames without an answer; the others were answered once and in order."""
        assert self.seen == sorted(set(self.seen)), "out of order, or twice"
        return self.sent - len(self.seen)


@asynccontextmanager
async def talking(site: RunningSite) -> AsyncIterator[list[Talk]]:
    """Sockets that talk until the end of the block, and a moment longer. None closes."""
    async with site.sockets(SOCKETS) as sockets:
        talks = [Talk(socket) for socket in sockets]
        until = asyncio.Event()
        tasks = [asyncio.create_task(talk.go_on(until)) for talk in talks]
        try:
            yield talks
            await asyncio.sleep(0.2)
            until.set()
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        assert all(socket.close_code is None for socket in sockets)


async def line(process: Process, pattern: str, occurrences: int = 1) -> str:
    return await asyncio.to_thread(process.wait_for_line, pattern, TIMEOUT, occurrences=occurrences)


async def pause(seconds: float) -> None:
    """Let the sockets talk undisturbed for a while, where there is time."""
    if LONG:
        await asyncio.sleep(seconds)


def test_sockets_notice_nothing_of_workers_that_are_restarted(make_site: Callable[..., RunningSite]) -> None:
    async def scenario(site: RunningSite) -> None:
        with ExitStack() as stack:
            worker = stack.enter_context(run_worker(site))
            await line(worker, "Listening")
            async with talking(site) as talks:
                for _ in range(4 if LONG else 1):
                    await pause(5)
                    assert await asyncio.to_thread(worker.stop) == 0
                    worker = stack.enter_context(run_worker(site))
                    await line(worker, "Listening")
            assert [talk.lost for talk in talks] == [0] * SOCKETS

    with make_site() as site:
        asyncio.run(scenario(site))


def test_sockets_notice_nothing_of_workers_that_are_replaced(make_site: Callable[..., RunningSite]) -> None:
    async def scenario(site: RunningSite) -> None:
        with run_worker(site, "--processes", "2") as workers:
            await line(workers, "listens", 2)
            async with talking(site) as talks:
                for turn in range(1, 5 if LONG else 2):
                    workers.send_signal(signal.SIGHUP)
                    await line(workers, "is replaced", 2 * turn)
                    await pause(2)
            assert [talk.lost for talk in talks] == [0] * SOCKETS
            assert "took" not in workers.output

    with make_site() as site:
        asyncio.run(scenario(site))


def test_sockets_lose_what_killed_workers_had_taken_and_the_statistics_know_how_much(
    make_site: Callable[..., RunningSite],
) -> None:
    async def scenario(site: RunningSite) -> int:
        with run_worker(site, "--processes", "2") as workers:
            await line(workers, "listens", 2)
            async with talking(site) as talks:
                for turn in range(6 if LONG else 1):
                    listening = re.findall(r"Worker process (\d+) listens", workers.output)
                    os.kill(int(listening[turn]), signal.SIGKILL)  # the oldest
                    await line(workers, "listens", 3 + turn)
                    await pause(0.5)
            killed = len(re.findall("ended with status -9", workers.output))
            lost = sum(talk.lost for talk in talks)
            assert lost <= 2 * Worker.prefetch * killed, "more than one batch, and one that goes back to the layer"
            return lost

    site = make_site()
    site.environment["EXPIRY"] = str(EXPIRY)
    with site, site.layer() as layer:
        lost = asyncio.run(scenario(site))

        def counted() -> dict[str, int]:
            found = layer.channel_statistics("websocket.receive")
            return {name: number for name, number in found.items() if name.startswith("lost_")}

        eventually(lambda: sum(counted().values()) >= lost, TIMEOUT)
        sys.stdout.write(f"{lost} frames were lost; the statistics say {counted()}\n")
        assert sum(counted().values()) == lost


def test_a_socket_goes_on_at_once_when_the_worker_that_had_its_frame_is_killed(
    make_site: Callable[..., RunningSite],
) -> None:
    async def scenario(site: RunningSite) -> None:
        with run_worker(site, "--processes", "2") as workers:
            await line(workers, "listens", 2)
            async with site.socket("/sleep") as socket:
                await socket.send("60")
                assert await asyncio.wait_for(socket.recv(), TIMEOUT) == "started"
                for pid in re.findall(r"Worker process (\d+) listens", workers.output):
                    os.kill(int(pid), signal.SIGKILL)
                await line(workers, "it is replaced", 2)  # so that the next frame is handed to neither
                await socket.send("0")
                for answer in ("started", "done"):
                    assert await asyncio.wait_for(socket.recv(), TIMEOUT) == answer
            await line(workers, r"died holding 1 message\(s\): 1 of websocket\.receive")

    with make_site() as site, site.layer() as layer:
        asyncio.run(scenario(site))
        eventually(lambda: layer.channel_statistics("websocket.receive").get("lost_died") == 1, TIMEOUT)
