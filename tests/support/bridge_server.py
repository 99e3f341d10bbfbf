"""A small WebSocket server for tests of the browser client. It also serves the page.

It runs in threads, because the thread of a test that drives a browser has a running event loop.
"""

from __future__ import annotations

import queue
import threading
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from channels_classic.interface_server.cursors import cursors_of
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.sync_api import Page

TIMEOUT = scaled(10)
"""Seconds that a test waits for a socket or a frame."""

PAGE = b'<!doctype html><script src="/websocketbridge.js"></script>'


def recorded(page: Page, count: int) -> Any:
    """Return the list `recorded` of a page, when there are at least `count` entries."""
    page.wait_for_function("(count) => recorded.length >= count", arg=count)
    return page.evaluate("recorded")


def path_of(connection: ServerConnection) -> str:
    """Return the path of a handshake."""
    assert connection.request is not None
    return connection.request.path


def offered(connection: Any) -> tuple[str, dict[str, str] | None]:
    """Return the first sub-protocol that a page offers, and the cursors in the second, as an interface server does."""
    protocols = connection.request.headers["Sec-WebSocket-Protocol"].split(", ")
    return protocols[0], cursors_of(protocols)


class BridgeServer:
    """Serves a page with the script at `server.url`: `with BridgeServer(script) as server:`."""

    def __init__(self, script: Path, page: bytes = PAGE) -> None:
        self._files = {"/": ("text/html", page), f"/{script.name}": ("text/javascript", script.read_bytes())}
        self._sockets: queue.Queue[ServerConnection] = queue.Queue()
        self.refused: list[str] = []
        """Paths of the handshakes that were refused because `refusing` was set."""
        self.refusing = False
        self._frames: queue.Queue[str | bytes] = queue.Queue()
        self._server: Server = serve(
            self._receive,
            "127.0.0.1",
            0,
            process_request=self._respond,
            compression=None,
            subprotocols=None,
            select_subprotocol=lambda connection, offered: offered[0] if offered else None,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="bridge-server")

    def __enter__(self) -> BridgeServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()

    @property
    def host(self) -> str:
        """The host and port of the server."""
        host, port = self._server.socket.getsockname()
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        """The URL of the page."""
        return f"http://{self.host}/"

    def socket(self) -> ServerConnection:
        """Return the next socket that a browser opens."""
        return self._sockets.get(timeout=TIMEOUT)

    def frame(self) -> str | bytes:
        """Return the next frame of any socket."""
        return self._frames.get(timeout=TIMEOUT)

    @property
    def has_another_socket(self) -> bool:
        """Return True if a socket was opened that the test has not received yet."""
        return not self._sockets.empty()

    def _respond(self, connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" not in request.headers:
            kind, body = self._files.get(request.path, ("text/plain", b""))
            headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
            return Response(HTTPStatus.OK, "OK", headers, body)
        if self.refusing:
            self.refused.append(request.path)
            return connection.respond(HTTPStatus.FORBIDDEN, "")
        return None

    def _receive(self, connection: ServerConnection) -> None:
        self._sockets.put(connection)
        try:
            for frame in connection:
                self._frames.put(frame)
        except ConnectionClosed:
            pass
