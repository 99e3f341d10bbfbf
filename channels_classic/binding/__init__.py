"""Models bound to sockets: changes go out to groups, and come in as frames."""

from __future__ import annotations

from channels_classic.binding.base import Binding

__all__ = ["Binding"]
