"""The status of a layer as tables, and tables as text for a terminal or a file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from channels_classic._log_escapes import escape
from channels_classic.layers.diagnosis import listed, problems, running
from channels_classic.layers.limits import LIMITS
from channels_classic.layers.losses import KINDS
from channels_classic.layers.status import ChannelStatus, LayerStatus

MOST_GROUPS = 20
NAMES = {"host", "runs", "channel", "lost", "group", "reason", "meaning"}
"""The columns of names and sentences; others have figures."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a title; `empty` stands for its rows if there are none."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = "none"


def tables(status: LayerStatus) -> Iterator[Table]:
    """Return the tables of a status."""
    yield Table(
        "Interface servers",
        ("host", "pid", "version", "up", "sockets", "requests", "groups", "heard"),
        [
            (
                *(server.facts.host, str(server.facts.pid), server.facts.version, duration(server.facts.uptime)),
                *map(str, (server.facts.sockets, server.facts.requests, server.facts.groups)),
                f"{server.heard:.0f} s ago",
            )
            for server in status.interface_servers
        ],
    )
    yield Table(
        "Workers",
        ("host", "pid", "version", "up", "processes", "threads", "busy", "heard", "runs"),
        [
            (
                *(worker.host, str(worker.pid), worker.version, duration(worker.uptime)),
                *map(str, (worker.processes, worker.threads, worker.busy)),
                f"{worker.heard:.0f} s ago",
                running(worker),
            )
            for worker in status.workers
        ],
    )
    yield Table(
        "Channels",
        ("channel", "waiting", "oldest", "per second", "messages", "workers", "full", "lost"),
        [_channel(channel) for channel in status.channels_by_urgency],
    )
    if status.groups:
        rows = [(name, str(members)) for name, members in list(status.groups.items())[:MOST_GROUPS]]
        yield Table("Largest groups", ("group", "members"), rows)
    if status.losses:
        yield Table("Lost messages", ("kind", "messages", "reason"), _counts(status.losses, KINDS))
    if status.limits:
        yield Table("Limits reached", ("limit", "clients", "meaning"), _counts(status.limits, LIMITS))


def _counts(counts: Mapping[str, int], meanings: Mapping[str, str]) -> list[Sequence[str]]:
    return [(name, str(number), meanings.get(name, "")) for name, number in counts.items()]


def _channel(channel: ChannelStatus) -> Sequence[str]:
    name = f"inbox of {channel.owner}" if channel.owner else channel.name
    return (
        name,
        str(channel.waiting),
        f"{channel.oldest} s" if channel.waiting else "",
        "" if channel.rate is None else f"{channel.rate:.1f}",
        str(channel.messages),
        "" if channel.owner else str(channel.workers),
        str(channel.refused) if channel.refused else "",
        listed([f"{number} {kind}" for kind, number in channel.losses.items()]),
    )


def text(status: LayerStatus) -> str:
    """Return a status as lines."""
    lines: list[str] = []
    for table in tables(status):
        lines += [table.title, *_aligned(table), ""]
    lines += [f"! {problem}" for problem in problems(status)] or ["No problem was found."]
    return "\n".join(map(escape, lines)) + "\n"


def _aligned(table: Table) -> Iterator[str]:
    if not table.rows:
        yield f"  {table.empty}"
        return
    rows = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def duration(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
