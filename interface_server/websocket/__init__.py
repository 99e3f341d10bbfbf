"""WebSockets: the handshake, frames to the layer in their order, messages back to the client."""

from __future__ import annotations
