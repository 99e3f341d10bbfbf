"""Channel layers as projects wrote them for Channels 1.x."""

from __future__ import annotations

from typing import Any

from channels_classic.layers.base import BaseChannelLayer


class Independent:
    """A layer with the methods of 1.x."""

    extensions = ("groups",)

    class ChannelFull(Exception):
        """Raised when a channel holds as many messages as it may."""

    class MessageTooLarge(Exception):
        """Raised when a message is too large."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.members: dict[str, set[str]] = {}

    def send(self, channel: str, message: dict[str, Any]) -> None:
        self.messages.append((channel, message))

    def receive(self, channels: Any, block: bool = False) -> Any:
        for number, (channel, _) in enumerate(self.messages):
            if channel in channels:
                return self.messages.pop(number)
        return None, None

    def group_add(self, group: str, channel: str) -> None:
        self.members.setdefault(group, set()).add(channel)

    def send_group(self, group: str, message: dict[str, Any]) -> None:
        for channel in self.members.get(group, ()):
            self.send(channel, message)


class Derived(Independent, BaseChannelLayer):  # type: ignore[misc]  # with the signatures of 1.x
    """The same with the base class of ours, where that of asgiref was."""
