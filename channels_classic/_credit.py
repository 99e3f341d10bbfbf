"""How far a response in parts may be ahead of its client, who may read slowly.

The interface server tells on a channel of the response's own how many bytes the client took, or that it is gone;
whoever sends the parts waits for that. Knows nothing of requests and responses.
"""

from __future__ import annotations

import time
from typing import Any

from channels_classic.channel import Channel
from channels_classic.exceptions import RequestAborted
from channels_classic.layers.names import inbox_of, is_owned

WINDOW = 2 * 1024 * 1024
"""Bytes that may be under way."""

PATIENCE = 300.0
"""Seconds without a word after which the interface server is taken for dead; it has cut off its client long before."""


class Credit:
    """One response to `reply_channel`; its first part must carry `channel` under the key `credit`."""

    def __init__(self, reply_channel: Channel) -> None:
        self._layer: Any = reply_channel.channel_layer
        self._sent = self._taken = 0
        self.channel: str | None = None
        """None where nobody gives credit, as when a test plays the client."""
        if is_owned(inbox_of(reply_channel.name)):
            self.channel = self._layer.new_channel("http.response.credit?")

    def spend(self, size: int) -> None:
        """Return when `size` more bytes may be sent. Raises `RequestAborted` when the client is gone."""
        if self.channel is None:
            return
        deadline = time.monotonic() + PATIENCE
        # The other side tells of some 100 KiB at once: a part of any size may go when less than half is under way.
        while self._sent - self._taken + min(size, WINDOW // 2) > WINDOW:
            _, message = self._layer.receive([self.channel], block=True)
            if message is None:
                if time.monotonic() >= deadline:
                    raise RequestAborted(f"Nothing was heard of the client for {PATIENCE:g} s.")
                continue
            if message.get("closed"):
                raise RequestAborted("The client went away while its response was being sent.")
            self._taken = max(self._taken, message["written"])
            deadline = time.monotonic() + PATIENCE
        self._sent += size
