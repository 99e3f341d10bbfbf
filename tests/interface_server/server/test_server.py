"""Listening and stopping of a server."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from channels_classic.exceptions import CannotListen
from channels_classic.interface_server import InterfaceConfig, InterfaceServer
from channels_classic.interface_server.layer import session as session_module
from channels_classic.interface_server.server import listen as listen_module
from channels_classic.interface_server.server import uvicorn_server
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.observer import ServerObserver
from channels_classic.interface_server.server.server import Server
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.interface_server.live import TIMEOUT, live, running
from tests.support.certificates import with_passphrase


def close(sockets: list[socket.socket]) -> None:
    for bound in sockets:
        bound.close()


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "[::1]", "localhost"])
def test_it_listens_on_an_address(bind: str) -> None:
    sockets = Listen(bind=bind, port=0).sockets()
    assert len(sockets) == 1
    close(sockets)


def test_a_port_in_use_is_named_with_the_way_out(free_port: int) -> None:
    first = Listen(port=free_port).sockets()
    with pytest.raises(CannotListen, match=rf"Cannot listen on 127.0.0.1:{free_port}: .*--port") as caught:
        Listen(port=free_port).sockets()
    assert caught.value.where == f"127.0.0.1:{free_port}"
    close(first)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1:0.*No network interface of this machine has that address"):
        Listen(bind="192.0.2.1", port=0).sockets()


def test_a_closed_descriptor_is_named() -> None:
    with pytest.raises(CannotListen, match=r"descriptor 1000000: Bad file descriptor\. The descriptor is not open"):
        Listen(fd=1_000_000).sockets()


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EADDRINUSE, "Another program listens there"),
        (errno.EACCES, "below 1024"),
        (errno.EADDRNOTAVAIL, "No network interface"),
        (errno.ENOTSOCK, "not a socket"),
        (errno.ENOENT, "does not exist"),
        (errno.EMFILE, ""),
    ],
)
def test_the_hint_of_an_error_suits_it(number: int, hint: str) -> None:
    text = str(CannotListen("here", OSError(number, os.strerror(number))))
    assert text.startswith(f"Cannot listen on here: {os.strerror(number)}.")
    assert hint in text
    assert ("stop it" in text) is (number == errno.EADDRINUSE)


def test_a_descriptor_that_cannot_listen_is_named_and_left_open() -> None:
    ends = socket.socketpair()
    with pytest.raises(CannotListen, match=f"descriptor {ends[0].fileno()}"):
        Listen(fd=ends[0].fileno()).sockets()
    ends[0].sendall(b"x")
    close(list(ends))


def test_all_that_is_given_is_combined(tmp_path: Path) -> None:
    sockets = Listen(port=0, unix_socket=str(tmp_path / "s")).sockets()
    assert [bound.family for bound in sockets] == [socket.AF_UNIX, socket.AF_INET]
    close(sockets)


@pytest.mark.parametrize(
    ("listen", "host", "given_port"),
    [
        (Listen(), "127.0.0.1", False),
        (Listen(port=0), "127.0.0.1", True),
        (Listen(bind="localhost"), "127.0.0.1", False),
        (Listen(bind="[::1]"), "::1", False),
        (Listen(bind="127.0.0.1", port=0), "127.0.0.1", True),
    ],
)
def test_what_is_left_out_is_127_0_0_1_and_8000(
    listen: Listen, host: str, given_port: bool, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listen_module.DEFAULT_PORT == 8000
    monkeypatch.setattr(listen_module, "DEFAULT_PORT", free_port)  # which nobody else uses
    (bound,) = listen.sockets()
    assert bound.getsockname()[0] == host
    assert (bound.getsockname()[1] != free_port) is given_port
    bound.close()


def test_a_descriptor_alone_adds_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (bound,) = Listen(fd=listener.detach()).sockets()
        bound.close()


def test_the_defaults_are_those_of_daphne() -> None:
    config = InterfaceConfig()
    assert (config.http_timeout, config.websocket_connect_timeout) == (120, 5)
    assert (config.ping_interval, config.ping_timeout) == (20, 30)
    assert (config.ws_protocols, config.root_path, config.proxy_headers) == ((), "", False)


def test_a_unix_socket_alone_adds_no_port(tmp_path: Path) -> None:
    sockets = Listen(unix_socket=str(tmp_path / "s")).sockets()
    assert len(sockets) == 1
    close(sockets)


def test_a_unix_socket_in_use_is_left_alone_and_a_dead_one_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    first = Listen(unix_socket=path).sockets()
    with pytest.raises(CannotListen, match="Another program listens there"):
        Listen(unix_socket=path).sockets()
    close(first)
    close(Listen(unix_socket=path).sockets())


START = """
import socket, sys
from channels_classic.exceptions import CannotListen
from channels_classic.interface_server.server.listen import Listen
sys.stdin.readline()
try:
    (bound,) = Listen(unix_socket=sys.argv[1]).sockets()
except CannotListen as error:
    assert "Another program listens there" in str(error)
    print("refused", flush=True)
else:
    print("listens", flush=True)
    sys.stdin.readline()
