"""The program that owns client connections: HTTP and WebSocket in, messages on channels out, replies back."""

from __future__ import annotations

from channels_classic.interface_server.application import InterfaceServer
from channels_classic.interface_server.config import InterfaceConfig

__all__ = ["InterfaceConfig", "InterfaceServer"]
