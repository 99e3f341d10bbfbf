"""The metrics of one program: a port for all of its processes, and what each of them has to do for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from channels_classic._metrics.endpoint import listen, serve
from channels_classic._metrics.exchange import Collect, Exchange
from channels_classic._metrics.samples import Samples
from channels_classic._metrics.site import layer_samples

_FOLDER = "CHANNELS_CLASSIC_METRICS"
"""The environment variable that names the folder of an exchange to processes that are started with new code."""


class ProgramMetrics:
    """Serves the metrics of a program at `HOST:PORT`. Made before processes are forked or started.

    Raise `CannotListen`, and `ValueError` for an address that means nothing or without `prometheus_client`.
    """

    def __init__(self, address: str, layer: Any, *, has_several_processes: bool) -> None:
        self._listener = listen(address)
        self._layer = layer
        self._exchange = Exchange() if has_several_processes else None

    def serve(self, collect: Collect) -> None:
        """Serve the samples of this process, together with those of all others that do the same on this listener."""
        if self._exchange is not None:
            self._exchange.answer(collect)
            collect = self._exchange.collect
        self._serve(collect)

    def serve_children(self) -> None:
        """Serve the samples of processes that this one will start and that call `report_to_parent`."""
        assert self._exchange is not None
        os.environ[_FOLDER] = str(self._exchange.folder)
        self._serve(self._exchange.collect)

    def _serve(self, collect: Collect) -> None:
        def with_layer() -> Samples:
            samples = collect()
            samples.include(layer_samples(self._layer))
            return samples

        serve(self._listener, with_layer)

    def close(self) -> None:
        """Remove what was made for the exchange between processes."""
        if self._exchange is not None:
            self._exchange.remove()


def report_to_parent(collect: Collect) -> None:
    """Report the samples of this process to the one that started it, if that serves metrics."""
    folder = os.environ.pop(_FOLDER, None)
    if folder is not None:
        Exchange(Path(folder)).answer(collect)
