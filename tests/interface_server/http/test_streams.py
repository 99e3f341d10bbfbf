"""Large bodies both ways through real processes: memory is bounded, and a client that stalls holds nobody up."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from benchmarks.streams import download, measure, upload
from tests.interface_server.live import live
from tests.support.running_site import RunningSite
from tests.support.site import HOST

SIZE = 100
BOUND = 40.0
"""MiB by which a process may grow for a body of 100 MB each way."""


@pytest.fixture(scope="module")
def site() -> Iterator[RunningSite]:
    with RunningSite(workers=1, options=("--stall-timeout", "1")) as running:
        yield running
        assert "Traceback" not in running.output


@pytest.mark.usefixtures("redis_server")
def test_large_bodies_need_little_memory_with_a_client_that_is_slow_at_first() -> None:
    def both(site: RunningSite) -> None:
        download(site.port, SIZE, 2.0)
        upload(site.port, SIZE)

    grown = measure(both).grown
    assert max(grown["interface"], grown["worker"]) < BOUND
    assert grown["redis"] < 3 * BOUND  # it holds a channel full of chunks


def test_a_client_that_takes_nothing_is_cut_off_and_its_worker_free(site: RunningSite) -> None:
    with socket.create_connection((HOST, site.port)) as client:
        client.sendall(b"GET /stream/100 HTTP/1.1\r\nHost: x\r\n\r\n")
        site.interface.wait_for_line("cut off: it read nothing of its response")
        assert site.get("/") == (200, "Hello, world")


def test_a_client_that_leaves_in_the_middle_frees_its_worker(site: RunningSite) -> None:
    with socket.create_connection((HOST, site.port)) as client:
        client.sendall(b"GET /stream/1000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert site.get("/") == (200, "Hello, world")


def test_the_client_is_asked_for_its_body_only_when_it_is_wanted() -> None:
    with live() as server, server.raw() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert server.consume("http.request", {"status": 200})["body"] == b"abc"
