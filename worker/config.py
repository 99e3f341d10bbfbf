"""What can be set about a worker process: the one place where each option has its name, type, default and help.

The commands make their options from the fields; nothing here reads settings or the environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _option(default: Any, text: str, *flags: str) -> Any:
    return field(default=default, metadata={"help": text, "flags": flags})


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
    processes: int = _option(1, "Processes, for consumers that compute; one that dies is replaced.")
    prefetch: int = _option(10, "Messages a thread takes at once while its consumers are fast; 1 turns that off.")
    grace: float = _option(30.0, "Seconds that running consumers have to finish when the worker is stopped.")
