"""The state of a channel layer as an operator wants to see it: programs, channels and groups. Reads only.

`read` asks the layer in two round trips; everything else here is plain data. Channels are those that were counted
within the last week and those that workers listen on, so no key of the layer has to be searched for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from channels_classic.exceptions import StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.losses import KINDS, Count
from channels_classic.layers.names import is_owned
from channels_classic.layers.programs import InterfaceFacts, WorkerFacts, decode
from channels_classic.layers.steps import LIVENESS, GetCounters, GetPrograms, GetStatistics, Step

MOST_CHANNELS = 500
"""Most channels that are looked at; those with workers come first, then those with most messages."""


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """An interface server process, last heard of `heard` seconds ago."""

    facts: InterfaceFacts
    heard: float


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker: one process, or those of one supervisor. `heard` is the largest of theirs, in seconds."""

    host: str
    pid: int
    version: str
    processes: int
    threads: int
    busy: int
    coroutines: int
    running: Mapping[str, int]
    channels: Sequence[str]
    uptime: float
    heard: float
    routing: str = ""


@dataclass(frozen=True, slots=True)
class MissingProgram:
    """A process that counts as ended, `heard` seconds after its last report, and did not report its end."""

    kind: str
    host: str
    pid: int
    heard: float


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """A channel, or the inbox of an interface server, whose `owner` is `host:pid`; `oldest` is in seconds."""

    name: str
    waiting: int
    oldest: int
    messages: int
    refused: int
    """Sends that found it full; most of them were tried again."""
    losses: Mapping[str, int]
    workers: int = 0
    """Worker processes that listen on it."""
    owner: str = ""
    rate: float | None = None
    """Messages per second between two readings."""


