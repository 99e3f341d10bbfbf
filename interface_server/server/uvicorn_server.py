"""Adaptor of uvicorn's server: its configuration and what its `Server` does on start, signals and shutdown.

With `http_protocol` and `websocket_protocol` the only place that depends on undocumented members of uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from channels_classic._metrics.program import ProgramMetrics
from channels_classic._metrics.samples import Samples
from channels_classic.exceptions import CannotListen

from ..application import SESSION
from ..asgi import Application
from ..config import ClientLimits, InterfaceConfig
from ..http.request import Request
from ..layer.session import LayerSession
from ..metrics import samples
from .acceptor import TLS, Acceptor
from .http_protocol import HttpProtocol
from .listen import Listen
from .server_state import ServerState
from .websocket_protocol import WebSocketProtocol

logger = logging.getLogger("channels_classic.interface_server")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""Signals that stop a process; the last one does so at once."""

GRACE = 10
"""Seconds in which responses under way may finish when the server stops."""

FLUSH_TIMEOUT = 2.0
"""Seconds in which the others are answered with 503."""

ABORT_TIMEOUT = 1.0
"""Seconds in which requests learn that their connection was cut off."""

SAMPLES_TIMEOUT = 2.0
"""Seconds that the event loop has to answer a scrape."""

POLL_INTERVAL = 0.05
"""Seconds between checks of what is in progress, as in uvicorn."""


def uvicorn_config(
    application: Application, config: InterfaceConfig, listen: Listen, limits: ClientLimits
) -> uvicorn.Config:
    """Return the configuration for uvicorn. Raises `CannotListen` for a certificate that cannot be loaded."""
    if listen.keyfile and not listen.certfile:
        raise ValueError(
            f"--keyfile {listen.keyfile} is given without --certfile: name the file of the certificate too."
        )
    found = uvicorn.Config(
        application,
        http=partial(HttpProtocol, limits=limits),  # type: ignore[arg-type]  # called like the class
        ws=WebSocketProtocol,
        ws_max_size=limits.max_message,
        ws_ping_interval=config.ping_interval,
        ws_ping_timeout=config.ping_timeout,
        ws_per_message_deflate=config.compression,
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=listen.backlog,
        limit_concurrency=limits.max_connections or None,
        timeout_keep_alive=limits.keep_alive,  # type: ignore[arg-type]  # a float works for the timer
        ssl_certfile=listen.certfile or None,
        ssl_keyfile=listen.keyfile or None,
    )
    try:
        found.load()
    except OSError as error:  # a file that is missing or has no certificate in it
        files = f"{listen.certfile} and {listen.keyfile}" if listen.keyfile else listen.certfile
        raise CannotListen(f"any endpoint with TLS from {files}", error) from error
    return found


class UvicornServer(uvicorn.Server):
    """A `uvicorn.Server` that accepts connections itself, exits cleanly on a signal and sets `ready`."""

    def __init__(
        self,
        config: uvicorn.Config,
        limits: ClientLimits,
        ready: threading.Event,
        metrics: ProgramMetrics | None = None,
    ) -> None:
        super().__init__(config)
        self._state = self.server_state = ServerState()
        self._metrics = metrics
        self._limits = limits
        self._ready = ready
        self._signalled = False
        self._wants_statistics = False
        self._session: LayerSession | None = None

    # Start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and accept connections."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(1)
        self._session = self.lifespan.state.pop(SESSION, None)
        context = self.config.ssl
        tls = TLS(context, self._limits.head_timeout) if context is not None else None
        limit = self._limits.max_connections
        self.servers: list[Any] = [
            Acceptor(listener, self._make_protocol, self._count_connections, limit, tls) for listener in sockets or ()
        ]
        if self._metrics is not None and self._session is not None:
            self._metrics.serve(partial(self._samples, asyncio.get_running_loop(), self._session))
        self.started = True
        self._ready.set()

    def _make_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def _count_connections(self) -> int:
        return len(self.server_state.connections)

    # Statistics

    def _samples(self, loop: asyncio.AbstractEventLoop, session: LayerSession) -> Samples:
        """Return the values of the metrics, from another thread than that of the event loop, which owns them."""

        async def collect() -> Samples:
            found = samples(session)
            for status, number in self._state.refused.items():
                found.add("refused_requests_total", number, str(status))
            return found

        return asyncio.run_coroutine_threadsafe(collect(), loop).result(SAMPLES_TIMEOUT)

    async def on_tick(self, counter: int) -> bool:
        """Log the statistics if a signal asked for them."""
        if self._wants_statistics:
            self._wants_statistics = False
            self._log_statistics()
        return await super().on_tick(counter)

    def _log_statistics(self) -> None:
        connections = self.server_state.connections
        sockets = sum(isinstance(connection, WebSocketProtocol) for connection in connections)
        losses = self._session.losses.as_dict() if self._session else {}
        logger.info(
            "Statistics: %d connection(s), of which %d WebSocket(s); %d TLS handshake(s); %d response(s) since the "
            "start; lost messages: %s.",
            len(connections),
            sockets,
            sum(server.handshakes for server in self.servers) if self.config.ssl else 0,
            self.server_state.total_requests,
            ", ".join(f"{number} {kind}" for kind, number in sorted(losses.items())) or "none",
        )

    # Stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what can be answered within the grace, then cut off the rest.

        Unlike uvicorn's, this cancels no task: a request that is cancelled ends in a bare 500 and a traceback.
        """
        connections = self.server_state.connections
        logger.info("Stopping: %d connection(s) are open; requests may finish within %d s.", len(connections), GRACE)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(connections):
            connection.shutdown()
        await self._wait_for_requests()
        for connection in list(connections):
            connection.transport.abort()
        await self._wait_until_idle(ABORT_TIMEOUT)
        if not self.force_exit:
            await self.lifespan.shutdown()
        logger.info("Stopped." if not self.force_exit else "Stopped at once, by a second signal.")

    async def _wait_for_requests(self) -> None:
        deadline = time.monotonic() + GRACE
        while self._is_busy and not self.force_exit and time.monotonic() < deadline:
            for request in self._requests():
                request.stop_waiting(asyncio.get_running_loop().time())
            await asyncio.sleep(POLL_INTERVAL)
        if self.force_exit:
            return
        for request in self._requests():
            request.flush()
        await self._wait_until_idle(FLUSH_TIMEOUT)

    async def _wait_until_idle(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._is_busy and time.monotonic() < deadline:
            await asyncio.sleep(POLL_INTERVAL)

    @property
    def _is_busy(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks)

    def _requests(self) -> list[Request]:
        clients = self._session.registry.clients.values() if self._session else ()
        return [client for client in clients if isinstance(client, Request)]

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch signals while serving. Unlike uvicorn, do not re-raise them: a requested stop is not an error."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        # A server outlives the terminal it was started from.
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_statistics)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop gracefully on the first signal, at once on the second."""
        self.force_exit = self._signalled or sig == signal.SIGQUIT
        self._signalled = self.should_exit = True

    def _on_statistics(self, sig: int, frame: Any) -> None:
        self._wants_statistics = True
