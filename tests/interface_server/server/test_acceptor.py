"""Connections before they are served: TLS handshakes that stall, and a process without descriptors."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from channels_classic.interface_server.server import acceptor
from channels_classic.interface_server.server.acceptor import Acceptor
from channels_classic.interface_server.server.listen import Listen
from tests.interface_server.live import Live, live
from tests.interface_server.server.test_limits import HEAD, answer, read_all, statuses
from tests.interface_server.server.test_program import certificate, interface
from tests.support.descriptors import without_descriptors
from tests.support.waiting import eventually, scaled

__all__ = ["certificate"]


def is_served(server: Live) -> bool:
    """A request over TLS is answered."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with server.raw() as raw, context.wrap_socket(raw) as client:
        client.sendall(HEAD + b"\r\n")
        server.consume("http.request", {"status": 200})
        return client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def tls(certificate: Path) -> Iterator[Live]:
    with live(listen=Listen(port=0, certfile=str(certificate)), limits={"head_timeout": scaled(1)}) as server:
        yield server


@pytest.mark.parametrize("start", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_stalls_is_cut_off_in_time(tls: Live, start: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with tls.raw() as client:
        client.sendall(start)
        assert read_all(client) == b""
        assert is_served(tls)
    eventually(lambda: not tls.handshakes)
    assert "Traceback" not in caplog.text


def test_a_client_that_speaks_no_tls_breaks_nothing(tls: Live, caplog: pytest.LogCaptureFixture) -> None:
    with tls.raw() as client:
        client.sendall(HEAD + b"\r\n")
        with suppress(ConnectionError):
            read_all(client)
    eventually(lambda: not tls.handshakes)
    assert is_served(tls)
    assert "Traceback" not in caplog.text


def test_stalled_handshakes_are_bounded_and_the_oldest_makes_way(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "MAX_HANDSHAKES", 5)
    with live(listen=Listen(port=0, certfile=str(certificate))) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.raw()) for _ in range(20)]
        for client in clients[:15]:
            assert read_all(client) == b""
        assert server.handshakes == 5
        assert is_served(server)


def test_handshakes_count_as_connections(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "EXCESS", 0)
    with live(listen=Listen(port=0, certfile=str(certificate)), limits={"max_connections": 3}) as server:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(server.raw())
            eventually(lambda: server.handshakes == 3)
            assert answer(server) == b""
        eventually(lambda: not server.handshakes)
        assert is_served(server)


def test_silent_connections_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "EXCESS", 2)
    with live(limits={"max_connections": 3}) as server, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(server.raw())
        eventually(lambda: len(server.connections) == 5)
        assert answer(server) == b""


def test_without_descriptors_clients_wait_and_the_log_says_so_once(tmp_path: Path, free_port: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))  # inherited
    try:
        with interface(tmp_path, free_port, "--health-path", "/healthz", "--head-timeout", "3") as program:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with ExitStack() as stack:
                clients = [
                    stack.enter_context(socket.create_connection(("127.0.0.1", free_port), timeout=30))
                    for _ in range(100)
                ]
                program.wait_for_line("Cannot accept connections: Too many open files")
                for client in clients[-5:]:  # they wait until the others are cut off for their silence
                    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    assert statuses(read_all(client)) == [200]
            assert program.stop() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert program.output.count("Too many open files") <= 3
    assert "Traceback" not in program.output


def test_a_drain_without_descriptors_leaves_no_timer_for_a_listener_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor, "RETRY_INTERVAL", 0.001)
    failures = []

    async def paused() -> None:
        while "Cannot accept connections: Too many open files" not in caplog.text:
            await asyncio.sleep(0)

    async def main(listener: socket.socket) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        accepting = Acceptor(listener, asyncio.Protocol, lambda: 0, 0, None)
        with without_descriptors():
            await asyncio.wait_for(paused(), scaled(10))
            accepting.drain()
        listener.close()
        await asyncio.sleep(0.02)  # for a timer that was left

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(False)
        asyncio.run(main(listener))
    assert failures == []
