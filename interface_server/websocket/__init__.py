"""WebSockets: the handshake, frames in order to the layer, messages back to the client."""

from __future__ import annotations
