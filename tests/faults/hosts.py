"""Hosts of their own on this machine: network namespaces, each with a line to the servers and a line to its clients.

The addresses are from 198.18.0.0/16, which is set aside for tests of networks (RFC 2544).
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.asyncio.client import connect

from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.running_site import MANAGE
from tests.support.waiting import accepts_connections, eventually, scaled

PORT = 8000
"""Of the interface servers: each host has all ports for itself."""

_NOBODY = "02:00:00:00:00:01"
"""A hardware address that nobody has."""


class Unavailable(Exception):
    """There can be no hosts here; says why."""


class Host:
    """A network namespace. Its two lines end in this one, where the servers and the clients are."""

    def __init__(self, block: int, number: int) -> None:
        self.name = f"host{block}-{number}"
        self._base = f"198.18.{block}"
        self._first = 8 * number
        self._lines = {"back": f"cc{block}-{number}b", "front": f"cc{block}-{number}f"}
        self.server_address = f"{self._base}.{self._first + 1}"
        self.back = f"{self._base}.{self._first + 2}"
        self.front = f"{self._base}.{self._first + 6}"

    def create(self) -> None:
        """Raises `Unavailable`."""
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        self._line(self._lines["back"], self.server_address, self.back)
        self._line(self._lines["front"], f"{self._base}.{self._first + 5}", self.front)

    def _line(self, here: str, address_here: str, address_there: str) -> None:
        there = f"{here}-in"
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        _ip("address", "add", f"{address_here}/30", "dev", here)
        _ip("-n", self.name, "address", "add", f"{address_there}/30", "dev", there)
        _ip("link", "set", here, "up")
        _ip("-n", self.name, "link", "set", there, "up")

    def remove(self) -> None:
        """Its lines go with it."""
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)

    def start(self, server: RedisServer, *, timeout: float) -> None:
        """Start an interface server and a worker here; how many seconds they wait for an answer of the server."""
        options = f"socket_timeout={timeout}&socket_connect_timeout={timeout}"
        self._url = f"redis://{self.server_address}:{server.port}/0?{options}"
        self.interface = self._run("runinterface", "--bind", self.front, "--port", str(PORT))
        self.worker = self._run("runworker")

    def ready(self) -> None:
        """Return when both work."""
        eventually(lambda: accepts_connections(PORT, self.front), timeout=30)
        self.worker.wait_for_line("Listening on channels")

    def _run(self, *arguments: str) -> Process:
        command: list[str | Path] = ["ip", "netns", "exec", self.name, sys.executable, MANAGE, *arguments]
        return Process(command, env={"DJANGO_SETTINGS_MODULE": None, "REDIS_URL": self._url})

    def stop(self) -> None:
        """End what was started."""
        for program in (getattr(self, "worker", None), getattr(self, "interface", None)):
            if program is not None:
                program.stop()

    def socket(self, path: str = "/room") -> connect:
        """One socket to the interface server of this host, to be opened with `async with`."""
        address = f"ws://{self.front}:{PORT}{path}"
        return connect(address, open_timeout=scaled(30), ping_interval=None, compression=None, max_queue=None)

    def pull_the_plug(self) -> None:
        """Nothing passes between this host and the servers until `mend`."""
        _ip("link", "set", self._lines["back"], "down")

    def deafen(self) -> None:
        """Drop packets from the servers to this host until `mend`; the other direction works."""
        _ip("neighbour", "replace", self.back, "lladdr", _NOBODY, "dev", self._lines["back"], "nud", "permanent")

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The interface server does nothing during the block; its connections stay open."""
        self.interface.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.interface.send_signal(signal.SIGCONT)

    def mend(self) -> None:
        """Everything passes again."""
        _ip("link", "set", self._lines["back"], "up")
        _ip("neighbour", "flush", "dev", self._lines["back"], "nud", "permanent")


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Hosts, as many as asked for. Raises `Unavailable`."""
    if shutil.which("ip") is None:
        raise Unavailable("there is no program `ip` here: `scripts/provide iproute2` installs it")
    # Others may do the same beside us; a block that they have is refused, and then another one is tried.
    for block in random.sample(range(256), 20):
        made = [Host(block, number + 1) for number in range(count)]
        try:
            made[0].create()
        except Unavailable as error:
            if "File exists" in str(error):
                continue
            raise
        break
    try:
        for host in made[1:]:
            host.create()
        yield made
    finally:
        for host in made:
            host.stop()
            host.remove()


def _ip(*words: str) -> None:
    found = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if found.returncode:
        raise Unavailable(f"`ip {' '.join(words)}`: {found.stderr.strip()}")
