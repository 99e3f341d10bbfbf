"""The message that is passed to a consumer: what was taken from a channel, and the channel to reply on.

The worker makes it, routing reads it, decorators attach `user` and sessions to it.
"""

from __future__ import annotations

import copy
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from channels_classic._pending import PendingMessageStore, Trace, pending_message_store
from channels_classic.channel import Channel

__all__ = ["Message", "PendingMessageStore", "Trace", "pending_message_store"]


class Message:
    """A message with dict-like access to its `content`, which is the dict that was passed in.

    `channel` is the channel it came from and `reply_channel` the one to answer on, or `None` if there is none;
    both are on `channel_layer`, or on the default layer when that is `None`.
    """

    # Attached by the decorators of `channels_classic.sessions` and `channels_classic.auth`.
    channel_session: Any
    http_session: Any
    user: Any

    in_turn: bool = False
    """True if the interface server sent it only after the earlier messages of its socket had been consumed."""

    @staticmethod
    def is_stopping() -> bool:
        """Return True if the worker that consumes it was asked to stop; what has no end should end then."""
        return False

    @property
    def request_id(self) -> str:
        """The name of the request or socket, which the access log has too; empty for a message without a client."""
        return self.reply_channel.name.partition("!")[2] if self.reply_channel is not None else ""

    @property
    def trace_context(self) -> dict[str, str]:
        """The W3C trace context of the request or handshake: `traceparent` and `tracestate`, as far as given."""
        found = {name: self.content.get(name) for name in ("traceparent", "tracestate")}
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def __init__(self, content: dict[str, Any], channel_name: str | None, channel_layer: Any) -> None:
        self.content = content
        self.channel_layer = channel_layer
        self.channel = Channel(channel_name, channel_layer=channel_layer)  # type: ignore[arg-type]  # None is tolerated
        reply_channel = content.get("reply_channel")
        self.reply_channel = Channel(reply_channel, channel_layer=channel_layer) if reply_channel else None

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.content[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def keys(self) -> KeysView[str]:
        """Return the keys of the content."""
        return self.content.keys()

    def values(self) -> ValuesView[Any]:
        """Return the values of the content."""
        return self.content.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the pairs of the content."""
        return self.content.items()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        return self.content.get(key, default)

    def copy(self) -> Message:
        """Return a message of the same class with a deep copy of the content, without attached attributes."""
        return self.__class__(copy.deepcopy(self.content), self.channel.name, self.channel_layer)

    def with_values(self, **values: Any) -> Message:
        """Return a message of the same class with other values in its content; the remaining ones are shared."""
        other = object.__new__(self.__class__)
        other.content = {**self.content, **values}
        other.channel_layer = self.channel_layer
        other.channel = self.channel
        other.reply_channel = self.reply_channel
        return other
