"""The objects that the worker threads of one process share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .announcer import PresenceAnnouncer
from .async_runner import AsyncConsumerRunner
from .channel_limits import ChannelLimits
from .context import Context
from .outage import Outage
from .recycling import Recycling
from .stats import Stats, report
from .watchdog import Watchdog


class Runtime:
    """Made for each `run` of a worker or group of workers, which reads `channels`.

    `ask_for_replacement` is called with a reason, by the watchdog when a consumer timed out, and by `recycling`;
    `on_outage` with whether the layer is down, when that changes.
    """

    def __init__(
        self,
        context: Context,
        channels: Sequence[str],
        limits: Mapping[str, int],
        recycling: Recycling,
        ask_for_replacement: Callable[[str], None],
        on_outage: Callable[[bool], object],
    ) -> None:
        self.context = context
        self.channels = channels
        self._statistics: list[Stats] = []
        self.outage = Outage(on_outage)
        self.recycling = recycling
        self.limits = ChannelLimits(limits, channels)
        self.async_runner = AsyncConsumerRunner(context, self.outage, self.limits, self.new_statistics())
        self.announcer = PresenceAnnouncer(context, channels)
        self.watchdog = Watchdog(context, self.outage, self.async_runner, ask_for_replacement)

    def new_statistics(self) -> Stats:
        """Return a new set of counters, for one thread."""
        self._statistics.append(Stats())
        return self._statistics[-1]

    def running(self) -> tuple[list[str], list[str]]:
        """Return the names of the consumers that run in threads, and of those that run as coroutines."""
        coroutines = [running.attempt.stats.name for running in self.async_runner.running()]
        return self.watchdog.running(), coroutines

    @property
    def consumed(self) -> int:
        """The number of messages taken and consumed so far, whatever their outcome."""
        return sum(stats.taken for one in self._statistics for stats in one.all())

    def statistics(self) -> list[Stats]:
        """Return the counters of all threads."""
        return list(self._statistics)

    def report(self) -> str:
        """Return the counters of all threads as a table."""
        return report(self._statistics, self.context.layer.losses.as_dict())
