"""Tests of the end of the program, and of signals: real processes, with a worker where one is needed."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn

from channels_classic.interface_server.config import ClientLimits
from channels_classic.interface_server.http.request import Request
from channels_classic.interface_server.server import uvicorn_server
from channels_classic.interface_server.server.observer import ServerObserver
from channels_classic.interface_server.server.uvicorn_server import UvicornServer
from channels_classic.layers.codec import Outcome
from tests.interface_server.live import live
from tests.interface_server.server.test_limits import UPGRADE, open_socket, read_all, statuses
from tests.interface_server.server.test_program import interface, status_of
from tests.support.clock import Clock
from tests.support.processes import Process
from tests.support.waiting import accepts_connections, eventually, scaled

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"


def connected(port: int, *data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=scaled(30.0))
    for part in data:
        client.sendall(part)
    return client


def lines(program: Process, text: str) -> int:
    return len(re.findall(text, program.output))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_requests_that_no_worker_began_are_answered_with_503_when_the_program_stops(
    tmp_path: Path, free_port: int, processes: str
) -> None:
    with (
        interface(tmp_path, free_port, "--processes", processes) as program,
        connected(free_port, GET) as request,
        connected(free_port, UPGRADE) as handshake,
        connected(
            free_port, b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        ) as upload,
        connected(free_port, b"GET /") as half,
    ):
        assert upload.recv(100).startswith(b"HTTP/1.1 100 ")
        begun = time.monotonic()
        program.send_signal(signal.SIGTERM)
        assert statuses(read_all(half)) == []
        received = read_all(handshake)
        assert statuses(received) == [503]
        assert b"\r\nretry-after: " in received
        received = read_all(request)
        assert statuses(received) == [503]
        assert b"\r\nretry-after: " in received
        received = read_all(upload)
        assert statuses(received) == [503]
        assert b"\r\nretry-after: " in received
        assert program.wait(scaled(20.0)) == 0
        assert time.monotonic() - begun < scaled(14.0)
    assert lines(program, "Stopping: ") == lines(program, "Stopped") == int(processes)
    assert "Traceback" not in program.output
    assert "Exception" not in program.output


def test_a_request_that_waited_for_long_is_answered_at_once_when_the_server_stops() -> None:
    with live() as server, server.raw() as client:
        client.sendall(GET)
        server.take("http.request")
        (request,) = server.session.registry.everybody()
        assert isinstance(request, Request)
        request._started_at -= 60.0
        server.server.stop()
        begun = time.monotonic()
        assert statuses(read_all(client)) == [503]
        assert time.monotonic() - begun < scaled(2.0)


def test_a_response_that_is_finished_within_the_grace_arrives(caplog: pytest.LogCaptureFixture) -> None:
    with live() as server, server.raw() as client, server.raw() as other:
        client.sendall(GET)
        other.sendall(GET)
        deliveries = [server.take("http.request"), server.take("http.request")]
        server.server.stop()
        for delivery in deliveries:
            server.report(delivery, Outcome.RUNNING)
        eventually(lambda: not accepts_connections(server.port))
        for delivery in deliveries:
            server.layer.send(str(delivery.reply_channel), {"status": 200, "content": b"done"})
        assert read_all(client).endswith(b"done")
        assert read_all(other).endswith(b"done")
    assert "Traceback" not in caplog.text


def test_a_second_signal_ends_the_program_at_once(tmp_path: Path, free_port: int) -> None:
    with interface(tmp_path, free_port) as program, connected(free_port, UPLOAD) as request:
        assert request.recv(100).startswith(b"HTTP/1.1 100 ")  # so the request is under way
        program.send_signal(signal.SIGTERM)
        program.wait_for_line("Stopping: ")
        begun = time.monotonic()
        program.send_signal(signal.SIGTERM)
        read_all(request)
        assert program.wait(scaled(5.0)) == 0
        assert time.monotonic() - begun < scaled(4.0)
    assert "Traceback" not in program.output


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_process_that_is_replaced_may_get_its_first_signal_twice(
    monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    """From its supervisor, and from systemd, which by default sends it to all processes of a unit."""

    class Observer(ServerObserver):
        @property
        def is_replaced(self) -> bool:
            return is_replaced

    clock = Clock()
    monkeypatch.setattr(uvicorn_server, "time", SimpleNamespace(monotonic=clock))
    config = uvicorn.Config("", log_config=None)
    server = UvicornServer(config, ClientLimits(), None, 5.0, clock, Observer())
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit) == (True, False)
    clock.now += 0.5
    server.handle_exit(signal.SIGTERM, None)
    assert server.force_exit is not is_replaced
    clock.now += 0.6
    server.handle_exit(signal.SIGTERM, None)
    assert server.force_exit


def test_open_sockets_are_closed_with_1012() -> None:
    with live() as server, server.raw() as client:
        open_socket(server, client)
        server.server.stop()
        assert read_all(client) == b"\x88\x02" + (1012).to_bytes(2, "big")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_writes_the_statistics_and_kills_nothing(tmp_path: Path, free_port: int, processes: int) -> None:
    with (
        interface(tmp_path, free_port, "--health-path", "/healthz", "--processes", str(processes)) as program,
        connected(free_port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") as client,
    ):
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

        def everyone_wrote_them() -> bool:
            program.send_signal(signal.SIGUSR1)
            return len(re.findall(r"Statistics: .*connection", program.output)) >= 3 * processes

        # A process that does not serve yet ignores the signal.
        eventually(everyone_wrote_them)
        assert re.search(r"Statistics: [01] connection\(s\), of which 0 WebSocket\(s\)", program.output)
        assert program.stop() == 0


def test_a_signal_before_the_server_is_ready_kills_nothing(tmp_path: Path, free_port: int) -> None:
    with interface(tmp_path, free_port, "--health-path", "/healthz") as program:  # it listens before it serves
        program.send_signal(signal.SIGUSR1)
        assert status_of(free_port) == 200
        assert program.stop() == 0
