"""Reading the metrics of a program as Prometheus does."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from channels_classic._metrics.catalogue import PREFIX
from tests.support.waiting import scaled


def get(port: int, path: str = "/metrics", host: str = "127.0.0.1") -> tuple[int, str]:
    """Return the status and the text of a response."""
    connection = http.client.HTTPConnection(host, port, timeout=scaled(20))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Scrape:
    """The samples of one scrape."""

    def __init__(self, port: int) -> None:
        status, self.text = get(port)
        assert status == 200, self.text
        self.samples = [sample for family in text_string_to_metric_families(self.text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels; 0 without any."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str) -> list[Mapping[str, str]]:
        """Return the labels of all samples of a metric."""
        return [sample.labels for sample in self.samples if sample.name == PREFIX + name]
