"""The HTTP server behind `--health` and `--metrics`, on a port that is not for the public but may be reached by it.

Whoever reaches it can hold a few threads and descriptors of the program, and nothing more.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from channels_classic._options import parse_address
from channels_classic.exceptions import CannotListen

MAX_CONNECTIONS = 32
"""Connections at once; beyond it the oldest is closed. A probe or a scrape takes milliseconds, so it is never one."""


BACKLOG = 1024
"""Connections that may wait to be accepted; beyond it a probe would wait for a second."""

RETRY_INTERVAL = 0.1
"""Seconds until the next attempt when a connection cannot be accepted, most likely because no descriptor is left."""


def _listen(name: str, address: str) -> socket.socket:
    host, port = parse_address(name, address)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise CannotListen(address, error, name) from error
    return listener


class ProbeServer(ThreadingHTTPServer):
    """Answers each connection to the `address` that the option `name` has, `HOST:PORT`, in a thread.

    Listens from the start. Raises `CannotListen` and `ValueError`.
    """

    daemon_threads = True

    def __init__(self, name: str, address: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}  # the oldest comes first
        listener = _listen(name, address)
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()  # the one of the base class, which is for IPv4
        self.socket = listener

    def get_request(self) -> Any:
        """Accept a connection. To try again at once, when it cannot be accepted, would take all of a processor."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(RETRY_INTERVAL)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread; end the one of the oldest connection if there are too many."""
        with self._lock:
            self._open[request] = None
            if len(self._open) > MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that has ended."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback, unless the client left: many probes of ports do, every few seconds."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
