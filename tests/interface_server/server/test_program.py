"""The program itself: its processes, its signals, TLS, and an address for load balancers."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from channels_classic.exceptions import CannotListen
from channels_classic.interface_server.server import listen as listen_module
from channels_classic.interface_server.server.listen import Listen
from tests.interface_server.live import Live, live
from tests.support.processes import Process
from tests.support.waiting import accepts_connections, eventually, scaled

PROGRAM = Path(sys.executable).with_name("channels-classic")


@contextmanager
def interface(tmp_path: Path, port: int, *options: str) -> Iterator[Process]:
    """An interface server without a project, on a local layer."""
    layer = f"local:{tmp_path}/layer"
    with Process([PROGRAM, "interface", "--layer", layer, "--port", str(port), *options], cwd=tmp_path) as program:
        program.wait_for_port(port)
        yield program


def status_of(port: int, path: str = "/healthz") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(10))) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def children_of(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_several_processes_share_a_port_and_one_that_dies_is_replaced(tmp_path: Path, free_port: int) -> None:
    with interface(tmp_path, free_port, "--processes", "2", "--health-path", "/healthz") as program:
        eventually(lambda: len(children_of(program.pid)) == 2)
        first = children_of(program.pid)
        eventually(lambda: status_of(free_port) == 200)
        os.kill(first[0], signal.SIGKILL)
        program.wait_for_line(f"process {first[0]} ended with status -9; it is replaced")
        eventually(lambda: len(set(children_of(program.pid)) - {first[0]}) == 2)
        eventually(lambda: status_of(free_port) == 200)  # it may have been the one that hosts the layer
        assert program.stop() == 0
    assert not [pid for pid in first if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in program.output


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path, free_port: int) -> None:
    with interface(tmp_path, free_port, "--processes", "2") as program:
        eventually(lambda: len(children_of(program.pid)) == 2)
        children = children_of(program.pid)
        program.send_signal(signal.SIGKILL)
        eventually(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()], timeout=15)


def test_the_end_of_a_terminal_is_not_that_of_the_server(tmp_path: Path, free_port: int) -> None:
    with interface(tmp_path, free_port, "--health-path", "/healthz") as program:
        assert status_of(free_port) == 200  # it listens before it has anything else in hand
        program.send_signal(signal.SIGHUP)
        assert status_of(free_port) == 200
        assert program.stop() == 0


def test_lines_of_the_access_log_come_at_once(tmp_path: Path, free_port: int) -> None:
    with interface(tmp_path, free_port, "--health-path", "/healthz", "--access-log", "-") as program:
        status_of(free_port)
        assert program.wait_for_line(r'^127\.0\.0\.1:\d+ - - \[.* [+-]\d{4}\] "GET /healthz" 200 3$')


def test_the_options_of_daphne_are_understood(tmp_path: Path, free_port: int) -> None:
    unix_socket = tmp_path / "http"
    options = [
        *("-b", "127.0.0.1", "-u", str(unix_socket), "-v", "3", "-t", "60", "--access-log", str(tmp_path / "log")),
        *("--ping-interval", "20", "--ping-timeout", "30", "--ws-protocol", "chat", "--ws-protocol", "super"),
        *("--root-path", "/site", "--proxy-headers", "--websocket_timeout", "-1", "--websocket_connect_timeout", "-1"),
    ]
    (tmp_path / "log").write_text("before\n")
    with interface(tmp_path, free_port, "--health-path", "/healthz", *options) as program:
        assert status_of(free_port) == 200
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(unix_socket))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert program.stop() == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.partition(" - - ")[0].partition(":")[0] for line in lines] == ["before", "127.0.0.1", "unix"]
    assert "Traceback" not in program.output


def test_an_address_that_is_none_is_named_in_a_sentence(tmp_path: Path, free_port: int) -> None:
    options = ("--proxy-headers", "--forwarded-allow-ips", "x")
    with Process([PROGRAM, "interface", "--layer", f"local:{tmp_path}/l", *options]) as program:
        assert program.wait() == 1
    assert "--forwarded-allow-ips is 'x': expected an address, a network" in program.output
    assert "Traceback" not in program.output


def test_help_lists_the_options_in_groups() -> None:
    shown = subprocess.run([PROGRAM, "interface", "--help"], capture_output=True, text=True, check=True).stdout
    for title in ("The program", "Where to listen", "HTTP", "WebSocket", "Behind a web server", "Limits on clients"):
        assert f"\n{title}:\n" in shown


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("There is no openssl here to make a certificate with.")
    path = tmp_path / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {path} -out {path}.crt",
        shell=True,
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_tls_is_spoken_with_a_certificate(certificate: Path) -> None:
    with live(listen=Listen(port=0, certfile=str(certificate))) as server:
        assert server.server.addresses[0].startswith("https://")
        context = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection("localhost", server.port, timeout=scaled(10), context=context)
        connection.request("GET", "/")
        message = server.consume("http.request", {"status": 200})
        assert connection.getresponse().status == 200
        assert message["scheme"] == "https"
        connection.close()
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(server.consume, "websocket.connect", {"accept": True, "text": "hello"})
            with connect(f"wss://localhost:{server.port}/", ssl=context, compression=None) as client:
                assert client.recv(10) == "hello"
        assert told.result()["scheme"] == "wss"


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nothing.pem"
    with pytest.raises(CannotListen, match=r"TLS from .*nothing\.pem"), live(listen=Listen(certfile=str(path))):
        pass


def test_a_key_without_a_certificate_is_refused_with_the_option_to_add(tmp_path: Path) -> None:
    with Process([PROGRAM, "interface", "--layer", f"local:{tmp_path}/l", "--keyfile", "key.pem"]) as program:
        assert program.wait() == 1
    assert "--keyfile key.pem is given without --certfile" in program.output
    assert "Traceback" not in program.output


def test_the_health_path_is_answered_here_and_no_other(tmp_path: Path) -> None:
    with live(health_path="/healthz") as server:
        assert status_of(server.port) == 200
        assert server.has_none("http.request")
        asked(server)


def asked(server: Live) -> None:
    connection = server.http()
    connection.request("GET", "/healthz/")
    server.consume("http.request", {"status": 404})
    assert connection.getresponse().status == 404
    connection.close()


def test_a_second_signal_insists(tmp_path: Path, free_port: int) -> None:
    with (
        interface(tmp_path, free_port, "-t", "60") as program,
        socket.create_connection(("127.0.0.1", free_port)) as client,
    ):
        # No worker will answer it.
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")  # so the request is under way
        program.send_signal(signal.SIGTERM)
        eventually(lambda: not accepts_connections(free_port))
        assert program.running
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0


def test_the_system_drops_a_client_that_takes_nothing_of_a_finished_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "UNACKNOWLEDGED_TIMEOUT", 1)
    with live(stall_timeout=60) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.consume("http.request", {"status": 200, "content": b"x" * 7_000_000})
        connections = server.connections
        assert connections
        eventually(lambda: not connections, timeout=10)
