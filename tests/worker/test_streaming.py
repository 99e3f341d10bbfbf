"""Many open sockets that stream from slow sources at once, through `async def` consumers of one worker process.

`DEPLOYS=1000` opens this many (`make deploys`).
"""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from websockets.asyncio.client import ClientConnection

from tests.support.running_site import RunningSite
from tests.worker.programs import TIMEOUT

SOCKETS = int(os.environ.get("DEPLOYS", "100"))

pytestmark = pytest.mark.timeout(180)


async def streamed(socket: ClientConnection, pause: float) -> tuple[float, float]:
    """Return the times at which the first and the last number of a stream came."""
    await socket.send(str(pause))
    first = 0.0
    for number in range(5):
        assert await asyncio.wait_for(socket.recv(), TIMEOUT) == str(number)
        first = first or time.monotonic()
    return first, time.monotonic()


@pytest.mark.parametrize("layer", ["local", "redis"])
def test_sockets_stream_from_slow_sources_all_at_once(layer: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("redis_url") if layer == "redis" else None
    pause = SOCKETS / 500  # so that all have begun before the first one ends

    async def scenario(site: RunningSite) -> None:
        async with site.sockets(SOCKETS, "/room/stream") as sockets:
            times = await asyncio.gather(*(streamed(socket, pause) for socket in sockets))
        assert max(first for first, _ in times) < min(last for _, last in times), "some waited for others"

    with RunningSite(url, workers=0) as site, site.run("runworker", "--concurrency", str(SOCKETS)) as worker:
        worker.wait_for_line("Listening")
        asyncio.run(scenario(site))
        assert worker.stop() == 0, worker.output
