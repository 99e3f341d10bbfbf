"""The pings of sockets: when the first one comes."""

from __future__ import annotations

import random
from contextlib import closing

import uvicorn

from channels_classic.interface_server.server.websocket_keep_alive import KeepAlive
from tests.support.timers import NotingLoop

SOCKETS, INTERVAL = 50, 20.0


class Pinged(KeepAlive):
    """The pings of a socket, and nothing else of it."""

    def _fail(self, code: int) -> None:
        raise AssertionError("no ping is sent here")

    def _is_open(self) -> bool:
        return True


def test_sockets_that_were_opened_together_are_not_pinged_together() -> None:
    random.seed(7)
    project = random.getstate()

    async def main() -> None:
        config = uvicorn.Config("", ws_ping_interval=INTERVAL, log_config=None)
        for _ in range(SOCKETS):
            Pinged(config, None)._start_pings()

    with closing(NotingLoop()) as loop:
        loop.run_until_complete(main())
    delays = loop.delays["_send_ping"]
    assert len(set(delays)) == SOCKETS
    assert all(INTERVAL / 2 <= delay <= INTERVAL for delay in delays)
    assert random.getstate() == project, "the generator belongs to the project, which may have seeded it"
