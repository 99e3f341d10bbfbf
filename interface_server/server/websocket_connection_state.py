"""The states of the connection of one WebSocket, below those that `websocket/state.py` has for the client."""

from __future__ import annotations

from enum import Enum


class ConnectionState(Enum):
    """The state of a connection."""

    CONNECTING = "connecting"
    """The handshake is not answered."""
    OPEN = "open"
    CLOSING = "closing"
    """A close frame was sent; the client's is awaited."""
    CLOSED = "closed"
    """The last bytes were given to the transport; what still comes is ignored."""
