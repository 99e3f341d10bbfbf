"""The port where Prometheus reads the metrics of a program, apart from those for clients.

`prometheus_client` writes them; it is imported when a program begins to serve them, and nowhere else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from channels_classic._durations import LIMITS
from channels_classic._metrics.catalogue import METRICS, Metric, MetricKind
from channels_classic._metrics.exchange import Collect
from channels_classic._metrics.samples import Labels, Value
from channels_classic._probe_server import ProbeServer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

logger = logging.getLogger("channels_classic.metrics")

PATH = "/metrics"


class MetricsEndpoint:
    """Listens on `HOST:PORT`, and from `start` to `stop` serves what `collect` returns, in a thread.

    Raises `CannotListen` and `ValueError`.
    """

    def __init__(self, address: str, collect: Collect) -> None:
        if find_spec("prometheus_client") is None:
            raise ValueError("--metrics needs prometheus-client: pip install 'channels-classic[metrics]'.")
        self._server = _Server(address, collect)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="metrics-endpoint", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and listen no longer."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ProbeServer):
    """A server with the registry that its handlers read."""

    def __init__(self, address: str, collect: Collect) -> None:
        super().__init__("--metrics", address, _Handler)
        self.registry = _registry(collect)


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0
    server: _Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(404, explain=f"The metrics are at {PATH}.")
            return
        try:
            encode, content_type = _encoder(self.headers.get("Accept", ""))
            content = encode(self.server.registry)
        except Exception:
            logger.exception("The metrics could not be collected.")
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log no line for each scrape."""


def _encoder(accept: str) -> Any:
    """Return the function that writes the metrics, and their content type, for an `Accept` header."""
    from prometheus_client.exposition import choose_encoder

    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # from its parser, for versions that are not numbers
        return choose_encoder("")


def _registry(collect: Collect) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(collect))
    return registry


class _Collector:
    """Makes the families of `prometheus_client` from samples."""

    def __init__(self, collect: Collect) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Family]:
        """Return the families that have values."""
        for name, values in self._collect().values.items():
            yield _family(METRICS[name], values)


def _family(metric: Metric, values: dict[Labels, Value]) -> Family:
    from prometheus_client import core

    name, labels = metric.full_name, metric.labels
    if metric.kind is MetricKind.HISTOGRAM:
        histogram = core.HistogramMetricFamily(name, metric.help, labels=labels)
        for found, value in values.items():
            assert isinstance(value, tuple)
            counts, total = value
            limits = [*map(str, LIMITS), "+Inf"]
            histogram.add_metric(list(found), list(zip(limits, counts, strict=True)), total)
        return histogram
    kind = core.CounterMetricFamily if metric.kind is MetricKind.COUNTER else core.GaugeMetricFamily
    family = kind(name.removesuffix("_total"), metric.help, labels=labels)
    for found, value in values.items():
        assert not isinstance(value, tuple)
        family.add_metric(list(found), value)
    return family
