"""The facts that programs report about themselves, so that anybody on the same layer can see what runs.

Each process announces itself every few seconds, and counts as ended `LIVENESS` seconds after its last report. It is
remembered for longer, because somebody who comes to look for a fault comes later than that. Programs of two
releases run side by side during a deploy: a reader ignores facts that it does not know and has defaults for others.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import msgpack

from channels_classic._version import __version__
from channels_classic.layers.names import random_text
from channels_classic.layers.steps import Announce

ANNOUNCE_INTERVAL = 5.0
"""Seconds between two announcements of a program."""

REMEMBERED = 300.0
"""Seconds since its last announcement for which the layer remembers a program that did not report its end."""

P = TypeVar("P", bound="ProgramFacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramFacts:
    """The facts that every program reports."""

    kind: ClassVar[str] = ""

    host: str = ""
    pid: int = 0
    version: str = ""
    uptime: float = 0.0
    """Seconds since it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceFacts(ProgramFacts):
    """The facts of an interface server process."""

    kind: ClassVar[str] = "interface"

    inbox: str = ""
    sockets: int = 0
    """Open WebSockets."""
    requests: int = 0
    """Requests that are not answered yet."""
    groups: int = 0
    """Groups with members here."""
    largest_groups: Mapping[str, int] = field(default_factory=dict)
    """The number of members here of some of them, the largest."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """The number of clients that reached each of `limits.LIMITS` since the process started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts(ProgramFacts):
    """The facts of a worker process."""

    kind: ClassVar[str] = "worker"

    parent: int = 0
    """The process id of its supervisor, or its own if it has none."""
    threads: int = 0
    busy: int = 0
    """Threads in which a consumer runs."""
    coroutines: int = 0
    """`async def` consumers that run."""
    consumed: int = 0
    channels: list[str] = field(default_factory=list)
    routing: str = ""
    """The dotted path of its routing, by which projects are told apart."""
    running: Mapping[str, int] = field(default_factory=dict)
    """The consumers that run, and in how many threads and coroutines."""


KINDS: Mapping[str, type[ProgramFacts]] = {kind.kind: kind for kind in (InterfaceFacts, WorkerFacts)}


class ProgramAnnouncer:
    """Makes the announcements of one process, under a name that no other process has."""

    def __init__(self) -> None:
        self._program = random_text(12)
        self._started = time.monotonic()

    def announce(self, kind: type[P], **facts: Any) -> Announce:
        """Return the step that announces the program with these facts."""
        uptime = time.monotonic() - self._started
        made = kind(host=socket.gethostname(), pid=os.getpid(), version=__version__, uptime=uptime, **facts)
        return Announce(self._program, encode(made), REMEMBERED)

    def withdraw(self) -> Announce:
        """Return the step that reports the end of the program."""
        return Announce(self._program, b"", 0)


def encode(facts: ProgramFacts) -> bytes:
    """Return the announcement of these facts."""
    encoded: bytes = msgpack.packb([facts.kind, asdict(facts)])
    return encoded


def decode(announcement: bytes) -> ProgramFacts | None:
    """Return the facts in an announcement; None for one of a kind or form that is not known."""
    try:
        kind, found = msgpack.unpackb(announcement)
        known = KINDS[kind]
        names = [fact.name for fact in fields(known) if fact.name in found]
        return known(**{name: _checked(name, found[name], known()) for name in names})
    except (ValueError, TypeError, LookupError, OverflowError, msgpack.UnpackException):
        return None


def _checked(name: str, value: Any, defaults: ProgramFacts) -> Any:
    """Return a fact of the type of its default. Raise `TypeError` for any other."""
    default = getattr(defaults, name)
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        return {str(key): int(number) for key, number in value.items()}
    if isinstance(default, list) and isinstance(value, list):
        return [str(item) for item in value]
    if isinstance(default, float) and isinstance(value, (int, float)):
        value = float(value)
    if type(value) is not type(default) or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError(f"{name} is {value!r}")
    return value
