"""Looks for memberships that the layer lost without losing all of its data, and writes them again.

Redis evicts single keys where it has a `maxmemory` and another policy than `noeviction`, and anybody may delete one.
No epoch shows that. So each group of this process is looked at once a minute, a few in each heartbeat. Where the
layer lost something, it has noted that by the time it answers, and from then on notes every client that leaves
(group.lua has the rules). Then the inbox is read up to now, for the hints of clients that left before, and the
members in the index are written again. A client that left is in neither place, so nobody is revived. Evictions that
go on cost one restoration of each group in a round, never a loop.

An index that does not know the latest version of a group, because a hint was lost, takes over what the layer has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Any

from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import StepRefused
from channels_classic.layers.results import Audited, Roster
from channels_classic.layers.steps import Audit, Members, Step

from .recovery import Recovery
from .registry import Registry
from .stats import InterfaceStats

logger = logging.getLogger("channels_classic.interface_server")

HEARTBEATS_PER_ROUND = 30
"""Heartbeats, of two seconds, in which each group is looked at once."""

FEWEST = 10
"""Groups that are looked at in each heartbeat at least."""

AT_ONCE = 10
"""Groups in one batch, so that messages of clients are sent in between."""


class GroupAudit:
    """The audit of one process; `ask` runs a step, `caught_up` returns once the inbox was read up to now."""

    def __init__(
        self,
        registry: Registry,
        recovery: Recovery,
        stats: InterfaceStats,
        ask: Callable[[Step], Awaitable[Any]],
        caught_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._recovery = recovery
        self._stats = stats
        self._ask = ask
        self._caught_up = caught_up
        self._round: list[str] = []
        self._log = ThrottledLog()

    async def look(self) -> None:
        """Look at the next groups, and at once at those of which the layer was found to have no members."""
        if not self._round:
            self._round = self._registry.groups.groups()
        count = max(FEWEST, -(-len(self._registry.groups) // HEARTBEATS_PER_ROUND))
        self._round, groups = self._round[:-count], self._round[-count:]
        suspects = await self._suspects(dict.fromkeys([*islice(self._registry.groups.suspects(), count), *groups]))
        if not suspects:
            return
        await self._caught_up()  # hints of what was found may have been in flight
        suspects = await self._suspects(suspects)
        for group, found in suspects.items():
            try:
                await self._mend(group, found)
            except StepRefused as error:
                self._log.warn(logger, "%s", error)
        if any(self._lacks_identities(group, found) for group, found in suspects.items()):
            # Those of one group were evicted; or the layer took this process for dead for a moment, and forgot all.
            for group in self._registry.identities.groups():
                for step in self._registry.restore_identities(group):
                    await self._answer(step)

    def _lacks_identities(self, group: str, found: Audited) -> bool:
        return found.identities < len(self._registry.identities.of(group))

    async def _mend(self, group: str, found: Audited) -> None:
        known = self._registry.groups.version(group)
        if found.loss:
            # If the index is certain, but of another version, a hint is still in flight: next time, or with the next
            # message. It is uncertain also after a change to a group of which the layer had lost everything.
            if known in (0, found.version) or not found.version:
                await self._restore(group, found)
        elif found.version != known or self._registry.groups.version_before(group):
            await self._take_over(group)

    async def _suspects(self, groups: Iterable[str]) -> dict[str, Audited]:
        """Return what the layer has of the groups that are not there as they are known here."""
        known = [group for group in groups if self._registry.groups.members(group)]
        suspects: dict[str, Audited] = {}
        for start in range(0, len(known), AT_ONCE):
            batch = known[start : start + AT_ONCE]
            steps = [Audit(group, self._registry.inbox, self._known(group)) for group in batch]
            for group, found in zip(batch, await asyncio.gather(*map(self._answer, steps)), strict=True):
                if found is not None and self._is_suspect(group, found):
                    suspects[group] = found
        return suspects

    def _known(self, group: str) -> int:
        groups = self._registry.groups
        return groups.version(group) or groups.version_before(group)

    async def _answer(self, step: Step) -> Any:
        """Return the answer to a step; None where it is refused: a key of that group may be of another type."""
        try:
            return await self._ask(step)
        except StepRefused as error:
            if not error.unknown:  # to an older host of the local layer, which loses nothing
                self._log.warn(logger, "%s", error)
            return None

    def _is_suspect(self, group: str, found: Audited) -> bool:
        groups = self._registry.groups
        return (
            found.loss > 0
            or found.version != groups.version(group)
            or groups.version_before(group) > 0
            or self._lacks_identities(group, found)
        )

    async def _restore(self, group: str, found: Audited) -> None:
        self._stats.restored_groups += 1
        self._log.warn(
            logger,
            "The channel layer lost members of the group %s, but no other data; they are written again. If nobody "
            "deleted its keys, Redis evicts them: run it with maxmemory-policy noeviction.",
            group,
        )
        await self._run(self._registry.restore(group))
        await self._ask(Audit(group, self._registry.inbox, restored=found.loss))

    async def _take_over(self, group: str) -> None:
        known = self._registry.groups.version(group)
        roster: Roster = await self._ask(Members(group, self._registry.inbox))
        if roster.complete and self._recovery.take_over(group, roster, known):
            # The layer need not note any longer who leaves without being found: this index has nobody else now.
            await self._ask(Audit(group, self._registry.inbox, roster.version))

    async def _run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._ask(step)
