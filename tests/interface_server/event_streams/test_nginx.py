"""Event streams behind a real nginx, which collects responses by default and speaks HTTP/1.0 to upstreams."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interface_server.event_streams.test_stream import CONNECT, DISCONNECT, RECEIVE
from tests.interface_server.live import Live, live
from tests.support.event_source import Event, EventSource
from tests.support.processes import Process
from tests.support.redis_server import free_port

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="`scripts/provide nginx` installs it")


@contextmanager
def nginx(server: Live, folder: Path, *directives: str) -> Iterator[int]:
    """Run nginx in front of a server; gives its port."""
    assert NGINX is not None
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = f"user {getpass.getuser()};" if os.getuid() == 0 else ""
    location = f"location / {{ proxy_pass http://127.0.0.1:{server.port}; {''.join(directives)} }}"
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1; {user} events {{}}"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; {location} }} }}"
    )
    with Process([NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as process:
        process.wait_for_port(port)
        yield port


def test_events_pass_nginx_at_once_and_messages_come_back(tmp_path: Path) -> None:
    with live(event_streams=("*",)) as server, nginx(server, tmp_path, "proxy_http_version 1.1;") as port:
        source = EventSource(port, "/room")
        channel = server.consume(CONNECT, {"accept": True})["reply_channel"]
        with source:
            for number in range(3):
                server.layer.send(channel, {"text": str(number)})
                assert source.next() == Event(str(number))
            assert source.post("hello") == 204
            assert server.consume(RECEIVE)["text"] == "hello"
        assert server.consume(DISCONNECT)["code"] == 1005


def test_nginx_as_it_is_by_default_is_told_what_is_missing(tmp_path: Path) -> None:
    with (
        live(event_streams=("*",)) as server,
        nginx(server, tmp_path, "proxy_http_version 1.0;") as port,
        EventSource(port) as source,
    ):
        assert source.status == 426
        assert b"proxy_http_version 1.1" in source.response.read()
