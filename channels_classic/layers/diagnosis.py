"""Problems of a site, as sentences made from the status of its layer. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from channels_classic.layers.limits import LIMITS, WORRYING
from channels_classic.layers.losses import KINDS
from channels_classic.layers.names import DELAY_CHANNEL
from channels_classic.layers.programs import ANNOUNCE_INTERVAL
from channels_classic.layers.status import LayerStatus, WorkerStatus

SILENT_AFTER = 2.5 * ANNOUNCE_INTERVAL
"""Seconds since its last announcement after which a program counts as silent."""

SLOW_AFTER = 1
"""Seconds that a message may wait for a worker, or in an inbox for its interface server."""

NORMAL = {"unknown"}
"""Kinds of loss that need no attention: clients leave while messages are on their way to them."""

MOST_ALIKE = 3
"""Most sentences about one kind of problem, and most names in a sentence or a cell."""

LONG_INBOX = 1000
"""Entries of an inbox that are more than a burst."""


def problems(status: LayerStatus) -> list[str]:
    """Return a sentence for each thing that an operator should look at."""
    found: list[str] = []
    for look in _LOOKS:
        sentences = list(look(status))
        found += sentences[:MOST_ALIKE]
        if len(sentences) > MOST_ALIKE:
            found.append(f"… and {len(sentences) - MOST_ALIKE} more like the last one.")
    return found


def as_dict(status: LayerStatus) -> dict[str, Any]:
    """Return a status as JSON has it, with the problems that were found."""
    found = asdict(status)
    del found["read_at"]
    found["interface_servers"] = [
        {**server["facts"], "heard": server["heard"]} for server in found["interface_servers"]
    ]
    return {**found, "problems": problems(status)}


def _missing(status: LayerStatus) -> Iterator[str]:
    if not status.interface_servers:
        yield "No interface server runs on this layer: start `runinterface`."
    if not status.workers:
        yield "No worker runs on this layer: start `runworker`."


def _silent(status: LayerStatus) -> Iterator[str]:
    programs = [(f"interface server {one.facts.host}:{one.facts.pid}", one.heard) for one in status.interface_servers]
    programs += [(f"worker {one.host}:{one.pid}", one.heard) for one in status.workers]
    for name, heard in programs:
        if heard > SILENT_AFTER:
            yield (
                f"The {name} has not reported for {heard:.0f} s: it hangs, is cut off from the layer, or was killed."
            )


def _ended_silently(status: LayerStatus) -> Iterator[str]:
    for one in sorted(status.missing, key=lambda one: one.heard):
        yield (
            f"A process of {_PROGRAMS.get(one.kind, one.kind)}, {one.host}:{one.pid}, was last heard of "
            f"{one.heard:.0f} s ago and did not report its end: it was killed, hangs, or is cut off."
        )


def _mixed(status: LayerStatus) -> Iterator[str]:
    """Find workers with another routing than the first one that listens on the same channel."""
    first: dict[str, WorkerStatus] = {}
    found: dict[str, tuple[WorkerStatus, WorkerStatus, str]] = {}
    for worker in status.workers:
        for channel in worker.channels if worker.routing else ():
            other = first.setdefault(channel, worker)
            if other.routing != worker.routing:
                found.setdefault(worker.routing, (other, worker, channel))
    for other, worker, channel in found.values():
        yield (
            f"The workers {other.host}:{other.pid} and {worker.host}:{worker.pid} take from the same channels, such as "
            f"{channel}, with different routings, {other.routing} and {worker.routing}. If these are two projects, "
            "each takes messages of the other: give each layer a `prefix`, or a database, of its own."
        )


def _unserved(status: LayerStatus) -> Iterator[str]:
    if not status.workers:
        return
    for channel in sorted(status.plain_channels, key=lambda channel: -channel.oldest):
        if channel.waiting and not channel.workers:
            reader = "`rundelay` does not run, or its database fails: it takes nothing from"
            yield (
                f"{reader if channel.name == DELAY_CHANNEL else 'No worker listens on'} {channel.name}, where "
                f"{channel.waiting} message(s) wait, the oldest for {channel.oldest} s."
            )


def _slow(status: LayerStatus) -> Iterator[str]:
    waiting = {channel.name: channel for channel in status.plain_channels if channel.oldest > SLOW_AFTER}
    for worker in status.workers:
        late = [waiting[name] for name in worker.channels if name in waiting]
        if late and _is_busy(worker):
            yield (
                f"The worker {worker.host}:{worker.pid} runs {running(worker)} in {worker.busy} of {worker.threads} "
                f"thread(s), while {sum(channel.waiting for channel in late)} message(s) wait on "
                f"{listed([channel.name for channel in late])}, the oldest for "
                f"{max(channel.oldest for channel in late)} s."
            )


def _is_busy(worker: WorkerStatus) -> bool:
    return bool(worker.running) and worker.busy >= worker.threads


def listed(names: Sequence[str]) -> str:
    """Return names as a text: the first, and how many more there are."""
    more = len(names) - MOST_ALIKE
    return ", ".join(names[:MOST_ALIKE]) + (f" and {more} more" if more > 0 else "")


def running(worker: WorkerStatus) -> str:
    """Return the consumers that run in a worker as a text."""
    return listed([f"{name} × {number}" for name, number in worker.running.items()])


def _full_inboxes(status: LayerStatus) -> Iterator[str]:
    for channel in status.channels:
        if channel.owner and (channel.waiting >= LONG_INBOX or channel.oldest > SLOW_AFTER):
            yield (
                f"{channel.waiting} entries, the oldest for {channel.oldest} s, wait in the inbox of the interface "
                f"server {channel.owner}: it reads too slowly, hangs, or cannot reach the layer."
            )


def _losses(status: LayerStatus) -> Iterator[str]:
    for kind, number in status.new_losses.items():
        if kind in NORMAL:
            continue
        yield f"{number} message(s) were lost a moment ago ({kind}): {KINDS.get(kind, 'see docs/delivery.md')}."


def _reached_limits(status: LayerStatus) -> Iterator[str]:
    for limit, number in status.new_limits.items():
        if limit in WORRYING:
            yield f"{number} client(s) reached a limit a moment ago ({limit}): {LIMITS[limit]}."


_PROGRAMS = {"interface": "an interface server", "worker": "a worker"}

_LOOKS = (_missing, _mixed, _silent, _ended_silently, _unserved, _slow, _full_inboxes, _losses, _reached_limits)
