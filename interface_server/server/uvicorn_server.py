"""Adaptor of uvicorn's server: its configuration and what its `Server` does on start, signals and shutdown.

With `http_protocol` and `websocket_protocol` the only place that depends on undocumented members of uvicorn.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from channels_classic.exceptions import CannotListen

from ..asgi import Application
from ..config import ClientLimits, InterfaceConfig
from .http_protocol import HttpProtocol
from .listen import Listen
from .websocket_protocol import WebSocketProtocol

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""Signals that stop a process; the last one does so at once."""

SHUTDOWN_GRACE = 10
"""Seconds in which responses under way may finish when the server stops."""


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
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
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
    """A `uvicorn.Server` that exits cleanly on a signal and sets `ready`."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._signalled = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch signals while serving. Unlike uvicorn, do not re-raise them: a requested stop is not an error."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        # A server outlives the terminal it was started from.
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop gracefully on the first signal, at once on the second."""
        self.force_exit = self._signalled or sig == signal.SIGQUIT
        self._signalled = self.should_exit = True
