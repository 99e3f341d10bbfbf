"""The ports of `--health` and `--metrics` when foreign clients reach them: real sockets."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from channels_classic._health import Health, HealthServer
from channels_classic._metrics.endpoint import MetricsEndpoint
from channels_classic._metrics.samples import Samples
from channels_classic._probe_server import MAX_CONNECTIONS, RETRY_INTERVAL, ProbeServer
from tests.support.descriptors import without_descriptors
from tests.support.waiting import eventually, scaled


@pytest.fixture(params=["health", "metrics"])
def ask(request: pytest.FixtureRequest) -> Iterator[Callable[..., int]]:
    """A function that asks for the page of probes and returns the status; `port` is an attribute of it."""
    if request.param == "health":
        server = HealthServer("127.0.0.1:0", lambda: Health.READY)
        port, path = server.port, "/ready"
    else:
        endpoint = MetricsEndpoint("127.0.0.1:0", Samples)
        port, path = endpoint._server.server_address[1], "/metrics"

    def get(**headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(5))
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    get.port = port  # type: ignore[attr-defined]
    if request.param == "health":
        with server:
            yield get
    else:
        endpoint.start()
        yield get
        endpoint.stop()


def connect(ask: Any, data: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", ask.port), timeout=scaled(5))
    client.sendall(data)
    return client


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
def test_silent_clients_hold_few_threads_and_a_probe_is_answered_beside_them(ask: Any, data: bytes) -> None:
    before = threading.active_count()
    with ExitStack() as clients:
        for _ in range(10 * MAX_CONNECTIONS):
            clients.enter_context(connect(ask, data))
        assert ask() == 200  # so all of them have been accepted
        assert threading.active_count() <= before + 3 * MAX_CONNECTIONS  # some are just ending
    eventually(lambda: threading.active_count() <= before + 1)


def test_clients_that_leave_at_any_time_print_nothing(ask: Any, capfd: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    for data in (b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") * 20:
        with connect(ask, data) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask() == 200
    eventually(lambda: threading.active_count() <= before + 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
        b"\x1b[2J / HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_probe_is_refused_without_a_word(ask: Any, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with connect(ask, data) as client:
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert ask() == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=x",
        "application/openmetrics-text;version=1.0.0;escaping=x",
        "text/plain;version=",
        "text/plain;version=1.0.0;escaping",
        ";;;,,,",
        "application/openmetrics-text;version=99999999999999.0",
    ],
)
def test_no_list_of_formats_makes_it_fail(ask: Any, accept: str, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(Accept=accept) == 200
    assert caplog.records == []


def test_a_process_without_descriptors_does_not_spin() -> None:
    attempts: list[float] = []

    class Counting(ProbeServer):
        def get_request(self) -> Any:
            attempts.append(time.monotonic())
            return super().get_request()

    server = Counting("--health", "127.0.0.1:0", BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    with socket.create_connection(("127.0.0.1", server.server_address[1])):
        with without_descriptors():
            thread.start()
            eventually(lambda: len(attempts) >= 3)
        server.shutdown()
        thread.join()
        server.server_close()
    assert attempts[2] - attempts[0] >= 2 * RETRY_INTERVAL
