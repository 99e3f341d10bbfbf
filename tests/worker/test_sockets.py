"""Open sockets while the workers behind them are replaced and killed: none closes, and frames stay in order."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from websockets.asyncio.client import ClientConnection

from tests.processes import Process
from tests.running_site import RunningSite
from tests.worker.programs import PATIENCE, begun

pytestmark = pytest.mark.timeout(180)

SOCKETS = 200


@pytest.fixture(params=["local", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[RunningSite]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    with RunningSite(url, workers=0) as site:
        yield site


class Talk:
    """Sends numbers, two at a time, and keeps what comes back, until it is told to stop.

    What has not come after `patience` seconds is not waited for: the next frames say whether the socket still works.
    """

    def __init__(self, socket: ClientConnection, patience: float) -> None:
        self._socket = socket
        self._patience = patience
        self.sent = 0
        self.seen: list[int] = []

    async def go_on(self, until: asyncio.Event) -> None:
        while not until.is_set():
            for _ in range(2):
                await self._socket.send(str(self.sent))
                self.sent += 1
            with suppress(asyncio.TimeoutError):
                while not self.seen or self.seen[-1] < self.sent - 1:
                    self.seen.append(int(await asyncio.wait_for(self._socket.recv(), self._patience)))


async def talking(site: RunningSite, disturb: Callable[[], Awaitable[None]], patience: float) -> list[Talk]:
    """Let all sockets talk while something is done to the workers, and for a moment longer."""
    async with site.sockets(SOCKETS) as sockets:
        talks = [Talk(socket, patience) for socket in sockets]
        until = asyncio.Event()
        tasks = [asyncio.create_task(talk.go_on(until)) for talk in talks]
        await disturb()
        await asyncio.sleep(0.5)
        until.set()
        await asyncio.gather(*tasks)
        assert all(socket.close_code is None for socket in sockets)
    return talks


async def wait_for(process: Process, pattern: str, occurrences: int = 1) -> str:
    return await asyncio.to_thread(process.wait_for_line, pattern, PATIENCE, occurrences=occurrences)


def test_sockets_notice_nothing_of_workers_that_are_replaced(site: RunningSite) -> None:
    async def scenario() -> None:
        with site.run("runworker", "--processes", "2") as workers:
            await wait_for(workers, "listens", 2)

            async def replace() -> None:
                for turn in (1, 2):
                    workers.send_signal(signal.SIGHUP)
                    await wait_for(workers, "is replaced", 2 * turn)

            for talk in await talking(site, replace, PATIENCE):
                assert talk.seen == list(range(talk.sent)), workers.output + site.output
            assert begun(workers) == 6
            assert "took" not in workers.output

    asyncio.run(scenario())


def test_sockets_lose_at_most_what_a_killed_worker_had_taken(site: RunningSite) -> None:
    async def scenario() -> None:
        with site.run("runworker", "--processes", "2") as workers:
            await wait_for(workers, "listens", 2)

            async def kill() -> None:
                pids = re.findall(r"Worker process (\d+) listens", workers.output)
                os.kill(int(pids[0]), signal.SIGKILL)
                await wait_for(workers, "listens", 3)

            talks = await talking(site, kill, 5)
            lost = 0
            for talk in talks:
                assert talk.seen == sorted(set(talk.seen)), "out of order, or twice"
                lost += talk.sent - len(talk.seen)
            counted = re.search(r"took (\d+) message", workers.output)
            # Besides what it held, there is what it was just being given: one batch at most.
            assert lost <= (int(counted[1]) if counted else 0) + 10, workers.output

    asyncio.run(scenario())
