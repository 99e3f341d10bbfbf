"""Adaptor of uvicorn's server: what its `Server` does on start, signals and shutdown.

With `http_protocol`, `stream_protocol`, `unchunked` and `websocket_protocol` the only place that depends on
undocumented members of uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import uvicorn

from channels_classic._health import STUCK_AFTER, Health
from channels_classic._metrics.samples import Samples
from channels_classic.layers import rng

from ..application import SESSION
from ..config import ClientLimits
from ..http.request import Request
from ..layer.session import STOP_TIMEOUT, LayerSession
from ..metrics import samples
from ..websocket.connection import WebSocket
from ..websocket.inbound import CONNECT, DISCONNECT
from .acceptor import TLS, Acceptor
from .connect_rate import ConnectRate
from .drain import MAX_SLOWDOWN, MOST_WAITING, REASON, DrainSchedule, Pace
from .http_protocol import HttpProtocol
from .observer import ServerObserver
from .server_state import ServerState
from .stream_protocol import StreamProtocol
from .websocket_protocol import WebSocketProtocol

logger = logging.getLogger("channels_classic.interface_server")

C = TypeVar("C", Request, WebSocket)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""Signals that stop a process; the last one does so at once."""

SHUTDOWN_GRACE = 10
"""Seconds in which responses in progress may finish when the server stops, if --drain does not allow more."""

FLUSH_TIMEOUT = 2.0
"""Seconds in which the others are answered with 503."""

PREDECESSOR_TIMEOUT = 130.0
"""Seconds after which a successor serves without a layer: longer than its supervisor keeps the server before it."""

ABORT_TIMEOUT = 1.0
"""Seconds in which requests learn that their connection was cut off."""

SAMPLES_TIMEOUT = 2.0
"""Seconds that the event loop has to answer a scrape."""

BEAT_INTERVAL = 0.2
"""Seconds between two calls of `ServerObserver.beat`."""

POLL_INTERVAL = 0.05
"""Seconds between checks of what is in progress, as in uvicorn."""


def stop_timeout(drain: float, *, is_replaced: bool = False) -> float:
    """Return the most seconds that a process takes to stop; with `is_replaced`, while its successor serves."""
    drain *= MAX_SLOWDOWN if is_replaced else 1
    return max(SHUTDOWN_GRACE, drain) + FLUSH_TIMEOUT + ABORT_TIMEOUT + STOP_TIMEOUT


