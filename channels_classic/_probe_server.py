"""The HTTP server behind `--health` and `--metrics`, on a port that is not for the public but may be reached by it.

Whoever reaches it can hold a few threads and descriptors of the program, and nothing more.
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

MAX_CONNECTIONS = 32
"""Connections at once; beyond it the oldest is closed. A probe or a scrape takes milliseconds, so it is never that."""


BACKLOG = 1024
"""Connections that may wait to be accepted; beyond it a probe would wait for a second."""


class ProbeServer(ThreadingHTTPServer):
    """Answers each connection in a thread."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}  # the oldest comes first
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Bind without looking up the name of the host, which can take seconds."""
        TCPServer.server_bind(self)

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
