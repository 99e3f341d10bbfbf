"""What the programs that are measured take of the machine: memory, and time of its processors.

A program is named with its process, `worker=123`; the processes of its session count with it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_SESSION, _USER, _SYSTEM = 3, 11, 12


class Programs:
    """The programs that text like `interface=12,worker=34` names."""

    def __init__(self, text: str) -> None:
        self._numbers = {
            name: int(number) for name, _, number in (word.partition("=") for word in text.split(",") if word)
        }

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def memory(self) -> float:
        """All together, in KiB."""
        return sum(_resident(process) for number in self._numbers.values() for process, _ in _processes(number))

    def time(self) -> dict[str, float]:
        """The seconds each had a processor for since it began; `client` is this process with its children."""
        used = {name: sum(seconds for _, seconds in _processes(number)) for name, number in self._numbers.items()}
        own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return {**used, "client": sum(usage.ru_utime + usage.ru_stime for usage in own)}

    def cost(self, before: dict[str, float], count: int) -> dict[str, float]:
        """The microseconds each had a processor for since `before`, by the number of messages."""
        return {f"µs of {name}": (now - before[name]) / max(count, 1) * 1e6 for name, now in self.time().items()}


def _processes(number: int) -> Iterator[tuple[Path, float]]:
    """The processes of a program, and the seconds each had a processor for."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[_SESSION]) == number or int(process.name) == number:
            yield process, (int(fields[_USER]) + int(fields[_SYSTEM])) * _TICK


def _resident(process: Path) -> float:
    try:
        return float((process / "status").read_text().partition("VmRSS:")[2].split()[0])
    except (OSError, IndexError):
        return 0.0  # it ended meanwhile
