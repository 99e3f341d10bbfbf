"""Accepts the connections of one listening socket, with limits that begin before a protocol exists.

The event loop would do this itself. But it would count a client only after its TLS handshake, allow that a minute, and
reset clients without a log line when the process has no descriptor left.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from channels_classic._throttled_log import ThrottledLog

logger = logging.getLogger("channels_classic.interface_server")

ACCEPTS_PER_TURN = 64
"""Connections accepted in one turn of the event loop."""

RETRY_INTERVAL = 0.5
"""Seconds until the next attempt when the process or the system has no descriptor or no memory for a connection."""

MAX_HANDSHAKES = 500
"""TLS handshakes in progress; beyond it the oldest, most likely stalled, is cut off."""

EXCESS = 64
"""Connections beyond --max-connections that are accepted to be answered with 503; further ones are closed at once."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_GONE = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM)


@dataclass(frozen=True, slots=True)
class TLS:
    """The TLS context, and the seconds that a handshake may take."""

    context: ssl.SSLContext
    timeout: float


class Acceptor:
    """Accepts from `listener` until it is closed; has the methods that uvicorn calls of an `asyncio.Server`."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
        max_connections: int,
        tls: TLS | None,
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._connections = connections
        self._most = max_connections + EXCESS if max_connections else 0
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._log = ThrottledLog()
        self._handshakes: dict[asyncio.Task[None], None] = {}  # in the order in which they began
        self._retry: asyncio.TimerHandle | None = None
        self._is_open = True
        self._loop.add_reader(listener, self._accept)

    @property
    def handshakes(self) -> int:
        """The number of connections that have no protocol yet."""
        return len(self._handshakes)

    def _accept(self) -> bool:
        """Accept waiting clients; return False if no more can be accepted now."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in _GONE:
                    continue  # the client left while it waited
                self._pause(error)
                return False
            self._admit(client)
        return True

    def _pause(self, error: OSError) -> None:
        """Leave clients in the accept queue for a while: accepting in a loop would take all of a processor."""
        if self._retry is not None:
            return  # already, and now the server drains
        text = "Cannot accept connections: %s. New ones wait until others are closed; see `ulimit -n`."
        if error.errno not in _EXHAUSTED:
            text = "Cannot accept connections: %s."
        self._log.warn(logger, text, error.strerror or error)
        self._loop.remove_reader(self._listener)
        self._retry = self._loop.call_later(RETRY_INTERVAL, self._resume)

    def _resume(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listener, self._accept)

    def _admit(self, client: socket.socket) -> None:
        if self._most and self._connections() + self.handshakes >= self._most:
            self._log.warn(logger, "Closed a connection at once: %d are open. See --max-connections.", self._most)
            client.close()
            return
        if self.handshakes >= MAX_HANDSHAKES and self._tls is not None:
            self._log.warn(
                logger, "Closed a connection whose TLS handshake stalled: %d are in progress.", MAX_HANDSHAKES
            )
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]  # now, because more may come in this turn
            oldest.cancel()
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._connect(client))
        self._handshakes[task] = None
        task.add_done_callback(partial(self._on_connected, client))

    async def _connect(self, client: socket.socket) -> None:
        tls = self._tls
        if tls is None:
            await self._loop.connect_accepted_socket(self._make_protocol, client)
        else:
            await self._loop.connect_accepted_socket(
                self._make_protocol, client, ssl=tls.context, ssl_handshake_timeout=tls.timeout
            )

    def _on_connected(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)
        if task.cancelled():
            client.close()
        elif task.exception() is not None:
            client.close()  # most often it speaks no TLS, or left
            logger.debug("A connection failed before its first byte: %r", task.exception())

    # The end

    def close(self) -> None:
        """Accept nothing more, and end the handshakes in progress."""
        self._stop()
        for task in self._handshakes:
            task.cancel()

    def drain(self) -> None:
        """Accept the waiting clients, which closing the socket would reset, and then no more."""
        while self._is_open and self._accept():
            pass
        self._stop()

    def _stop(self) -> None:
        if self._is_open:
            self._is_open = False
            if self._retry is not None:
                self._retry.cancel()
            else:
                self._loop.remove_reader(self._listener)
