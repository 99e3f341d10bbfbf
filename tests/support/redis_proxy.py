"""A TCP proxy between a program and a Redis server, for faults that a server alone cannot have.

It forwards commands and replies one by one, and knows which reply belongs to which command. A fault is armed for the
next command that contains a text, such as `BLMPOP`, a key, or the digest of a script.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import eventually, scaled


class Fault(Enum):
    """A fault that happens to one command."""

    CUT_BEFORE = "the connection is cut, and the server never sees the command"
    CUT_AFTER = "the server runs the command, then the connection is cut instead of the reply"
    SWALLOW = "the server runs the command, the reply does not arrive, and the connection stays open"
    FLUSH = "the server runs the command, then loses all of its data, and the reply arrives"


BREAKS = (Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.SWALLOW)
"""The faults that keep an answer from its command."""


@dataclass
class Armed:
    """A fault that waits for its command. `happened` is set when the command came, of `FLUSH` when the data is gone."""

    fault: Fault
    text: bytes
    happened: threading.Event = field(default_factory=threading.Event)


class RedisProxy:
    """Listens on a port of its own and forwards to `server` from `start` to `close`.

    `delay` is in seconds, for each reply. Connections that say nothing for `idle_timeout` seconds are closed, as by the
    `timeout` of a server or a firewall; a blocked `BLMPOP` counts as idle.
    """

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.port = free_port()
        self.delay = 0.0
        self.idle_timeout: float | None = None
        self._armed: list[Armed] = []
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redis-proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start to listen."""
        self._thread.start()
        self._listener = self._run(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    def close(self) -> None:
        """Stop, and close all connections."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(scaled(5))
        self._loop.close()

    def arm(self, fault: Fault, text: str) -> Armed:
        """Let `fault` happen to the next command that contains `text`."""
        armed = Armed(fault, text.encode())
        self._armed.append(armed)
        return armed

    def disarm(self) -> None:
        """Let no fault happen any more."""
        self._armed.clear()

    def inject(self, fault: Fault, text: str, timeout: float = 10) -> None:
        """Arm a fault and wait until it happened."""
        eventually(self.arm(fault, text).happened.is_set, timeout)

    def cut(self) -> None:
        """Cut all connections now."""
        self._run(self._cut())

    async def _cut(self) -> None:
        for connection in list(self._connections):
            connection.close()

    async def _close(self) -> None:
        self._listener.close()
        await self._cut()
        await asyncio.sleep(0.05)  # transports close on the next turns of the loop

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(scaled(10))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self.server.port)
        except OSError:
            writer.close()
            return
        connection = _Connection(self, (reader, writer), there)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def take_armed(self, command: bytes) -> Armed | None:
        """Return the fault that happens to a command now."""
        for armed in self._armed:
            if armed.text in command:
                self._armed.remove(armed)
                if armed.fault is not Fault.FLUSH:
                    armed.happened.set()
                return armed
        return None


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One client: commands there, replies back, each with the fault of its command."""

    def __init__(self, proxy: RedisProxy, here: Streams, there: Streams) -> None:
        self._proxy = proxy
        self._here = here
        self._there = there
        self._faults: deque[Armed | None] = deque()
        self._last = asyncio.get_running_loop().time()

    async def run(self) -> None:
        ways = [asyncio.ensure_future(way) for way in (self._commands(), self._replies(), self._watch())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    def close(self) -> None:
        for _, writer in (self._here, self._there):
            writer.transport.abort()

    async def _commands(self) -> None:
        while command := await read_frame(self._here[0]):
            self._last = asyncio.get_running_loop().time()
            armed = self._proxy.take_armed(command)
            if armed and armed.fault is Fault.CUT_BEFORE:
                return
            self._faults.append(armed)
            self._there[1].write(command)

    async def _replies(self) -> None:
        while reply := await read_frame(self._there[0]):
            armed = self._faults.popleft()
            fault = armed and armed.fault
            if fault is Fault.CUT_AFTER:
                return
            if self._proxy.delay:
                await asyncio.sleep(self._proxy.delay)
            if armed and fault is Fault.FLUSH:
                await asyncio.to_thread(self._proxy.server.flush)
                armed.happened.set()
            if fault is not Fault.SWALLOW:
                self._last = asyncio.get_running_loop().time()
                self._here[1].write(reply)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            limit = self._proxy.idle_timeout
            if limit is not None and asyncio.get_running_loop().time() - self._last > limit:
                return


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes of one command or reply of RESP2, and none at the end of the stream."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        head = await reader.readuntil(b"\r\n")
        length = int(head[1:]) if head[:1] in b"$*" else -1
        if length < 0:
            return head
        if head[:1] == b"$":
            return head + await reader.readexactly(length + 2)
        return head + b"".join([await read_frame(reader) for _ in range(length)])
    return b""
