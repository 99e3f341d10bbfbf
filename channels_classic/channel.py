"""Channels and groups as a project sends to them, from a consumer or from any other process.

A message goes to the channel layer at once, or inside a consumer when the consumer returns, or when a transaction is
committed. How a layer stores it is not known here.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from channels_classic._commit import call_on_commit, report_errors
from channels_classic._debug_notices import remember_group, report_empty_group, warn_of_unrouted_channel
from channels_classic._pending import pending_message_store
from channels_classic.asgi import channel_layers
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import InvalidMessage
from channels_classic.layers.history import SECONDS, Retention, make_retention
from channels_classic.layers.names import check_channel

__all__ = ["Channel", "Group"]


class _Address:
    """A name on a layer; the layer checks the name when something is sent."""

    def __init__(self, name: str | bytes, alias: str = DEFAULT_CHANNEL_LAYER, channel_layer: Any = None) -> None:
        self.name: str = name.decode("ascii") if isinstance(name, bytes) else name
        self.channel_layer: Any = channel_layer or channel_layers[alias]

    def __str__(self) -> str:
        return self.name

    def send(
        self,
        content: dict[str, Any],
        immediately: bool = False,
        on_commit: bool | None = None,
        using: str | None = None,
    ) -> None:
        """Send a message: inside a consumer when it returns, otherwise or with `immediately` now.

        With `on_commit` that is done when the transaction on the database `using` (the default one) is committed,
        and not at all when it is rolled back; without an open transaction there is nothing to wait for. The default is
        the key `ON_COMMIT` of the layer's settings, and False with `immediately`.

        Sends of one consumer keep their order. `content` is copied, not deeply, when it has to wait. Raises
        `InvalidMessage` for what is not a dict and, when sending now, the errors of the layer. After a commit the
        errors of the layer are logged and the message is counted as lost.
        """
        if not isinstance(content, dict):
            raise InvalidMessage(self.name, f"it is of type {type(content).__name__}")
        if self._waits_for_commit(immediately, on_commit, using):
            kept = content.copy()
            if call_on_commit(report_errors(self, partial(self._send_or_hold, kept, immediately)), using):
                return
        self._send_or_hold(content, immediately)

    def _waits_for_commit(self, immediately: bool, on_commit: bool | None, using: str | None) -> bool:
        if on_commit is None:
            on_commit = not immediately and getattr(self.channel_layer, "on_commit", False)
        elif not isinstance(on_commit, bool):
            raise TypeError(f"on_commit is {on_commit!r}: expected True, False or None.")
        if using is not None and not on_commit:
            raise ValueError(
                f"using={using!r} names the database whose transaction a message waits for: give on_commit=True too."
            )
        return bool(on_commit)

    def _send_or_hold(self, content: dict[str, Any], immediately: bool) -> None:
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

    `channel_layer` is used when given, otherwise the layer called `alias` is looked up now: a channel kept in a
    module global keeps that layer. A send to a full channel raises the layer's `ChannelFull`.
    """

    def _send_or_hold(self, content: dict[str, Any], immediately: bool) -> None:
        warn_of_unrouted_channel(self.channel_layer, self.name)
        super()._send_or_hold(content, immediately)

    def _send_now(self, content: dict[str, Any]) -> None:
        self.channel_layer.send(self.name, content)


class Group(_Address):
    """A named set of channels: each message goes to all of them.

    Members that are full miss a message, without an error. `add` and `discard` act at once, also inside a
    consumer, whose sends wait: a channel that is discarded after a send does not get that message.

    With `keep` the group is recoverable: it keeps the last messages, as many as that and each for `seconds`, and
    members that come back get what they missed. Raises `ValueError` for invalid numbers.
    """

    but: str = ""
    """The member that messages of this object do not go to."""

    def __init__(
        self,
        name: str | bytes,
        alias: str = DEFAULT_CHANNEL_LAYER,
        channel_layer: Any = None,
        keep: int = 0,
        seconds: float = SECONDS,
    ) -> None:
        super().__init__(name, alias, channel_layer)
        self.retention: Retention | None = make_retention(keep, seconds) if keep else None

    def send(
        self,
        content: dict[str, Any],
        immediately: bool = False,
        on_commit: bool | None = None,
        using: str | None = None,
        but: Channel | str | None = None,
    ) -> None:
        """Send a message to every member except for `but`, such as the sender's own reply channel."""
        group = self if but is None else self._without(but)
        super(Group, group).send(content, immediately, on_commit, using)

    def _without(self, but: Channel | str) -> Group:
        """Return the same group for messages that one member does not get; it is held in place of this one."""
        group = copy.copy(self)
        group.but = check_channel(_name_of(but))
        return group

    def add(
        self,
        channel: Channel | str,
        who: str | None = None,
        info: dict[str, Any] | None = None,
        after: str | None = None,
    ) -> None:
        """Make `channel` a member, or renew its membership, which ends after the layer's `group_expiry`.

        With `who` it counts for `presence` as a socket of that person, and `info` describes it. Raises
        `InvalidPresence` for what cannot be kept.

        A member of a recoverable group first gets what was sent after the cursor `after`, in order; without one, what
        is sent from now on. Raises `ValueError` for a cursor where nothing is kept.
        """
        name = _name_of(channel)
        pending_message_store.added(name)
        options: dict[str, Any] = {} if who is None and info is None else {"who": who, "info": info}
        if self.retention is not None:
            options |= {"after": after, "keep": self.retention.keep}
        elif after is not None:
            raise ValueError(
                f"after={after!r}: this group keeps nothing. Write Group({self.name!r}, keep=…, seconds=…), wherever "
                "it is sent to and joined."
            )
        remember_group(self.name)
        self.channel_layer.group_add(self.name, name, **options)

    def discard(self, channel: Channel | str) -> None:
        """End the membership of `channel`; do nothing if it has none."""
        self.channel_layer.group_discard(self.name, _name_of(channel))

    def count(self) -> int:
        """Return the number of members, now, without those whose interface server is gone."""
        number: int = self.channel_layer.group_count(self.name)
        return number

    def presence(self) -> dict[str, list[dict[str, Any]]]:
        """Return who is here now: for each `who` the `info` of each of their sockets."""
        found: dict[str, list[dict[str, Any]]] = self.channel_layer.group_presence(self.name)
        return found

    def _send_or_hold(self, content: dict[str, Any], immediately: bool) -> None:
        report_empty_group(self.channel_layer, self.name)
        super()._send_or_hold(content, immediately)

    def _send_now(self, content: dict[str, Any]) -> None:
        options: dict[str, Any] = {"but": self.but} if self.but else {}  # layers of other packages know no options
        if self.retention is not None:
            options |= self.retention._asdict()
        self.channel_layer.send_group(self.name, content, **options)


def _name_of(channel: Channel | str) -> str:
    return channel.name if isinstance(channel, Channel) else channel
