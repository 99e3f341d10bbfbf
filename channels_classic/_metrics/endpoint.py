"""The port where Prometheus reads the metrics of a program, apart from those for clients.

`prometheus_client` writes them; it is imported when a program begins to serve them, and nowhere else.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from channels_classic._durations import LIMITS
from channels_classic._metrics.catalogue import METRICS, Kind, Metric
from channels_classic._metrics.exchange import Collect
from channels_classic._metrics.samples import Labels, Value
from channels_classic._probe_server import BACKLOG, ProbeServer
from channels_classic.exceptions import CannotListen

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

logger = logging.getLogger("channels_classic.metrics")

PATH = "/metrics"

_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


def listen(address: str) -> socket.socket:
    """Return a socket that listens on `HOST:PORT`. Raise `CannotListen` and `ValueError`."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"--metrics is {address!r}: expected a host and a port, such as 127.0.0.1:9100 or [::1]:9100.")
    if find_spec("prometheus_client") is None:
        raise ValueError("--metrics needs prometheus-client: pip install 'channels-classic[metrics]'.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            found["ipv6"] or found["host"], int(found["port"]), type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError as error:
        raise CannotListen(f"{address} for metrics", error) from error
    return listener


class Endpoint:
    """Listens on `HOST:PORT`, and from `start` to `stop` serves what `collect` returns, in a thread.

    Raises `CannotListen` and `ValueError`.
    """

    def __init__(self, address: str, collect: Collect) -> None:
        self._server = _Server(listen(address), collect)
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
    """An HTTP server on a socket that listens already."""

    def __init__(self, listener: socket.socket, collect: Collect) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
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
    if metric.kind is Kind.HISTOGRAM:
        histogram = core.HistogramMetricFamily(name, metric.help, labels=labels)
        for found, value in values.items():
            assert isinstance(value, tuple)
            counts, total = value
            limits = [*map(str, LIMITS), "+Inf"]
            histogram.add_metric(list(found), list(zip(limits, counts, strict=True)), total)
        return histogram
    kind = core.CounterMetricFamily if metric.kind is Kind.COUNTER else core.GaugeMetricFamily
    family = kind(name.removesuffix("_total"), metric.help, labels=labels)
    for found, value in values.items():
        assert not isinstance(value, tuple)
        family.add_metric(list(found), value)
    return family
