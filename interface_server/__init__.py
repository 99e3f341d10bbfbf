"""The program that owns client connections: HTTP and WebSocket in, messages on channels out, replies back."""

from __future__ import annotations

from .application import InterfaceServer
from .config import InterfaceConfig

__all__ = ["InterfaceConfig", "InterfaceServer"]
