"""The options of a worker process: each field holds the name, type, default and help of one option.

The commands make their options from the fields. Nothing here reads settings or the environment.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from channels_classic._options import check_values, option, parse_address
from channels_classic.layers.names import check_glob

from .channel_limits import parse_limits


def _processes(text: str) -> int:
    return cores() if text == "auto" else int(text)


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The options of `runworker` and of `channels-classic worker`."""

    layer: str = option("default", "Alias of the channel layer, a key of CHANNEL_LAYERS.")
    only_channels: tuple[str, ...] = option(
        (), "Listen only on channels that match this glob. May be given several times."
    )
    exclude_channels: tuple[str, ...] = option(
        (), "Do not listen on channels that match this glob. May be given several times."
    )
    threads: int = option(1, "Threads per process, for consumers that wait for I/O.", least=1, most=1000)
    processes: int = option(
        1,
        "Processes, for consumers that compute; `auto`: one per processor. Dead ones are replaced.",
        kind=_processes,
        least=1,
        most=1000,
    )
    concurrency: int = option(100, "Maximum number of `async def` consumers that a process runs at once.", least=1)
    prefetch: int = option(32, "Maximum number of messages a thread takes at once; 1 turns prefetching off.", least=1)
    grace: float = option(30.0, "Seconds that running consumers have to finish when the worker is stopped.", least=0)
    max_messages: int = option(0, "Replace a process after this many messages. 0: never.", least=0)
    max_memory: int = option(0, "Replace a process that uses this many MiB of memory. 0: never.", least=0)
    consumer_timeout: float = option(
        0.0, "Seconds after which a consumer is given up and its process replaced. 0: never.", least=0
    )
    limit: tuple[str, ...] = option(
        (), "Maximum number of consumers of matching channels at once in a process: `thumbnails.*=1`. May be repeated."
    )
    health: str = option(
        "", "HOST:PORT, not for the public, to answer /live and /ready on while the worker runs or stops."
    )
    metrics: str = option(
        "", "HOST:PORT where Prometheus reads the metrics of all processes, at /metrics. Not for the public."
    )
    reload: bool = option(False, "Restart when a file of the project changes; for development.")

    def __post_init__(self) -> None:
        check_values(self)
        for name, globs in self.globs.items():
            for glob in globs:
                check_glob(name, glob)
        for name, address in (("--health", self.health), ("--metrics", self.metrics)):
            if address:
                parse_address(name, address)
        if self.reload and self.is_supervised:
            raise ValueError("--reload works with one process only: leave out --processes and --consumer-timeout.")

    @property
    def globs(self) -> Mapping[str, Collection[str]]:
        """The globs by option. Raises `ValueError`."""
        return {
            "--only-channels": self.only_channels,
            "--exclude-channels": self.exclude_channels,
            "--limit": parse_limits(self.limit),
        }

    @property
    def held(self) -> int:
        """Maximum number of messages that one process holds."""
        return self.threads * self.prefetch + self.concurrency

    @property
    def is_supervised(self) -> bool:
        """True if a supervisor runs: for several processes, and to replace a process that is stuck."""
        return self.processes > 1 or self.consumer_timeout > 0
