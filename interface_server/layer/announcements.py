"""Announces this process to the layer, for those who ask what runs there, and finds whether a worker does."""

from __future__ import annotations

import math
from collections.abc import Callable

from channels_classic.layers.programs import ANNOUNCE_INTERVAL, InterfaceFacts, ProgramAnnouncer, WorkerFacts, decode
from channels_classic.layers.results import Announcement
from channels_classic.layers.steps import GetPrograms

from .registry import Registry
from .stats import InterfaceStats
from .writer import Writer

ANNOUNCED_GROUPS = 20
"""Groups that are announced with their size."""


class Announcements:
    """The announcements of one process. `clock` gives seconds; `announce` is called every `heartbeat` seconds."""

    def __init__(
        self,
        inbox: str,
        registry: Registry,
        stats: InterfaceStats,
        writer: Writer,
        clock: Callable[[], float],
        heartbeat: float,
    ) -> None:
        self._inbox = inbox
        self._registry = registry
        self._stats = stats
        self._writer = writer
        self._clock = clock
        self._interval = ANNOUNCE_INTERVAL - heartbeat / 2
        self._announcer = ProgramAnnouncer()
        self._announce_at = clock()
        self._worker_heard_at = -math.inf

    def announce(self) -> None:
        """Announce what this process does, if it is time again."""
        if self._clock() < self._announce_at:
            return
        self._announce_at = self._clock() + self._interval
        groups = self._registry.groups
        facts = self._announcer.announce(
            InterfaceFacts,
            inbox=self._inbox,
            sockets=self._stats.sockets,
            requests=self._stats.open_requests,
            groups=len(groups),
            largest_groups=groups.largest(ANNOUNCED_GROUPS),
            limits=self._stats.limits(),
        )
        self._writer.post(facts)

    def withdraw(self) -> None:
        """Report the end of this process."""
        self._writer.post(self._announcer.withdraw())

    async def look_for_workers(self) -> None:
        """Find out when a worker last announced itself."""
        found = [program for program in await self._writer.ask(GetPrograms()) if _is_worker(program)]
        if found:
            self._worker_heard_at = self._clock() - min(program.age for program in found)

    def heard_worker(self, within: float) -> bool:
        """Return whether `look_for_workers` found one that announced itself in the last `within` seconds."""
        return self._clock() - self._worker_heard_at <= within


def _is_worker(program: Announcement) -> bool:
    return isinstance(decode(program.facts), WorkerFacts)
