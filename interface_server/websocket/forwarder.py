"""The path of one WebSocket's messages to the layer: carries out what `inbound` decides.

Sends them through the session, waits for room among the other sockets, counts what is lost, and closes a socket whose
messages cannot be forwarded: with 1009 or 1013. How a socket is closed is left to the subclass.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from channels_classic.layers.planner import Outgoing

from ..close_codes import TOO_BIG, TRY_AGAIN_LATER
from ..config import InterfaceConfig
from ..layer.session import LayerSession
from ..layer.writer import SendResult
from . import actions
from .inbound import RECEIVE, InboundLimits, InboundQueue

logger = logging.getLogger("channels_classic.interface_server")


class Forwarder(ABC):
    """Forwards the messages of one client, in order."""

    __slots__ = ("_inbound", "_path", "_session", "slot")

    def __init__(self, session: LayerSession, path: str) -> None:
        self.slot: int | None = None
        self._session = session
        self._path = path
        self._inbound = InboundQueue(_inbound_limits(session.layer.expiry, session.config), path)

    @abstractmethod
    def due(self, now: float) -> float:
        """Handle expired deadlines, among them that of `inbound`; return the next one."""

    @abstractmethod
    def _resume(self) -> None:
        """Continue reading from the client."""

    @abstractmethod
    def _close(self, code: int, reason: str = "") -> None:
        """Close the connection."""

    @abstractmethod
    def _let_go(self) -> None:
        """End: the last message has left."""

    def _perform(self, todo: Iterable[actions.Action]) -> None:
        for action in todo:
            _PERFORMERS[type(action)](self, action)
        self._session.timers.schedule(self, self._inbound.deadline)

    def _send_message(self, send: actions.Send) -> None:
        if not send.retried and self._session.retry_queues.must_wait(send.channel):
            now = self._session.clock()
            self._perform(self._inbound.settled(send.order, send.channel, SendResult.UNAVAILABLE, now))
        else:
            self._session.send(Outgoing(send.channel, send.message, token=send.token), self._on_sent)

    def _on_sent(self, send: Outgoing, result: SendResult) -> None:
        todo = self._inbound.settled(send.message["order"], send.name, result, self._session.clock())
        if todo:
            self._perform(todo)

    def _block(self, block: actions.Block) -> None:
        self._session.waiting.add(self)
        self._session.retry_queues.refused(block.channel, self)

    def _unblock(self, unblock: actions.Unblock) -> None:
        self._session.retry_queues.passed(unblock.channel, self)

    def _note_taken(self, taken: actions.Taken) -> None:
        self._session.retry_queues.taken(taken.channel)

    def _count_lost(self, lost: actions.Lost) -> None:
        self._session.losses.count(lost.kind, lost.channel)
        if lost.kind == "unheard":
            self._warn(
                "No report arrived for the last message of the WebSocket %s to %s; sending the next one.", lost.channel
            )

    def _take_back(self, found: actions.Found) -> None:
        self._session.losses.take_back(found.kind, found.channel)

    def _note_overtaken(self, overtaken: actions.Overtaken) -> None:
        self._warn(
            "The disconnect of the WebSocket %s no longer waits for the consumer of its last %s message.",
            overtaken.channel,
        )

    def _refuse_too_large(self, _: actions.TooLarge) -> None:
        self._close(TOO_BIG)

    def _close_stalled(self, _: actions.Stalled) -> None:
        self._warn(
            "The WebSocket %s is closed with 1013: its frames waited for %g s. Run more workers for %s.",
            self._session.config.waiting_timeout,
            RECEIVE,
        )
        self._session.stats.cut_off["stalled"] += 1
        self._close(TRY_AGAIN_LATER)

    def _warn(self, text: str, *arguments: object) -> None:
        self._session.throttled_log.warn(logger, text, self._path, *arguments)

    # From the session

    def retry(self) -> None:
        """Send the message that waited for room."""
        self._perform(self._inbound.retry(self._session.clock()))

    def is_in_turn(self, token: str) -> bool:
        """Return False for a reply of a consumer whose lease ended, once later messages were handed out."""
        return self._inbound.is_in_turn(token)

    def layer_restored(self) -> None:
        """Shorten the wait for a report: the outstanding message or its report may be lost with the layer."""
        self._inbound.shorten(self._session.clock())
        self._session.timers.schedule(self, self._inbound.deadline)

    def flush(self) -> None:
        """Send everything that waits, in order."""
        self._perform(self._inbound.flush(self._session.clock()))

    @property
    @abstractmethod
    def waiting_bytes(self) -> tuple[int, int]:
        """The bytes that wait, from the client and for it."""

    @property
    def waiting_frames(self) -> int:
        """The messages of the client that wait for their turn."""
        return self._inbound.waiting


_PERFORMERS: dict[type[actions.Action], Callable[[Forwarder, Any], None]] = {
    actions.Send: Forwarder._send_message,
    actions.Block: Forwarder._block,
    actions.Unblock: Forwarder._unblock,
    actions.Taken: Forwarder._note_taken,
    actions.Lost: Forwarder._count_lost,
    actions.Found: Forwarder._take_back,
    actions.Overtaken: Forwarder._note_overtaken,
    actions.Resume: lambda forwarder, _: forwarder._resume(),
    actions.TooLarge: Forwarder._refuse_too_large,
    actions.Stalled: Forwarder._close_stalled,
    actions.Drained: lambda forwarder, _: forwarder._let_go(),
}


@lru_cache(maxsize=16)
def _inbound_limits(expiry: float, config: InterfaceConfig) -> InboundLimits:
    return InboundLimits(expiry, config.waiting_frames, config.waiting_bytes, config.waiting_timeout)
