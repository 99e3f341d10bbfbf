"""The metrics of one program: a port for all of its processes, and what each of them has to do for it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from channels_classic._metrics.endpoint import MetricsEndpoint
from channels_classic._metrics.exchange import Collect, Exchange
from channels_classic._metrics.samples import Samples
from channels_classic._metrics.site import layer_samples

_FOLDER = "CHANNELS_CLASSIC_METRICS"
"""The environment variable that names the folder of an exchange to the processes that a supervisor starts."""


class ProgramMetrics:
    """Serves the metrics of a program at `HOST:PORT` inside a `with` block.

    `collect` returns the samples of this process. Those of a supervisor are served with those of the processes that it
    starts inside the block, and that call `reporting_to_supervisor`. Raises `CannotListen`, and `ValueError` for an
    invalid address or without `prometheus_client`.
    """

    def __init__(self, address: str, layer: Any, collect: Collect, is_supervisor: bool = False) -> None:
        self._layer = layer
        self._collect = collect
        self._is_supervisor = is_supervisor
        self._exchange: Exchange | None = None
        self._endpoint = MetricsEndpoint(address, self._samples)

    def __enter__(self) -> None:
        if self._is_supervisor:
            self._exchange = Exchange()
            os.environ[_FOLDER] = str(self._exchange.folder)
        self._endpoint.start()

    def __exit__(self, *_: object) -> None:
        self._endpoint.stop()
        if self._exchange is not None:
            os.environ.pop(_FOLDER, None)
            self._exchange.remove()

    def _samples(self) -> Samples:
        samples = Samples()
        samples.include(self._collect())
        if self._exchange is not None:
            samples.include(self._exchange.collect())
        samples.include(layer_samples(self._layer))
        return samples


def reporting_to_supervisor(collect: Collect) -> AbstractContextManager[None]:
    """Report the samples of this process, inside the block, to the supervisor that started it, if that serves metrics.

    `collect` is called once more at the end of the block, for the counters that stay.
    """
    folder = os.environ.pop(_FOLDER, None)
    return nullcontext() if folder is None else Exchange(Path(folder)).answering(collect)