class UvicornServer(uvicorn.Server):
    """A `uvicorn.Server` that accepts connections itself and exits cleanly on a signal.

    It calls `on_listening` when it accepts clients, and reports further changes to `observer`. When it stops it closes
    its WebSockets over `drain` seconds.
    """

    server_state: ServerState

    def __init__(
        self,
        config: uvicorn.Config,
        limits: ClientLimits,
        rate: ConnectRate | None,
        drain: float,
        on_listening: Callable[[], object],
        observer: ServerObserver,
    ) -> None:
        super().__init__(config)
        self.server_state = ServerState()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain_time = drain
        self._limits = limits
        self._connect_rate = rate
        self._on_listening = on_listening
        self._observer = observer
        self._reported: Health | None = None
        self._beat_at = math.inf
        self._started_at = time.monotonic()
        self._signalled_at: float | None = None
        self._hung_up = False
        self._wants_statistics = False
        self._session: LayerSession | None = None

    # Start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and accept connections."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(1)
        self._session = self.lifespan.state.pop(SESSION, None)
        if self._session is not None:
            self._session.stats.refused = self.server_state.refused
        self._loop = asyncio.get_running_loop()
        self._beat()
        if self._observer.is_successor:
            await self._layer_reached()
        context = self.config.ssl
        tls = TLS(context, self._limits.head_timeout) if context is not None else None
        limit = self._limits.max_connections
        self.servers: list[Any] = [
            Acceptor(listener, self._make_protocol, self._count_connections, limit, tls) for listener in sockets or ()
        ]
        self.started = True
        self._on_listening()

    async def _layer_reached(self) -> None:
        """Return when the channel layer is reached, or when the server is stopped.

        Until then it would answer 503 to clients that the server before it can serve: its layer may be another one, by
        a mistake in new settings.
        """
        until = time.monotonic() + PREDECESSOR_TIMEOUT
        while self._session_health is Health.LAYER_DOWN and not self.should_exit and time.monotonic() < until:
            await asyncio.sleep(POLL_INTERVAL)

    def _make_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def _count_connections(self) -> int:
        return len(self.server_state.connections)

    # While it serves

    @property
    def health(self) -> Health:
        """The state of the server. May be asked for by any thread."""
        if self.should_exit:
            return Health.STOPPING
        if not self.started:
            return Health.STARTING
        if time.monotonic() > self._beat_at + STUCK_AFTER:
            return Health.STUCK
        return self._session_health

    @property
    def _session_health(self) -> Health:
        return Health.READY if self._session is None else self._session.health

    def _beat(self) -> None:
        """Show that the event loop runs, until the end of the process, and report whether clients can be served."""
        self._beat_at = time.monotonic()
        state = self._session_health
        if state is not self._reported and state is not Health.STOPPING:
            self._reported = state
            self._observer.changed(state)
        self._observer.beat()
        asyncio.get_running_loop().call_later(BEAT_INTERVAL, self._beat)

    def samples(self) -> Samples:
        """Return the values of the metrics. In another thread than that of the event loop, which owns them.

        Once the loop is closed, nothing changes them.
        """
        if self._loop is None or self._session is None:
            return Samples()
        found: Future[Samples] = Future()
        if self._loop.is_closed():
            self._collect(self._session, found)
        else:
            self._loop.call_soon_threadsafe(self._collect, self._session, found)
        return found.result(SAMPLES_TIMEOUT)

    def _collect(self, session: LayerSession, found: Future[Samples]) -> None:
        try:
            collected = samples(session)
        except Exception as error:
            found.set_exception(error)
        else:
            found.set_result(collected)

    async def on_tick(self, counter: int) -> bool:
        """Do what signals asked for."""
        if self._wants_statistics:
            self._wants_statistics = False
            self._log_statistics()
        if self._hung_up:
            self._hung_up = False
            logger.info("SIGHUP is ignored: only with --drain or --processes is there a parent to start a successor.")
        return await super().on_tick(counter)

    def _log_statistics(self) -> None:
        connections = self.server_state.connections
        sockets = sum(isinstance(connection, (WebSocketProtocol, StreamProtocol)) for connection in connections)
        losses = self._session.losses.as_dict() if self._session else {}
        logger.info(
            "Statistics: %d connection(s), of which %d WebSocket(s); %d TLS handshake(s); %d response(s) since the "
            "start; %d handshake(s) waited for --connect-rate, %d were refused; lost messages: %s.",
            len(connections),
            sockets,
            sum(server.handshakes for server in self.servers) if self.config.ssl else 0,
            self.server_state.total_requests,
            self._connect_rate.waited if self._connect_rate else 0,
            self._connect_rate.refused if self._connect_rate else 0,
            ", ".join(f"{number} {kind}" for kind, number in sorted(losses.items())) or "none",
        )

    # Stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what can be answered within the grace, then cut off the rest.

        Unlike uvicorn's, this cancels no task: a request that is cancelled ends in a bare 500 and a traceback.
        """
        connections = self.server_state.connections
        grace = max(SHUTDOWN_GRACE, self._drain_time)
        deadline = time.monotonic() + grace
        self._observer.stopping()
        logger.info("Stopping: %d connection(s) are open; requests may finish within %g s.", len(connections), grace)
        if self._session is not None:
            self._session.is_stopping = True
        for server in self.servers:
            stop_accepting = server.drain if self._drain_time else server.close
            stop_accepting()
        for listener in sockets or ():
            listener.close()
        if self._drain_time:
            await self._drain()
        for server in self.servers:
            server.close()
        for connection in list(connections):
            connection.shutdown()
        await self._wait_for_requests(deadline)
        for connection in list(connections):
            connection.transport.abort()
        await self._wait_until_idle(ABORT_TIMEOUT)
        if not self.force_exit:
            await self.lifespan.shutdown()
        logger.info(
            "%d response(s) in %.0f s. %s",
            self.server_state.total_requests,
            time.monotonic() - self._started_at,
            "Stopped." if not self.force_exit else "Stopped at once, by SIGQUIT or a second signal.",
        )

    async def _drain(self) -> None:
        """Close the sockets one by one, while requests are answered and pending handshakes are decided."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        schedule: DrainSchedule[WebSocket | Request] = DrainSchedule(begun, self._drain_time, rng.shuffle)
        schedule.add(self._to_be_drained())
        if self._connect_rate is not None and self._has_time:
            schedule.extend(begun + self._connect_rate.seconds_for(schedule.waiting))
        logger.info("Draining: %d WebSocket(s) are closed within %g s.", schedule.waiting, schedule.end - begun)
        pace, closed, now = Pace(), 0, begun
        while self._is_busy and not self.force_exit and now < schedule.end:
            turn, now = now, loop.time()
            await self.on_tick(0)
            for connection in list(self.server_state.connections):
                if isinstance(connection, HttpProtocol):
                    connection.finish()
            schedule.add(self._to_be_drained())
            if self._has_time:
                schedule.postpone(pace.turn(now - turn, is_behind=await self._are_workers_behind()))
            else:
                schedule.shorten(now + self._drain_time)
            closed += _close_due(schedule, now)
            for request in self._clients(Request):
                request.stop_waiting(now)
            await asyncio.sleep(POLL_INTERVAL)
        logger.info("Drained: %d WebSocket(s) were closed in %.1f s.", closed, loop.time() - begun)

    @property
    def _has_time(self) -> bool:
        """True if the drain may take longer: a successor serves, and nobody has asked for the end of both."""
        return self._observer.is_replaced and self._signalled_at is None

    async def _are_workers_behind(self) -> bool:
        """Return True if clients that came back now would wait for workers."""
        return self._session is not None and await self._session.has_waiting((CONNECT, DISCONNECT), MOST_WAITING)

    def _to_be_drained(self) -> list[WebSocket | Request]:
        """Return the clients that would not leave by themselves."""
        return [*self._clients(WebSocket), *(each for each in self._clients(Request) if each.is_event_stream)]

    async def _wait_for_requests(self, deadline: float) -> None:
        while self._is_busy and not self.force_exit and time.monotonic() < deadline:
            for request in self._clients(Request):
                request.stop_waiting(asyncio.get_running_loop().time())
            await asyncio.sleep(POLL_INTERVAL)
        if self.force_exit:
            return
        for request in self._clients(Request):
            request.flush()
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpProtocol):
                connection.give_up_body()
        await self._wait_until_idle(FLUSH_TIMEOUT)

    async def _wait_until_idle(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._is_busy and time.monotonic() < deadline:
            await asyncio.sleep(POLL_INTERVAL)

    @property
    def _is_busy(self) -> bool:
        handshakes = sum(server.handshakes for server in self.servers)
        return bool(self.server_state.connections or self.server_state.tasks or handshakes)

    def _clients(self, kind: type[C]) -> list[C]:
        clients = self._session.registry.clients.values() if self._session else ()
        return [client for client in clients if isinstance(client, kind)]

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch signals while serving. Unlike uvicorn, do not re-raise them: a requested stop is not an error."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        # A server outlives the terminal it was started from.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under a supervisor, which handles it
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_statistics)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop gracefully on the first signal, at once on the second.

        A process that is replaced may get the first one twice: from its supervisor, and from systemd, which by default
        sends it to all processes of a unit.
        """
        now = time.monotonic()
        if self._signalled_at is not None and not (self._observer.is_replaced and now < self._signalled_at + 1.0):
            self.force_exit = True
        self._signalled_at = self._signalled_at or now
        self.force_exit = self.force_exit or sig == signal.SIGQUIT
        self.should_exit = True

    def _on_hangup(self, sig: int, frame: Any) -> None:
        self._hung_up = True

    def _on_statistics(self, sig: int, frame: Any) -> None:
        self._wants_statistics = True


def _close_due(schedule: DrainSchedule[WebSocket | Request], now: float) -> int:
    """Close the clients that are due; return how many."""
    due = list(schedule.due(now, lambda client: client.is_idle(now)))
    for client in due:
        client.restart(REASON)
    return len(due)
