"""Memory and processor time of the programs that are measured.

A program is named with its process, `worker=123`; all that this process started counts with it.
"""

from __future__ import annotations

import os
import resource
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE") / 1024
_PARENT, _USER, _SYSTEM, _RESIDENT = 1, 11, 12, 21  # fields of /proc/…/stat behind the name


@dataclass
class _Use:
    """Resources of a process and all its descendants."""

    seconds: float = 0.0
    kibibytes: float = 0.0


class Programs:
    """The programs that a text like `interface server=12,worker=34` names."""

    def __init__(self, text: str) -> None:
        words = [word.partition("=") for word in text.split(",") if word]
        self._numbers = {name: int(number) for name, _, number in words}

    def pid(self, *names: str) -> int:
        """Return the process of the first of `names` that there is."""
        return next(self._numbers[name] for name in names if name in self._numbers)

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def memory(self) -> float:
        """All together, in KiB."""
        return sum(use.kibibytes for use in self._uses().values())

    def time(self) -> dict[str, float]:
        """The seconds each had a processor for since it began; `client` is this process with its children."""
        own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        used = {name: use.seconds for name, use in self._uses().items()}
        return {**used, "client": sum(usage.ru_utime + usage.ru_stime for usage in own)}

    def cost(self, before: dict[str, float], count: int) -> dict[str, float]:
        """The microseconds each had a processor for since `before`, by the number of messages."""
        return {f"µs of {name}": (now - before[name]) / max(count, 1) * 1e6 for name, now in self.time().items()}

    def _uses(self) -> dict[str, _Use]:
        if not self._numbers:
            return {}
        processes, children = _processes()
        return {name: _sum(number, processes, children) for name, number in self._numbers.items()}


def _processes() -> tuple[dict[int, _Use], dict[int, list[int]]]:
    """All processes of the machine, and which of them each started."""
    processes, children = {}, defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        number = int(path.parent.name)
        seconds = (int(fields[_USER]) + int(fields[_SYSTEM])) * _TICK
        processes[number] = _Use(seconds, int(fields[_RESIDENT]) * _PAGE)
        children[int(fields[_PARENT])].append(number)
    return processes, children


def descendants(number: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    _, children = _processes()
    found = list(children.get(number, ()))
    for child in found:
        found += children.get(child, ())
    return found


def _sum(number: int, processes: dict[int, _Use], children: dict[int, list[int]]) -> _Use:
    own = processes.get(number, _Use())
    rest = [_sum(child, processes, children) for child in children.get(number, ())]
    return _Use(own.seconds + sum(use.seconds for use in rest), own.kibibytes + sum(use.kibibytes for use in rest))
