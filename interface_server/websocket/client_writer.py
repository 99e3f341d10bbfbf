"""The sending side of one WebSocket: the answer to its handshake, its messages, its close frame.

A frame goes to the transport at once if our own server offers that and takes it, and nothing is queued before it.
Everything else waits in the queue. Knows no state of the socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..asgi import SendEvent
from ..frames import encode_frame
from .send_queue import SendQueue


class ClientWriter(SendQueue):
    """Passes frames and events to the server; `raw` is its extension, if it is our own."""

    __slots__ = ("_raw", "_write")

    def __init__(self, send: SendEvent, raw: Mapping[str, Any] | None, path: str) -> None:
        super().__init__(send, path)
        self._raw = raw
        self._write: Callable[[bytes], bool] | None = raw["write"] if raw else None

    def accept(self, subprotocol: str | None) -> None:
        """Accept the handshake."""
        self.put({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    def deny(self, status: int, extensions: Mapping[str, Any]) -> None:
        """Answer the handshake with an HTTP status; servers without the denial extension can only send 403."""
        if status == 403 or "websocket.http.response" not in extensions:
            self.put({"type": "websocket.close"})
            return
        body = b"Too many requests.\n" if status == 429 else b"Service unavailable.\n"
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5")]
        self.put({"type": "websocket.http.response.start", "status": status, "headers": headers})
        self.put({"type": "websocket.http.response.body", "body": body})

    def write(self, frame: bytes) -> bool:
        """Write a frame to the transport; return False if the server declines or earlier events are still queued."""
        return self._write is not None and self.idle and self._write(frame)

    def send(self, payload: str | bytes) -> bool:
        """Send a message; return False if it is queued."""
        if self.write(encode_frame(payload)):
            return True
        key = "text" if isinstance(payload, str) else "bytes"
        self.put({"type": "websocket.send", key: payload}, len(payload))
        return False

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""
        self.put({"type": "websocket.close", "code": code, "reason": reason})

    def abort(self) -> None:
        """Close the connection at once, without a close frame, if the server offers that."""
        if self._raw is not None:
            self._raw["abort"]()

    @property
    def buffered(self) -> int:
        """The bytes that wait here, and those that the server holds for this connection in either direction."""
        return self.held + (self._raw["buffered"]() if self._raw is not None else 0)
