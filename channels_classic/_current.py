"""The message whose consumer runs, for log records and traces. Contexts are made in `_isolation`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from channels_classic.message import Message

current_message: ContextVar[Message | None] = ContextVar("channels_classic.current_message", default=None)
"""None outside of consumers."""
