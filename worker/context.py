"""The configuration of one `run` of a worker, as its threads see it: plain data that never changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from channels_classic._throttled_log import ThrottledLog
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.message import Message

from .failure_log import FailureLog
from .inflight import InFlightRecord

Callback = Callable[[str, Message], object]


class Progress(Protocol):
    """The two attributes that a worker and its loop share."""

    termed: bool
    """Read by the loop before each take: end."""

    in_job: bool
    """Set by the loop while a consumer runs."""


@dataclass(slots=True)
class Counts:
    """Counts that threads share; one may be missed when two of them count at once."""

    put_back: int = 0
    """Messages that were put back because the consumer before them took too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The configuration that the threads of a worker process share. Times are in seconds."""

    wrapper: ChannelLayerWrapper
    """The layer with its routing."""

    sender: type
    """The class of the worker: the sender of signals around consumers."""

    in_flight: InFlightRecord
    """Records the messages that the process holds."""

    failures: FailureLog
    """Logs failures of consumers."""

    refusals: ThrottledLog = field(default_factory=ThrottledLog)
    """Logs what the layer refuses."""

    counts: Counts = field(default_factory=Counts)

    is_stopping: Callable[[], bool]
    """Tells whether the worker was asked to stop; long responses ask it."""

    callback: Callback | None = None
    message_retries: int = 10
    prefetch: int = 1
    concurrency: int = 1
    consumer_timeout: float = 0.0
    clock: Callable[[], float] = time.monotonic

    @property
    def layer(self) -> BaseChannelLayer:
        """The layer without its routing."""
        layer: Any = self.wrapper.channel_layer
        found: BaseChannelLayer = layer
        return found