@dataclass(frozen=True, slots=True)
class LayerStatus:
    """All that runs on a layer. `losses` are the lost messages by kind since counting began."""

    interface_servers: Sequence[InterfaceStatus]
    workers: Sequence[WorkerStatus]
    channels: Sequence[ChannelStatus]
    groups: Mapping[str, int]
    """Members by group, the largest groups first."""
    losses: Mapping[str, int]
    group_count: int = 0
    """Groups of all interface servers; one with members at several counts several times."""
    new_losses: Mapping[str, int] = field(default_factory=dict)
    """Those of `losses` that came between two readings."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """The number of clients that reached each limit of the interface servers that run, see `limits.LIMITS`."""
    new_limits: Mapping[str, int] = field(default_factory=dict)
    """Those of `limits` that came between two readings."""
    missing: Sequence[MissingProgram] = ()
    """Processes that ended within the last minutes and did not say so."""
    read_at: float = 0.0
    """By `time.monotonic`."""

    @property
    def plain_channels(self) -> list[ChannelStatus]:
        """The channels that workers read: all but inboxes."""
        return [channel for channel in self.channels if not channel.owner]

    @property
    def channels_by_urgency(self) -> list[ChannelStatus]:
        """All channels, for a screen that has room for some: first those where something waits, then the busiest."""
        return sorted(self.channels, key=lambda channel: (-channel.oldest, -channel.waiting, -(channel.rate or 0.0)))

    def since(self, earlier: LayerStatus) -> LayerStatus:
        """Return this status with the rates of the time since an earlier one."""
        seconds = max(self.read_at - earlier.read_at, 1e-3)
        before = {channel.name: channel.messages for channel in earlier.channels}
        channels = [
            replace(channel, rate=max(0, channel.messages - before.get(channel.name, 0)) / seconds)
            for channel in self.channels
        ]
        return replace(
            self,
            channels=channels,
            new_losses=_growth(earlier.losses, self.losses),
            new_limits=_growth(earlier.limits, self.limits),
        )


def _growth(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    grown = {name: number - before.get(name, 0) for name, number in now.items()}
    return {name: number for name, number in grown.items() if number > 0}


def read(layer: BaseChannelLayer) -> LayerStatus:
    """Return the status of a layer. Raise `LayerUnavailable` or `StepRefused`."""
    announced, counters = _run(layer, [GetPrograms(), GetCounters()])
    every = [(facts, found.age) for found in announced if (facts := decode(found.facts)) is not None]
    programs = [(facts, age) for facts, age in every if age <= LIVENESS]
    interfaces = [InterfaceStatus(facts, age) for facts, age in programs if isinstance(facts, InterfaceFacts)]
    workers = [(facts, age) for facts, age in programs if isinstance(facts, WorkerFacts)]
    names = _channels(counters, [facts for facts, _ in workers], [server.facts.inbox for server in interfaces])
    statistics = _run(layer, [GetStatistics(name) for name in names])
    listening = Counter(name for facts, _ in workers for name in facts.channels)
    owners = {server.facts.inbox: f"{server.facts.host}:{server.facts.pid}" for server in interfaces}
    channels = [
        _channel(name, found, listening[name], owners.get(name, ""))
        for name, found in zip(names, statistics, strict=True)
    ]
    return LayerStatus(
        sorted(interfaces, key=lambda server: (server.facts.host, server.facts.pid)),
        _workers(workers),
        channels,
        _groups(interfaces),
        _losses(counters),
        sum(server.facts.groups for server in interfaces),
        limits=_limits(interfaces),
        missing=[MissingProgram(facts.kind, facts.host, facts.pid, age) for facts, age in every if age > LIVENESS],
        read_at=time.monotonic(),
    )


def _run(layer: BaseChannelLayer, steps: Sequence[Step]) -> list[Any]:
    results = layer.run(steps) if steps else []
    for result in results:
        if isinstance(result, StepRefused):
            raise result
    return results


def _channels(counters: Iterable[Count], workers: Iterable[WorkerFacts], inboxes: Sequence[str]) -> list[str]:
    """Return the names of the channels to look at: inboxes of interface servers that are gone are left out."""
    listened = {name for facts in workers for name in facts.channels}
    counted: Counter[str] = Counter()
    for _, name, number in counters:
        if name and not is_owned(name):
            counted[name] += number
    others = [name for name, _ in counted.most_common() if name not in listened]
    return [*sorted(listened), *sorted(others[: max(0, MOST_CHANNELS - len(listened))]), *inboxes]


def _channel(name: str, found: Mapping[str, int], workers: int, owner: str) -> ChannelStatus:
    losses = {kind: number for kind in KINDS if (number := found.get(f"lost_{kind}", 0))}
    return ChannelStatus(
        name,
        found.get("messages_pending", 0),
        found.get("messages_max_age", 0),
        found["messages_count"],
        found["channel_full_count"],
        losses,
        workers,
        owner,
    )


def _workers(processes: Sequence[tuple[WorkerFacts, float]]) -> list[WorkerStatus]:
    """Return the processes of each supervisor as one worker."""
    by_parent: dict[tuple[str, int], list[tuple[WorkerFacts, float]]] = {}
    for facts, age in processes:
        by_parent.setdefault((facts.host, facts.parent), []).append((facts, age))
    return [_worker(parent, found) for parent, found in sorted(by_parent.items())]


def _worker(parent: tuple[str, int], processes: Sequence[tuple[WorkerFacts, float]]) -> WorkerStatus:
    every = [facts for facts, _ in processes]
    running: Counter[str] = Counter()
    for facts in every:
        running.update(facts.running)
    return WorkerStatus(
        *parent,
        " / ".join(sorted({facts.version for facts in every})),
        len(every),
        sum(facts.threads for facts in every),
        sum(facts.busy for facts in every),
        sum(facts.coroutines for facts in every),
        dict(running.most_common()),
        sorted({name for facts in every for name in facts.channels}),
        max(facts.uptime for facts in every),
        max(age for _, age in processes),
        " / ".join(sorted({facts.routing for facts in every if facts.routing})),
    )


def _groups(interfaces: Iterable[InterfaceStatus]) -> dict[str, int]:
    members: Counter[str] = Counter()
    for server in interfaces:
        members.update(server.facts.largest_groups)
    return dict(members.most_common())


def _limits(interfaces: Iterable[InterfaceStatus]) -> dict[str, int]:
    reached: Counter[str] = Counter()
    for server in interfaces:
        reached.update(server.facts.limits)
    return {limit: reached[limit] for limit in sorted(reached)}


def _losses(counters: Iterable[Count]) -> dict[str, int]:
    losses: Counter[str] = Counter()
    for kind, _, number in counters:
        if kind.startswith("lost_"):
            losses[kind.removeprefix("lost_")] += number
    return {kind: number for kind, number in sorted(losses.items()) if number > 0}
