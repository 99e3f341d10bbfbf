"""A site under all faults, one after the other at random: sockets echo numbers and get numbered group messages.

Others come and go. Nothing may come twice or out of order, each frame without an echo is counted, and in the end every
socket is in its group, and nobody else. `MIXED_SECONDS` is how long the faults last, `MIXED_SEEDS` with commas between
says which runs there are.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from channels_classic.exceptions import ChannelsError
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.redis.commands import HEARTBEAT, JOIN, LOOKUP, MEMBERS, PUBLISH, PUSH, RESTORE
from tests.faults.conftest import IMPATIENT
from tests.faults.traffic import LONG
from tests.support.processes import Process
from tests.support.redis_proxy import BREAKS, RedisProxy
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually, eventually_async, scaled

SECONDS = float(os.environ.get("MIXED_SECONDS", "600" if LONG else "12"))
SEEDS = [int(seed) for seed in os.environ.get("MIXED_SEEDS", "1,2,3" if LONG else "1").split(",")]

pytestmark = pytest.mark.timeout(SECONDS + 180)

SOCKETS, PASSERS_BY = 10, 3
WINDOW = 10
"""Frames of a socket that may be unanswered; those that are lost stay so, and after `LEASE` the next one is sent."""

EXPIRY = 2
LEASE = 12.0
"""Seconds after which the next frame of a socket goes on whatever was lost, with time for the programs to be back."""

PAUSE = (0.1, 1.5)
"""Seconds between two faults."""


class Visitor:
    """A socket that sends numbers and notes which numbers come back, and which numbers of the group come."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.sent = 0
        self.echoed: list[int] = []
        self.grouped: list[int] = []
        self.answered_at = time.monotonic()

    async def send(self, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(0.03)
            if self.sent - self._last < WINDOW or time.monotonic() - self.answered_at > LEASE:
                await self._send()

    async def _send(self) -> None:
        self.sent += 1
        self.answered_at = time.monotonic()
        await self.socket.send(str(self.sent))

    @property
    def _last(self) -> int:
        return self.echoed[-1] if self.echoed else 0

    async def receive(self) -> None:
        async for text in self.socket:
            if str(text).startswith("group "):
                self.grouped.append(int(str(text).split()[1]))
            else:
                self.echoed.append(int(text))
                self.answered_at = time.monotonic()

    async def finish(self) -> None:
        """Send a last number, and return when it came back: what did not come before it never will."""
        await self._send()
        deadline = time.monotonic() + scaled(60)
        while self._last != self.sent:
            assert time.monotonic() < deadline, f"{self.sent} sent, {self._last} echoed"
            await asyncio.sleep(0.05)

    @property
    def missing(self) -> set[int]:
        return set(range(1, self.sent + 1)) - set(self.echoed)


class Faults:
    """Faults that happen to the site; each method is a fault, and returns when it is over."""

    def __init__(self, site: RunningSite, server: RedisServer, proxy: RedisProxy, rng: random.Random) -> None:
        self._site = site
        self._server = server
        self._proxy = proxy
        self._rng = rng
        self.happened: list[str] = []

    def all(self) -> Sequence[Callable[[], None]]:
        return (
            self.cut_connections,
            self.kill_clients,
            self.fault_of_a_command,
            self.fault_of_a_command,
            self.fault_of_a_command,
            self.delay,
            self.pause_redis,
            self.block_writes,
            self.kill_redis,
            self.restart_from_a_snapshot,
            self.flush,
            self.forget_scripts,
            self.fill_memory,
            self.stop_a_worker,
            self.kill_a_worker,
            self.replace_a_worker,
            self.stop_the_interface_server,
        )

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            fault = self._rng.choice(self.all())
            self.happened.append(f"{time.monotonic():.2f} {fault.__name__}")
            fault()
            time.sleep(self._rng.uniform(*PAUSE))

    def cut_connections(self) -> None:
        self._proxy.cut()

    def kill_clients(self) -> None:
        self._server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def fault_of_a_command(self) -> None:
        scripts = [script.sha for script in (PUSH, PUBLISH, HEARTBEAT, JOIN, LOOKUP, MEMBERS, RESTORE)]
        fault, text = self._rng.choice(BREAKS), self._rng.choice(["BLMPOP", ":queue:interface.", *scripts])
        self.happened.append(f"{fault.name} {text}")
        self._proxy.arm(fault, text)

    def delay(self) -> None:
        self._proxy.delay = 0.3
        time.sleep(1)
        self._proxy.delay = 0.0

    def pause_redis(self) -> None:
        self._server.pause()
        time.sleep(self._rng.uniform(0.1, 7.0))
        self._server.resume()

    def block_writes(self) -> None:
        self._server.command("CLIENT", "PAUSE", str(self._rng.randrange(50, 2000)), "WRITE")

    def kill_redis(self) -> None:
        self._server.stop()
        (Path(self._server.folder) / "dump.rdb").unlink(missing_ok=True)
        self._server.start()

    def restart_from_a_snapshot(self) -> None:
        self._server.command("SAVE")
        time.sleep(self._rng.uniform(0.0, 0.5))
        self._server.stop()
        self._server.start()

    def flush(self) -> None:
        self._server.flush()

    def forget_scripts(self) -> None:
        self._server.command("SCRIPT", "FLUSH")

    def fill_memory(self) -> None:
        self._server.command("CONFIG", "SET", "maxmemory", "1")
        time.sleep(self._rng.uniform(0.1, 3.0))
        self._server.command("CONFIG", "SET", "maxmemory", "0")

    def _worker(self) -> Process:
        return self._rng.choice(self._site.workers)

    def stop_a_worker(self) -> None:
        self._stop(self._worker(), self._rng.choice([0.5, 3.0, 11.0]))

    def stop_the_interface_server(self) -> None:
        self._stop(self._site.interface, self._rng.choice([0.2, 1.0, 4.0]))

    @staticmethod
    def _stop(process: Process, seconds: float) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def kill_a_worker(self) -> None:
        worker = self._worker()
        worker.kill()
        self._replace(worker)

    def replace_a_worker(self) -> None:
        worker = self._worker()
        worker.send_signal(signal.SIGTERM)
        self._replace(worker)

    def _replace(self, worker: Process) -> None:
        self._site.workers[self._site.workers.index(worker)] = self._site.run("runworker")


async def send_to_group(url: str, until: float) -> None:
    layer = RedisChannelLayer(hosts=[url], connection_kwargs=IMPATIENT)
    number = 0
    while time.monotonic() < until:
        number += 1
        with suppress(ChannelsError):
            await asyncio.to_thread(layer.send_group, "room", {"text": f"group {number}"})
        await asyncio.sleep(0.05)
    layer.close()


async def come_and_go(site: RunningSite, until: float, rng: random.Random) -> None:
    """Be a visitor who joins the group and soon leaves; in the middle of a fault there may be no answer."""
    while time.monotonic() < until:
        with suppress(OSError, asyncio.TimeoutError, WebSocketException):
            async with site.socket("/room"):
                await asyncio.sleep(rng.uniform(0.0, 2.0))
        await asyncio.sleep(0.1)


def say(*texts: str) -> None:
    sys.stdout.write("\n".join([*texts, ""]))


def counted(path: Path) -> Counter[str]:
    """Return the losses of frames and of replies that the programs counted, by kind."""
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines() if path.exists() else ():
        _, kind, channel, number = line.split()
        # `unknown` is for those who come and go.
        if kind != "unknown" and (channel == "websocket.receive" or channel.startswith("interface.")):
            found[kind] += int(number)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_site_survives_all_faults(own_redis: RedisServer, proxy: RedisProxy, tmp_path: Path, seed: int) -> None:
    losses = tmp_path / "losses"

    async def main(site: RunningSite, faults: Faults) -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        async with site.sockets(SOCKETS) as sockets:
            visitors = [Visitor(socket) for socket in sockets]
            until = time.monotonic() + SECONDS
            receivers = [asyncio.create_task(visitor.receive()) for visitor in visitors]
            await asyncio.gather(
                asyncio.to_thread(faults.run, until),
                send_to_group(own_redis.url, until),
                *(visitor.send(until) for visitor in visitors),
                *(come_and_go(site, until, random.Random(f"{seed}.{number}")) for number in range(PASSERS_BY)),
            )
            proxy.disarm()
            await asyncio.gather(*(visitor.finish() for visitor in visitors))
            # A hint that was lost is noticed by the next message.
            await asyncio.to_thread(layer.send_group, "room", {"text": "group 999999"})
            await asyncio.to_thread(eventually, lambda: len(layer.group_channels("room")) == SOCKETS, 20)
            await asyncio.to_thread(layer.send_group, "room", {"text": "group 1000000"})
            await eventually_async(lambda: all(visitor.grouped[-1:] == [1_000_000] for visitor in visitors), 10)
            await asyncio.sleep(2)  # so that what comes twice has come
            layer.close()
            assert not any(receiver.done() for receiver in receivers), "no socket was closed"
            for receiver in receivers:
                receiver.cancel()
        for visitor in visitors:
            assert visitor.echoed == sorted(set(visitor.echoed)), "twice, or out of order"
            assert visitor.grouped == sorted(set(visitor.grouped)), "twice, or out of order"
        missing = sum(len(visitor.missing) for visitor in visitors)
        found = counted(losses)
        sent = sum(visitor.sent for visitor in visitors)
        say(f"seed {seed}: {sent} frames, {missing} lost; {dict(found)} counted; {len(faults.happened)} faults")
        assert missing <= found.total(), "uncounted"

    site = RunningSite(proxy.url, workers=2)
    site.environment |= {"EXPIRY": str(EXPIRY), "LOSS_FILE": str(losses)}
    with site:
        faults = Faults(site, own_redis, proxy, random.Random(seed))
        try:
            asyncio.run(main(site, faults))
        except BaseException:
            say(*faults.happened, site.output, losses.read_text() if losses.exists() else "no losses")
            raise
