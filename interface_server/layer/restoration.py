"""The work after an outage of the layer: memberships are written again, and those of clients that left meanwhile end.

Memberships are written once the inbox has been read up to now, so that nobody whom others removed is brought back.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice

from channels_classic.exceptions import StepRefused
from channels_classic.layers import rng
from channels_classic.layers.codec import EntryKind, Outcome, encode
from channels_classic.layers.results import Roster
from channels_classic.layers.steps import LIVENESS, Entry, GetPresenceGroups, Members, Push, Restore

from .registry import Registry
from .writer import Writer

logger = logging.getLogger("channels_classic.interface_server")

STEPS_AT_ONCE = 10
"""Steps in one batch while memberships are restored, so that messages of clients are sent in between.

Redis carries out the batches of all interface servers before it serves anybody else: 10 take it 2 ms, each with 100
members.
"""

CATCH_UP_TIMEOUT = LIVENESS / 3
"""Most seconds until the inbox has been read up to now; no heartbeat is sent meanwhile."""

RESTORE_SPREAD = 1.0
"""Most seconds until memberships are restored: all interface servers find at once that the layer lost its data."""


class Restoration:
    """Restores what the layer lost of one process; `expiry` is that of messages, in seconds."""

    def __init__(self, inbox: str, registry: Registry, writer: Writer, expiry: float) -> None:
        self._inbox = inbox
        self._registry = registry
        self._writer = writer
        self._expiry = expiry

    async def restore(self, epoch: int, is_partial: bool) -> None:
        """Write all memberships, for a layer that lost them. What was not lost stays as it is, see `Restore`.

        First it reads the hints of changes from before the loss, which the layer does not know any more. Groups that
        cannot be written, because of a key that something else has written or a shard that is down or full, are left
        to the audit. Raises `StepRefused` where the layer refuses all of them, though no part of it is known to be
        down.
        """
        if not self._registry.groups.groups():
            return
        logger.warning("The channel layer lost this server's state; restoring group memberships.")
        await asyncio.sleep(rng.uniform(0.0, RESTORE_SPREAD))
        await self.caught_up()
        steps = self._registry.restore_all()
        refused, is_tried_again = None, not is_partial
        while batch := list(islice(steps, STEPS_AT_ONCE)):
            for step, result in zip(batch, await self._writer.try_all(batch), strict=True):
                if isinstance(result, StepRefused) and isinstance(step, Restore):
                    refused = result
                    self._registry.groups.not_restored(step.group, epoch)
                is_tried_again &= isinstance(result, StepRefused) and not result.foreign
        if refused is not None and is_tried_again:
            raise refused

    async def remove_ghosts(self) -> None:
        """End memberships of clients that left while the layer was down: others would see them forever."""
        groups = await self._writer.ask(GetPresenceGroups(self._inbox))
        for start in range(0, len(groups), STEPS_AT_ONCE):
            batch = groups[start : start + STEPS_AT_ONCE]
            rosters = await self._writer.try_all([Members(group, self._inbox) for group in batch])
            for group, roster in zip(batch, rosters, strict=True):
                if isinstance(roster, Roster):
                    self._registry.prune_gone(group, roster)
                elif not roster.foreign:
                    raise roster

    async def caught_up(self) -> None:
        """Return once every entry that is in the inbox now has been handled."""
        token, marked = self._registry.mark()
        entry = Entry(encode(EntryKind.REPORT, "", token, int(Outcome.CONSUMED)), self._expiry)
        try:
            await self._writer.ask(Push(self._inbox, [entry]))
            await asyncio.wait([marked], timeout=CATCH_UP_TIMEOUT)
        finally:
            self._registry.unmark(token)
