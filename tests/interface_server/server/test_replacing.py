"""Interface servers that stop slowly, and that are replaced: real processes, with clients that come and go."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

from channels_classic.interface_server.layer.session import START_TIMEOUT
from channels_classic.interface_server.server.drain import MOST_WAITING
from channels_classic.layers.base import BaseChannelLayer
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.running_site import FOLDER, RunningSite
from tests.support.site import HOST
from tests.support.waiting import accepts_connections, eventually, eventually_async, scaled

pytestmark = pytest.mark.slow

LISTENS = r"Interface server process (\d+) listens"


@dataclass
class Client:
    """A socket, and how it ended."""

    websocket: ClientConnection
    is_busy: bool = False
    code: int = 0
    reason: str = ""
    ended: float = 0.0

    async def run(self) -> None:
        """Ask again and again if it is busy, else listen, to the end."""
        try:
            while True:
                if self.is_busy:
                    await self.websocket.send("hello")
                    await asyncio.sleep(0.05)
                await self.websocket.recv()
        except ConnectionClosed:
            self.ended = time.monotonic()
        self.code, self.reason = self.websocket.close_code or 0, self.websocket.close_reason or ""


@asynccontextmanager
async def clients(site: RunningSite, idle: int, busy: int) -> AsyncIterator[list[Client]]:
    """Open sockets that are idle, and some that are busy."""
    async with site.sockets(idle + busy, "/counted") as found:
        made = [Client(websocket, number >= idle) for number, websocket in enumerate(found)]
        tasks = [asyncio.create_task(client.run()) for client in made]
        yield made
        await asyncio.wait_for(asyncio.gather(*tasks), scaled(30))


@dataclass
class Attempts:
    """Connections that are opened one after another, and what became of them."""

    open: Callable[[], connect]
    opened: int = 0
    failed: list[Exception] = field(default_factory=list)
    is_over: bool = False

    async def go_on(self) -> None:
        while not self.is_over:
            try:
                async with self.open() as websocket:
                    await websocket.send("hello")
                    assert await websocket.recv() == "hello"
                    self.opened += 1
            except ConnectionClosed:
                self.opened += 1  # it was open, and its turn to be closed
            except Exception as error:
                self.failed.append(error)
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Attempts]:
        task = asyncio.create_task(self.go_on())
        try:
            yield self
        finally:
            self.is_over = True
            await task  # a handshake that is cancelled leaves its transport to the garbage collector


def disconnects(layer: BaseChannelLayer, count: int) -> Counter[int]:
    """Take the reports of the disconnect consumer: their codes. Fails if there are more or fewer than `count`."""
    codes: Counter[int] = Counter()

    def take() -> bool:
        while True:
            _, message = layer.receive(["disconnects"], block=False)
            if message is None:
                return codes.total() >= count
            codes[message["code"]] += 1

    eventually(take, timeout=20)
    assert codes.total() == count
    return codes


def pids(program: Process, count: int) -> list[int]:
    """Return the processes that listen, as the supervisor logged it, once there are `count`."""
    program.wait_for_line(LISTENS, occurrences=count)
    return [int(line.split("process ")[1].split()[0]) for line in program.output.splitlines() if " listens" in line]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_sockets_are_closed_evenly_with_the_idle_ones_first(redis_url: str) -> None:
    seconds, idle, busy = 4.0, 30, 6

    async def run(site: RunningSite) -> list[Client]:
        async with clients(site, idle, busy) as found:
            await asyncio.sleep(1.2)  # from then on sockets that do nothing count as idle
            site.interface.send_signal(signal.SIGTERM)
            await eventually_async(lambda: not accepts_connections(site.port))
            assert not any(client.code for client in found[idle:])
        return found

    with RunningSite(redis_url, options=("--drain", str(seconds))) as site, site.layer() as layer:
        found = asyncio.run(run(site))
        assert {(client.code, client.reason) for client in found} == {(1012, "retry=1")}
        assert max(client.ended for client in found[:idle]) < min(client.ended for client in found[idle:])
        times = sorted(client.ended for client in found)
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert seconds / 2 < times[-1] - times[0] <= seconds + scaled(1.0)
        assert max(gaps) < scaled(1.0)
        order = sorted(range(idle), key=lambda number: found[number].ended)
        assert order != sorted(order)
        assert disconnects(layer, idle + busy) == {1012: idle + busy}
        assert site.interface.wait() == 0
        assert "Drained: 36 WebSocket(s) were closed" in site.interface.output
        assert "Traceback" not in site.output


@pytest.mark.parametrize("first", [signal.SIGTERM, None])
@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_or_sigquit_ends_a_drain_at_once(
    redis_url: str, first: signal.Signals | None, last: signal.Signals
) -> None:
    if first is None and last is not signal.SIGQUIT:
        pytest.skip("a single one of these begins a drain")

    async def run(site: RunningSite) -> None:
        async with site.sockets(5, "/counted"):
            if first is not None:
                site.interface.send_signal(first)
                site.interface.wait_for_line("Draining: 5 WebSocket")
            begun = time.monotonic()
            site.interface.send_signal(last)
            assert site.interface.wait() == 0
            assert time.monotonic() - begun < scaled(8.0)

    with RunningSite(redis_url, options=("--drain", "600")) as site:
        asyncio.run(run(site))


PASS_A_SOCKET = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(listener.fileno(), int(sys.argv[2]))
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""


class SiteOn(RunningSite):
    """A site that listens in one of the ways there are."""

    def __init__(self, kind: str, redis_url: str, folder: Path, *options: str) -> None:
        super().__init__(redis_url, options=options)
        self.kind = kind
        self.path_of_socket = str(folder / "interface.sock")

    def start_interface(self) -> None:
        if self.kind == "port":
            return super().start_interface()
        if self.kind == "unix":
            arguments = ["--unix-socket", self.path_of_socket, "--port", str(self.port)]
            self.interface = self.run("runinterface", *arguments, *self.options)
        else:
            descriptor = self.kind.removeprefix("fd ")
            command = [descriptor, "manage.py", "runinterface", "--fd", descriptor, *self.options]
            self.interface = self.start(sys.executable, "-c", PASS_A_SOCKET, str(self.port), *command)
        return self.interface.wait_for_port(self.port)

    def open(self) -> connect:
        if self.kind == "unix":
            return unix_connect(self.path_of_socket, uri="ws://localhost/room", ping_interval=None, compression=None)
        return self.socket("/room")


@pytest.mark.parametrize(("kind", "processes"), [("port", 2), ("unix", 1), ("fd 9", 1), ("fd 0", 2)])
def test_a_hangup_replaces_the_processes_and_no_attempt_fails(
    redis_url: str, tmp_path: Path, kind: str, processes: int
) -> None:
    async def run(site: SiteOn) -> None:
        before = await asyncio.to_thread(pids, site.interface, processes)
        async with Attempts(site.open).running() as attempts:
            async with clients(site, 10, 2) as found:
                await eventually_async(lambda: attempts.opened > 5, timeout=20)
                site.interface.send_signal(signal.SIGHUP)
                await asyncio.to_thread(pids, site.interface, 2 * processes)
                served = attempts.opened
                await eventually_async(lambda: attempts.opened > served + 5, timeout=20)
            assert {client.code for client in found} == {1012}
            await eventually_async(lambda: not any(map(alive, before)), timeout=30)
            served = attempts.opened
            await eventually_async(lambda: attempts.opened > served + 5, timeout=20)
        assert attempts.failed == []

    with SiteOn(kind, redis_url, tmp_path, "--drain", "2", "--processes", str(processes)) as site:
        with site.layer() as layer:
            asyncio.run(run(site))
            assert disconnects(layer, 12) == {1012: 12}
        assert site.interface.running
        assert site.interface.stop(timeout=30.0) == 0
        assert "Traceback" not in site.output


async def come_back(site: RunningSite, websocket: ClientConnection) -> float:
    """Wait until a socket is closed, come back as it asks, and return the seconds that the handshake took."""
    with suppress(ConnectionClosed):
        await websocket.recv()
    assert (websocket.close_code, websocket.close_reason) == (1012, "retry=1")
    await asyncio.sleep(random.uniform(1, 1.5))
    begun = time.monotonic()
    async with site.socket("/connect-slowly"):
        return time.monotonic() - begun


@pytest.mark.timeout(120)
def test_sockets_come_back_no_faster_than_workers_accept_them(redis_url: str) -> None:
    """Clients give up after four seconds. Here 100 that come back within one second are five seconds of work."""

    async def run(site: RunningSite) -> list[float]:
        async with site.sockets(100, "/connect-slowly") as sockets:
            site.interface.send_signal(signal.SIGHUP)
            return await asyncio.gather(*(come_back(site, websocket) for websocket in sockets))

    options = ("--drain", "1", "--websocket-connect-timeout", str(scaled(5)))
    with RunningSite(redis_url, workers=1, options=options) as site:
        took = asyncio.run(run(site))
        assert max(took) < scaled(3.0)
        site.interface.wait_for_line("Drained: 100 WebSocket")
        assert site.interface.stop() == 0


def test_a_drain_that_waits_for_workers_ends_in_time_when_the_program_is_stopped(redis_url: str) -> None:
    async def run(site: RunningSite) -> None:
        async with site.sockets(60, "/room") as sockets:
            site.stop_workers()
            site.interface.send_signal(signal.SIGHUP)
            (predecessor, _) = await asyncio.to_thread(pids, site.interface, 2)
            await eventually_async(lambda: sum(socket.close_code == 1012 for socket in sockets) > MOST_WAITING)
            site.interface.send_signal(signal.SIGUSR1)
            await asyncio.to_thread(site.interface.wait_for_line, "Statistics: ", occurrences=2)
            begun = time.monotonic()
            site.interface.send_signal(signal.SIGTERM)
            await eventually_async(lambda: not alive(predecessor), timeout=30)
            assert time.monotonic() - begun < scaled(12.0)
            assert {socket.close_code for socket in sockets} == {1012}

    with RunningSite(redis_url, workers=1, options=("--drain", "3")) as site:
        asyncio.run(run(site))
        assert site.interface.wait() == 0
        assert "killing" not in site.interface.output


def test_a_successor_takes_no_client_before_it_has_reached_its_layer(
    redis_url: str, own_redis: RedisServer, tmp_path: Path
) -> None:
    moved = tmp_path / "redis"
    own_redis.stop()
    site = RunningSite(redis_url, options=("--drain", "1"))
    site.environment["MOVED_REDIS_URL"] = str(moved)
    with site:
        moved.write_text(own_redis.url)
        site.interface.send_signal(signal.SIGHUP)
        site.interface.wait_for_line("Sockets stay open; HTTP requests are answered with 503")
        until = time.monotonic() + START_TIMEOUT + 1  # a server that has no predecessor would serve by then
        while time.monotonic() < until:
            assert site.get("/")[0] == 200
        own_redis.start()
        site.interface.wait_for_line("is replaced")
        site.start_workers(1)


def test_a_release_that_does_not_start_leaves_the_old_one_serving(redis_url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"

    async def run(site: RunningSite) -> None:
        async with site.socket("/room") as websocket:
            broken.touch()
            site.interface.send_signal(signal.SIGHUP)
            site.interface.wait_for_line("with the new code ended with status 1: the others keep running the old code")
            broken.unlink()
            assert site.get("/")[0] == 200
            await websocket.send("still here")
            assert await websocket.recv() == "still here"
            site.interface.send_signal(signal.SIGHUP)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(websocket.recv(), scaled(30))
        assert site.get("/")[0] == 200

    site = RunningSite(redis_url, options=("--drain", "1"))
    site.environment["BROKEN"] = str(broken)
    with site:
        asyncio.run(run(site))


def test_a_hangup_of_a_server_without_a_parent_changes_nothing(redis_url: str) -> None:
    with RunningSite(redis_url, workers=1) as site:
        site.interface.send_signal(signal.SIGHUP)
        site.interface.wait_for_line("SIGHUP is ignored: only with --drain or --processes")
        assert site.get("/")[0] == 200


def test_signals_for_a_process_that_has_just_been_killed_break_nothing(redis_url: str) -> None:
    with RunningSite(redis_url, workers=1, options=("--processes", "2")) as site:
        for pid in pids(site.interface, 2):
            for number in (signal.SIGKILL, signal.SIGUSR1):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            site.interface.send_signal(signal.SIGUSR1)
        site.interface.wait_for_line(LISTENS, occurrences=4)
        assert site.get("/")[0] == 200
        assert site.interface.stop() == 0
        assert "Traceback" not in site.output


@pytest.mark.parametrize(
    ("option", "value"), [("--drain", "-1"), ("--drain", "nan"), ("--drain", "inf"), ("--processes", "0")]
)
def test_a_number_that_makes_no_sense_is_named(option: str, value: str) -> None:
    with Process([sys.executable, "manage.py", "runinterface", option, value], cwd=FOLDER) as program:
        assert program.wait() == 1
        assert f"{option} is {value}: expected a number" in program.output
        assert "Traceback" not in program.output


def test_clients_that_wait_to_be_accepted_are_served_before_a_socket_is_closed(redis_url: str) -> None:
    """More at once than one turn of the event loop accepts, and no more than the channel holds (100)."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with RunningSite(redis_url, options=("--drain", "60")) as site, ExitStack() as stack:
        (child,) = pids(site.interface, 1)
        os.kill(child, signal.SIGSTOP)
        waiting = []
        for _ in range(90):
            client = stack.enter_context(socket.create_connection((HOST, site.port), timeout=scaled(50)))
            client.sendall(request)
            waiting.append(client)
        site.interface.send_signal(signal.SIGTERM)
        os.kill(child, signal.SIGCONT)
        assert [client.recv(65536)[:13] for client in waiting] == [b"HTTP/1.1 200 "] * 90
