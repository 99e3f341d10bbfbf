"""What can be set about a worker process: the one place where each option has its name, type, default and help.

The commands make their options from the fields; nothing here reads settings or the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .concurrency import parse_limits


def _option(default: Any, text: str, kind: Callable[[str], Any] | None = None) -> Any:
    return field(default=default, metadata={"help": text, "kind": kind})


def _processes(text: str) -> int:
    return cores() if text == "auto" else int(text)


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The options of `runworker` and of `channels-classic worker`."""

    layer: str = _option("default", "The alias of the channel layer, a key of CHANNEL_LAYERS.")
    only_channels: tuple[str, ...] = _option(
        (), "Listen only on channels that match this glob. May be given several times."
    )
    exclude_channels: tuple[str, ...] = _option(
        (), "Do not listen on channels that match this glob. May be given several times."
    )
    threads: int = _option(1, "Threads per process, for consumers that wait for something.")
    processes: int = _option(
        1, "Processes, for consumers that compute, or `auto`: one per processor. One that dies is replaced.", _processes
    )
    concurrency: int = _option(100, "Consumers written as `async def` that a process runs at once.")
    prefetch: int = _option(32, "Messages a thread takes at once while its consumers are fast; 1 turns that off.")
    grace: float = _option(30.0, "Seconds that running consumers have to finish when the worker is stopped.")
    max_messages: int = _option(0, "Replace a process after it has consumed so many messages.")
    max_memory: int = _option(0, "Replace a process when it uses so many MiB of memory.")
    consumer_timeout: float = _option(0.0, "Give up a consumer that runs for so many seconds, and replace its process.")
    limit: tuple[str, ...] = _option(
        (), "Run at most so many consumers of these channels at once in a process: `thumbnails.*=1`. May be repeated."
    )
    reload: bool = _option(False, "Begin again when a file of the project changes; for development.")

    def __post_init__(self) -> None:
        for name in ("threads", "processes", "concurrency", "prefetch"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}, but it must be at least 1.")
        parse_limits(self.limit)
        for name in ("grace", "max_messages", "max_memory", "consumer_timeout"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name):g}, but it cannot be negative.")
        if self.reload and self.is_supervised:
            raise ValueError("--reload is for one process: leave out --processes and --consumer-timeout.")

    @property
    def held(self) -> int:
        """Messages that one process holds at most."""
        return self.threads * self.prefetch + self.concurrency

    @property
    def is_supervised(self) -> bool:
        """Whether there is a parent process: for several processes, and to replace one that cannot act itself."""
        return self.processes > 1 or self.consumer_timeout > 0
