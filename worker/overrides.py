"""Calls the methods of a layer that a project overrides, where a worker would otherwise plan the steps itself.

Projects extend a layer by a subclass with a `send`, `send_group`, `receive` or `receive_many` of its own, to meter
messages for instance. As in Channels 1.1.8 these are called for what consumers send and for what a worker takes. That
costs a round trip for each message, and a message that was received counts as consumed when it was taken: it cannot be
put back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from channels_classic._pending import pending_message_store
from channels_classic.layers.flows import answering
from channels_classic.layers.losses import kind_of
from channels_classic.layers.planner import Delivery, Outgoing
from channels_classic.layers.results import Item

from .context import Context
from .result import ConsumerResult

logger = logging.getLogger("channels_classic.worker")


class Overrides:
    """The methods that a layer overrides."""

    def __init__(self, context: Context) -> None:
        self._layer = context.layer
        self._clock = context.clock
        self._sends = self._overrides("send")
        self._sends_to_groups = self._overrides("send_group")
        self._receive = next(filter(self._overrides, ("receive", "receive_many")), "")
        self.receives = bool(self._receive)
        """True if messages are taken with the project's `receive`, or its `receive_many`, the name in early 1.x."""
        self.any_send = self._sends or self._sends_to_groups
        """True if `send` has anything to do."""

    def _overrides(self, name: str) -> bool:
        if name in vars(self._layer):
            return True
        owner = next(cls for cls in type(self._layer).__mro__ if name in vars(cls))
        return not owner.__module__.startswith("channels_classic.")

    def send(self, results: Sequence[ConsumerResult]) -> None:
        """Send what must go through the project's methods, and remove it from the results.

        To keep the order of what one consumer sent, everything of it goes that way. A message that is put back keeps
        its token, which no method takes.
        """
        for result in results:
            result.tie()
            sends, result.sends = result.sends, [send for send in result.sends if send.token is not None]
            for send in sends:
                if send.token is None:
                    self._send(send, result)

    def _send(self, send: Outgoing, result: ConsumerResult) -> None:
        method: Callable[..., object] = self._layer.send_group if send.group else self._layer.send
        options: dict[str, Any] = {"but": send.but} if send.but else {}  # methods written for 1.x know no options
        if send.retention is not None:
            options |= send.retention._asdict()
        call = partial(method, send.name, send.message, **options)
        deadline = self._clock() + pending_message_store.retry_time
        answer = answering.set(lambda channel: send.report if channel == send.name else None)
        try:
            while (error := self._error_of(call)) is not None:
                full = isinstance(error, self._layer.ChannelFull)
                if full and self._clock() < deadline:
                    time.sleep(pending_message_store.retry_interval)
                    continue
                logger.error("Lost a message for %s, sent by %s: %s", send.name, result.source, error)
                self._layer.losses.count("full" if full else kind_of(error), str(send.name))
                result.unsendable(send)
                return
        finally:
            answering.reset(answer)

    @staticmethod
    def _error_of(call: Callable[[], object]) -> Exception | None:
        try:
            call()
        except Exception as error:
            return error
        return None

    def receive(self, channels: Sequence[str], block: bool) -> list[Delivery]:
        """Return the next message; with `block` it may come within some seconds."""
        channel, message = getattr(self._layer, self._receive)(channels, block=block)
        if channel is None or message is None:
            return []
        return [Delivery(channel, message, None, Item(b"", None))]
