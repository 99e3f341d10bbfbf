"""The health of a program for load balancers and orchestrators: live, ready, and why not.

`HealthServer` answers on a port of its own, which is not for the public. It runs in a thread and asks for the state at
each request, so that a program that is busy or waits for its layer is answered for all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from http.server import BaseHTTPRequestHandler
from typing import Any

from channels_classic._probe_server import ProbeServer

STUCK_AFTER = 10.0
"""Seconds without a heartbeat after which a process counts as stuck."""


class Health(Enum):
    """The state of a program, with the text of its answer."""

    STARTING = "starting"
    READY = "ok"
    LAYER_DOWN = "the channel layer is down"
    NO_WORKER = "no worker was heard of"
    STOPPING = "stopping"
    STUCK = "stuck"


LIVE, READY = "/live", "/ready"
"""The paths: `LIVE` is answered with 200 while the program works or stops, `READY` with 200 only while it works."""


def answer(state: Health, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Return the status and the body for a request; the path `/` means `READY`."""
    if path not in (LIVE, READY, "/"):
        return 404, f"Ask for {LIVE} or {READY}.\n".encode()
    if method not in ("GET", "HEAD"):
        return 405, b"Use GET or HEAD.\n"
    is_well = state is not Health.STUCK if path == LIVE else state is Health.READY
    return 200 if is_well else 503, f"{state.value}\n".encode()


class HealthServer:
    """Answers on `address`, `HOST:PORT`, inside a `with` block. Raises `CannotListen` and `ValueError`."""

    def __init__(self, address: str, state: Callable[[], Health]) -> None:
        class Handler(_Handler):
            health = staticmethod(state)

        self._server = ProbeServer("--health", address, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._server.socket.getsockname()[1]
        return port

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    timeout = 10.0  # seconds for a request to arrive
    protocol_version = "HTTP/1.1"
    health: Callable[[], Health]

    def _answer(self) -> None:
        status, body = answer(self.health(), self.path.partition("?")[0], self.command)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        if status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: probes come every few seconds."""
