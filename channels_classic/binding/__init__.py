"""Models bound to WebSockets: changes are sent to groups, and frames of clients become changes."""

from __future__ import annotations

from channels_classic.binding.base import Binding

__all__ = ["Binding"]
