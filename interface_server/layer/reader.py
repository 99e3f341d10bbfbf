"""The inbox of this process: takes its entries in batches and hands each to the client it is for.

Comes from the layer, goes to clients, their gates and the membership mirror. What each kind means is one table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.codec import OUTCOMES, Kind, decode
from channels_classic.layers.losses import Losses
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import Take, Taken

from .client import Broadcast
from .question import QUESTION, question_of
from .reconnecting import ReconnectingConnection
from .registry import Registry

logger = logging.getLogger(__name__)

BLOCK = 5.0
"""Seconds for which one read waits for the first entry."""

BYTES_PER_READ = 1024 * 1024
"""What one read should take at most, going by the average size of what was read."""

MOST_PER_READ = 500
FEWEST_PER_READ = 8
REFUSED_PAUSE = 1.0
"""Seconds until the next attempt after the layer refused a read."""


class Reader:
    """Reads for as long as the process lives."""

    def __init__(
        self, link: ReconnectingConnection, registry: Registry, losses: Losses, send: Callable[[Outgoing], None]
    ) -> None:
        self._connection = link
        self._registry = registry
        self._losses = losses
        self._send = send
        self._inbox = registry.inbox
        self._average = float(BYTES_PER_READ / 100)
        self._kinds: dict[int, Callable[..., None]] = {
            Kind.MESSAGE: self._message,
            Kind.GROUP: self._group,
            Kind.REPORT: self._report,
            Kind.JOINED: registry.joined,
            Kind.LEFT: registry.left,
            Kind.FORGET: registry.forget,
        }

    @property
    def _count(self) -> int:
        return max(FEWEST_PER_READ, min(MOST_PER_READ, int(BYTES_PER_READ / self._average)))

    async def run(self) -> None:
        """Take and dispatch, forever."""
        while True:
            try:
                (taken,) = await self._connection.run([Take([self._inbox], self._count, BLOCK)])
            except LayerUnavailable:
                continue  # logged where it happened
            if isinstance(taken, StepRefused):
                logger.error("%s", taken)
                await asyncio.sleep(REFUSED_PAUSE)
            elif taken is not None:
                self._dispatch(taken)

    def _dispatch(self, taken: Taken) -> None:
        for item in taken.items:
            size = len(item.payload)
            self._average += (size - self._average) / 16
            try:
                kind, *fields = decode(item.payload)
                entry = self._kinds[kind]
            except (ValueError, KeyError, TypeError):
                self._losses.count("undecodable", self._inbox)
                continue
            try:
                entry(*fields)
            except Exception:
                logger.exception("An entry of kind %s could not be handled", kind)
        for kind, _ in taken.lost:
            self._losses.count(kind, self._inbox)

    # Later releases may append fields: what is not known is ignored.

    def _message(
        self,
        message: Mapping[str, Any],
        _token: object,
        local: str,
        token: str | None = None,
        outcome: int = 0,
        *_: object,
    ) -> None:
        client = self._registry.clients.get(local)
        try:
            if client is None:
                self._answer_for(local, message)
            else:
                client.reply(message)
        finally:
            if token is not None:
                self._report(local, token, outcome)

    def _answer_for(self, local: str, message: Mapping[str, Any]) -> None:
        """Tell a worker that asks about a client that it is gone; any other message for it is lost."""
        question = question_of(message)
        if question is not None:
            self._send(question.answer(closed=True, chunk={}))
        if message.keys() - {QUESTION}:
            self._losses.count("unknown", self._inbox + local)

    def _group(self, message: Mapping[str, Any], group: str, locals_: Sequence[str], *_: object) -> None:
        broadcast = Broadcast(message)
        gone = []
        clients = self._registry.clients
        for local in locals_:
            client = clients.get(local)
            if client is None:
                gone.append(local)
            else:
                client.broadcast(broadcast)
        if gone:
            self._losses.count("unknown", group, len(gone))
            self._registry.prune(group, gone)

    def _report(self, local: str, token: str, outcome: int, *_: object) -> None:
        self._registry.reported(local, token, OUTCOMES[outcome])
