"""Channels and groups as a project sends to them, from a consumer or from any other process.

A message goes to the channel layer at once or, inside a consumer, when the consumer returns. How a layer stores it is
not known here.
"""

from __future__ import annotations

from typing import Any

from channels_classic._debug_notices import warn_of_unrouted_channel
from channels_classic._pending import pending_message_store
from channels_classic.asgi import channel_layers
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import InvalidMessage

__all__ = ["Channel", "Group"]


class _Address:
    """A name on a layer; the layer checks the name when something is sent."""

    def __init__(self, name: str | bytes, alias: str = DEFAULT_CHANNEL_LAYER, channel_layer: Any = None) -> None:
        self.name: str = name.decode("ascii") if isinstance(name, bytes) else name
        self.channel_layer: Any = channel_layer or channel_layers[alias]

    def __str__(self) -> str:
        return self.name

    def send(self, content: dict[str, Any], immediately: bool = False) -> None:
        """Send a message: inside a consumer when it returns, otherwise or with ``immediately`` now.

        Sends of one consumer keep their order. ``content`` is copied, not deeply, when it has to wait. Raises
        ``InvalidMessage`` for what is not a dict and, when sending now, the errors of the layer.
        """
        if not isinstance(content, dict):
            raise InvalidMessage(self.name, f"it is of type {type(content).__name__}")
        if pending_message_store.active:
            pending_message_store.sent(self.name, content)
            if not immediately:
                pending_message_store.append(self, content)
                return
        self._send_now(content)

    def _send_now(self, content: dict[str, Any]) -> None:
        raise NotImplementedError


class Channel(_Address):
    """A named channel: each message goes to one consumer, at most once.

    ``channel_layer`` is used when given, otherwise the layer called ``alias`` is looked up now: a channel kept in a
    module global keeps that layer. A send to a full channel raises the layer's ``ChannelFull``.
    """

    def _send_now(self, content: dict[str, Any]) -> None:
        warn_of_unrouted_channel(self.channel_layer, self.name)
        self.channel_layer.send(self.name, content)


class Group(_Address):
    """A named set of channels: each message goes to all of them.

    Members that are full miss a message, without an error. ``add`` and ``discard`` act at once, also inside a
    consumer, whose sends wait: a channel that is discarded after a send does not get that message.
    """

    def add(self, channel: Channel | str) -> None:
        """Make ``channel`` a member, or renew its membership, which ends after the layer's ``group_expiry``."""
        name = _name_of(channel)
        pending_message_store.added(name)
        self.channel_layer.group_add(self.name, name)

    def discard(self, channel: Channel | str) -> None:
        """End the membership of ``channel``; do nothing if it has none."""
        self.channel_layer.group_discard(self.name, _name_of(channel))

    def _send_now(self, content: dict[str, Any]) -> None:
        self.channel_layer.send_group(self.name, content)


def _name_of(channel: Channel | str) -> str:
    return channel.name if isinstance(channel, Channel) else channel
