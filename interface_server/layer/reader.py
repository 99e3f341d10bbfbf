"""The inbox of this process: takes its entries in batches and hands each to the client it is for.

Entries come from the layer and go to clients, their gates and the index of groups, by one table of kinds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.codec import EntryKind, decode, outcome_of
from channels_classic.layers.losses import Losses
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.results import Roster, Start, Taken
from channels_classic.layers.steps import Audit, Members, Take

from .client import Broadcast
from .posts import Posts
from .question import QUESTION, question_of
from .reconnecting import ReconnectingConnection
from .recovery import Recovery
from .registry import Registry

logger = logging.getLogger("channels_classic.interface_server")

BLOCK = 5.0
"""Seconds for which one read waits for the first entry."""

BYTES_PER_READ = 1024 * 1024
"""Most bytes that one read should take, estimated from the average size of entries."""

MOST_PER_READ = 500
FEWEST_PER_READ = 8
REFUSED_PAUSE = 1.0
"""Seconds until the next attempt after the layer refused a read."""


class Reader:
    """Reads for as long as the process lives."""

    def __init__(
        self,
        connection: ReconnectingConnection,
        registry: Registry,
        recovery: Recovery,
        losses: Losses,
        send: Callable[[Outgoing], None],
        posts: Posts,
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._recovery = recovery
        self._losses = losses
        self._send = send
        self._inbox = registry.inbox
        self._throttled_log = ThrottledLog()
        self._average = float(BYTES_PER_READ / 100)
        self._kinds: dict[int, Callable[..., Awaitable[None] | None]] = {
            EntryKind.MESSAGE: self._message,
            EntryKind.GROUP: self._group,
            EntryKind.REPORT: self._report,
            EntryKind.JOINED: self._joined,
            EntryKind.LEFT: self._left,
            EntryKind.FORGET: self._forget,
            EntryKind.POST: posts.received,
            EntryKind.POSTED: posts.answered,
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
                if not taken.again:
                    self._throttled_log.warn(logger, "%s", taken)
                await asyncio.sleep(REFUSED_PAUSE)
            elif taken is not None:
                await self._dispatch(taken)

    async def _dispatch(self, taken: Taken) -> None:
        for item in taken.items:
            size = len(item.payload)
            self._average += (size - self._average) / 16
            try:
                kind, *fields = decode(item.payload)
            except ValueError:
                self._losses.count("undecodable", self._inbox)
                continue
            handle = self._kinds.get(kind, self._unknown)
            try:
                handled = handle(*fields)
                if handled is not None:
                    await handled
            except Exception:
                logger.exception("An entry of kind %s could not be handled", kind)
        for lost, payload in taken.lost:
            self._lose(lost, payload)

    def _lose(self, lost: str, payload: bytes) -> None:
        """Count an entry that must no longer be delivered. The report on a client's frame that it carries still counts.

        A reply to a frame that expired is delivered all the same: its socket waits for it, and nothing else came.
        """
        try:
            kind, *fields = decode(payload)
        except ValueError:
            kind, fields = None, []
        if kind == EntryKind.REPORT:
            return self._report(*fields)
        if kind == EntryKind.GROUP:
            self._recovery.doubt(fields[0])
        match fields if kind == EntryKind.MESSAGE else ():
            case [message, _, str() as local, str() as token, int() as outcome, *_]:
                if lost == "expired":
                    return self._message(message, None, local, token, outcome)
                self._report(local, token, outcome)
        self._losses.count(lost, self._inbox)

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
        if type(token) is not str or type(outcome) is not int:
            token = None
        try:
            if client is None:
                self._answer_for(local, message)
            elif token is None or client.is_in_turn(token):
                client.reply(message)
            else:
                self._losses.count("late", self._inbox + local)
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

    async def _group(
        self,
        group: str,
        version: int,
        message: Mapping[str, Any],
        left_out: object = None,
        life: object = 0,
        position: object = 0,
        *_: object,
    ) -> None:
        groups = self._registry.groups
        if not groups.knows(group, version) and not await self._ask(group):
            self._losses.count("broker", group)
            self._recovery.doubt(group)
            return
        broadcast = Broadcast(message)
        if self._recovery.is_used and type(life) is int and type(position) is int and life:
            members = self._recovery.plain_members(group)
            await self._recovery.received(group, message, left_out, life, position)
        else:
            members = groups.members(group)
        for client in members:
            if client.local != left_out:
                client.broadcast(broadcast)

    def _joined(self, group: str, local: str, *fields: Any) -> None:
        self._registry.joined(group, local, *fields)
        match fields:
            case [_, _, _, _, int() as life, int() as position, bool() as last, *_]:
                self._recovery.requested(group, local, Start(life, position, last))

    def _left(self, group: str, local: str, *fields: Any) -> None:
        self._registry.left(group, local, *fields)
        if not self._registry.groups.has(group, local):
            self._recovery.left(group, local)

    def _forget(self, *_: object) -> None:
        self._registry.forget()
        self._recovery.clear()

    async def _ask(self, group: str) -> bool:
        """Ask the layer for the members of an uncertain group. Return False if it does not answer.

        Nothing else is read meanwhile: entries behind this one may be for the same clients. So it does not wait for a
        layer that is down: they might be delivered after they expired. If the layer lost data,
        and this process has not restored its memberships yet, that is done for this group first; and again if the
        layer lost data in between, because then what it has is less than the index has.
        """
        restored_in: int | None = None
        known = self._registry.groups.version(group)
        try:
            roster = await self._members(group)
            while not roster.complete and roster.epoch != restored_in:
                restored_in = roster.epoch
                # If the layer refused for lack of memory, only the index has the members, and they must stay there.
                for result in await self._connection.run(self._registry.restore(group), wait=False):
                    if isinstance(result, StepRefused):
                        raise result
                known = self._registry.groups.version(group)
                roster = await self._members(group)
        except (LayerUnavailable, StepRefused) as error:
            self._throttled_log.warn(logger, "A message for the group %s cannot be delivered: %s", group, error)
            return False
        self._recovery.take_over(group, roster, known)
        return True

    async def _members(self, group: str) -> Roster:
        before = self._registry.groups.version_before(group)
        audits = [Audit(group, self._inbox, before)] if before else []
        *_, found = await self._connection.run([*audits, Members(group, self._inbox)], wait=False)
        if isinstance(found, StepRefused):
            raise found
        assert isinstance(found, Roster)
        return found

    def _report(self, local: str, token: str, outcome: int, *_: object) -> None:
        self._registry.reported(local, token, outcome_of(outcome))

    def _unknown(self, *fields: object) -> None:
        """Count an entry of an unknown kind. A report that it carries, where `MESSAGE` has one, is recorded."""
        self._losses.count("undecodable", self._inbox)
        match fields:
            case [_, _, str() as local, str() as token, int() as outcome, *_]:
                self._report(local, token, outcome)
