"""Class-based consumers."""

from __future__ import annotations

from channels_classic.generic.base import BaseConsumer

__all__ = ["BaseConsumer"]