"""


def test_of_servers_that_start_at_once_on_one_unix_socket_one_listens_and_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)  # left by a killed server
        starts = [
            subprocess.Popen([sys.executable, "-c", START, path], stdin=PIPE, stdout=PIPE, text=True) for _ in range(6)
        ]
        for start in starts:
            assert start.stdin is not None
            start.stdin.write("\n")
            start.stdin.flush()
        assert sorted(start.stdout.readline() for start in starts if start.stdout) == ["listens\n"] + ["refused\n"] * 5
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        for start in starts:
            start.communicate(timeout=TIMEOUT)
        Path(path).unlink()


def test_a_folder_that_somebody_keeps_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "LOCK_TIMEOUT", 0.1)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(CannotListen, match="another process has locked its folder"):
        Listen(unix_socket=str(tmp_path / "s")).sockets()
    os.close(folder)
    close(Listen(unix_socket=str(tmp_path / "s")).sockets())


def test_a_failure_leaves_no_socket_open(tmp_path: Path, free_port: int) -> None:
    first = Listen(port=free_port).sockets()
    path = tmp_path / "s"
    with pytest.raises(CannotListen):
        Listen(port=free_port, unix_socket=str(path)).sockets()
    close(first)
    close(Listen(unix_socket=str(path)).sockets())


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(CannotListen, match="a file that is not a socket is at that path"):
        Listen(unix_socket=str(path)).sockets()
    assert path.read_text() == "mine"


@pytest.mark.parametrize("files", [{"certfile": "{file}"}, {"certfile": "{file}", "keyfile": "{file}"}])
def test_a_file_without_a_certificate_is_refused_in_plain_words(tmp_path: Path, files: dict[str, str]) -> None:
    path = tmp_path / "certificate.pem"
    path.write_text("no certificate")
    options: dict[str, Any] = {name: file.format(file=path) for name, file in files.items()}
    listen = Listen(port=0, **options)
    with pytest.raises(CannotListen, match="expected a certificate chain and its private key in PEM form") as caught:
        Server(InterfaceServer(ChannelLayer()), InterfaceConfig(), listen)
    assert str(path) in str(caught.value)


def test_a_private_key_with_a_passphrase_is_refused_and_never_asked_for(tmp_path: Path) -> None:
    certificate, key = with_passphrase(tmp_path)
    listen = Listen(port=0, certfile=certificate, keyfile=key)
    with pytest.raises(CannotListen, match="its private key has a passphrase") as caught:
        Server(InterfaceServer(ChannelLayer()), InterfaceConfig(), listen)
    assert f"{certificate} and {key}" in str(caught.value)


def test_a_certificate_that_cannot_be_read_gets_no_hint_about_ports_and_sockets(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    listen = Listen(port=0, certfile=str(certificate))
    with pytest.raises(CannotListen) as caught:
        Server(InterfaceServer(ChannelLayer()), InterfaceConfig(), listen)
    assert str(caught.value) == f"Cannot listen on any endpoint with TLS from {certificate}: No such file or directory."


def test_clients_of_a_unix_socket_have_no_address(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with live(listen=Listen(unix_socket=path, port=0)) as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.settimeout(TIMEOUT)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        message = server.consume("http.request", {"status": 200})
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert (message["client"], message["server"]) == (None, None)


def test_a_descriptor_of_a_process_manager_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, live(listen=Listen(fd=listener.detach())) as server:
        connection = server.http()
        connection.request("GET", "/")
        server.consume("http.request", {"status": 200})
        assert connection.getresponse().status == 200
        connection.close()


def test_addresses_are_such_as_a_person_can_use(tmp_path: Path) -> None:
    layer = ChannelLayer()
    config = InterfaceConfig()
    server = Server(InterfaceServer(layer), config, Listen(bind="::1", port=0, unix_socket=str(tmp_path / "s")))
    port = server.sockets[1].getsockname()[1]
    assert server.addresses == [f"unix:{tmp_path / 's'}", f"http://[::1]:{port}/"]
    close(server.sockets)


def test_a_request_under_way_is_finished_when_the_server_stops() -> None:
    with live() as server:
        connection = server.http()
        connection.request("GET", "/")
        delivery = server.take("http.request")
        server.server.stop()
        server.layer.send(str(delivery.reply_channel), {"status": 200, "content": b"done"})
        assert connection.getresponse().read() == b"done"
        connection.close()


def test_a_handshake_nobody_answered_gets_503_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    with live() as server, ThreadPoolExecutor(1) as pool:
        handshake = pool.submit(server.handshake)
        delivery = server.take("websocket.connect")
        server.server.stop()
        with pytest.raises(InvalidStatus) as refused:
            handshake.result()
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"
        server.report(delivery)
        assert server.consume("websocket.disconnect")["code"] == 1006
    assert "Traceback" not in caplog.text


def test_connections_that_ask_for_nothing_end_at_once_when_the_server_stops() -> None:
    with live() as server, server.raw() as idle, server.raw() as silent, server.raw() as partial:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.consume("http.request", {"status": 204})
        assert idle.recv(65536).startswith(b"HTTP/1.1 204 ")
        partial.sendall(b"GET / HT")
        server.server.stop()
        assert [client.recv(1) for client in (idle, silent, partial)] == [b"", b"", b""]
        assert server.has_none("http.disconnect")


def test_a_server_that_is_stopped_before_it_runs_returns_at_once() -> None:
    config = InterfaceConfig()
    server = Server(InterfaceServer(ChannelLayer()), config, Listen(port=0))
    server.stop()
    thread = threading.Thread(target=server.run)
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


class Successor(ServerObserver):
    """The observer of a server that another one precedes."""

    is_successor = True


def test_a_successor_serves_without_a_layer_once_its_predecessor_must_be_gone(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it waits for its layer. If the server before it has died, nobody else answers."""
    monkeypatch.setattr(uvicorn_server, "PREDECESSOR_TIMEOUT", 0.5)
    monkeypatch.setattr(session_module, "START_TIMEOUT", 0.1)
    layer, config = RedisChannelLayer(hosts=[f"redis://127.0.0.1:{free_port}/0"]), InterfaceConfig()
    server = Server(InterfaceServer(layer, config), config, Listen(port=0), observer=Successor())
    with running(server, layer) as found, closing(found.http()) as client:
        client.request("GET", "/")
        assert client.getresponse().status == 503
