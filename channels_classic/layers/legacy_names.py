"""Names that layers of Channels 1.x had besides their contract, since projects and their tests use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from channels_classic.layers import names
from channels_classic.layers.capacity import Capacities, Patterns
from channels_classic.layers.planner import Planner

_REPLACEMENTS = {
    "_channels": "call channel_statistics(channel) for the number of its messages",
    "_groups": "call group_channels(group) for the members of a group",
    "_receive_list_names": "call receive(channels)",
    "connection": "make a client with redis.Redis.from_url(url) for a URL in `hosts`",
    "channel_stats_key": "call channel_statistics(channel)",
    "deserialize": "call receive(channels), which returns decoded messages",
    "global_stats_key": "call global_statistics()",
    "serialize": "call send(channel, message), which encodes the message",
}
"""Private names of 1.x that do not exist here → the public way to what they were used for."""


class LegacyNames:
    """Checks of names and capacities, as layers of Channels 1.x had them; further private names are refused."""

    planner: Planner

    def valid_channel_name(self, name: str, receive: bool = False) -> bool:
        """Return `True` for a channel to send to, or with `receive` to receive from. Raises `InvalidChannelName`."""
        return bool(names.check_receivable(name) if receive else names.check_channel(name))

    def valid_channel_names(self, channels: Sequence[str], receive: bool = False) -> bool:
        """Check channels as `valid_channel_name` does. Raises `AssertionError` for anything but a non-empty list."""
        if not isinstance(channels, list) or not channels:
            raise AssertionError(f"The channels are {channels!r}: expected a list with at least one name.")
        return all(self.valid_channel_name(name, receive) for name in channels)

    def valid_group_name(self, name: str) -> bool:
        """Return `True` for the name of a group. Raises `InvalidGroupName`."""
        return bool(names.check_group(name))

    def match_type_and_length(self, name: object) -> bool:
        """Return whether `name` is text that is not too long."""
        return isinstance(name, str) and len(name) <= names.MAX_LENGTH

    def non_local_name(self, name: str) -> str:
        """Return the name up to and including its `!`, or all of it if there is none."""
        return names.inbox_of(name)

    def get_capacity(self, channel: str) -> int:
        """Return how many unread messages `channel` may hold."""
        return self.planner.capacities.of(names.inbox_of(channel))

    @staticmethod
    def compile_capacities(channel_capacity: Patterns) -> list[tuple[Any, int]]:
        """Return compiled patterns and their capacities, in order. Raises `ValueError`."""
        return list(Capacities(0, channel_capacity).patterns)

    if not TYPE_CHECKING:  # otherwise every attribute would be there for a type checker

        def __getattr__(self, name: str) -> Any:
            sentence = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in _REPLACEMENTS:
                sentence += f", which layers of Channels 1.x had: {_REPLACEMENTS[name]}"
            raise AttributeError(sentence + ".", name=name, obj=self)
