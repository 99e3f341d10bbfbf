"""The lines of the access log."""

from __future__ import annotations

import asyncio
import errno
import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from channels_classic.interface_server.access_log import AccessLog
from channels_classic.interface_server.action_log import ActionLogMiddleware
from channels_classic.interface_server.application import InterfaceServer
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Server
from channels_classic.layers.inmemory import ChannelLayer
from tests.interface_server.live import running
from tests.support.waiting import eventually


def line(protocol: str, action: str, **details: object) -> str:
    stream = io.StringIO()
    AccessLog(stream)(protocol, action, {"client": "10.0.0.1:5", "path": "/", **details})
    return stream.getvalue()


def test_a_response_is_a_line() -> None:
    written = line("http", "complete", method="GET", path="/a?b=c", status=200, size=12)
    assert re.fullmatch(
        r'10\.0\.0\.1:5 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\?b=c" 200 12\n', written
    )


def test_what_is_zero_or_missing_is_a_dash() -> None:
    assert line("http", "complete", method="GET", status=204, size=0, client=None).startswith("unix - - [")
    assert line("http", "complete", method="GET", status=204, size=0).endswith('"GET /" 204 -\n')
    assert line("websocket", "connected").endswith('"WSCONNECT /" - -\n')


def test_nothing_in_a_path_ends_the_line_or_the_field() -> None:
    written = line("http", "complete", method="GET", path='/"\n\x1b[31m\\é', status=200, size=1)
    assert '"GET /\\"\\n\\x1b[31m\\\\\\xe9" 200 1\n' in written


def test_every_client_is_written_down(tmp_path: Path) -> None:
    path = tmp_path / "access"
    config = InterfaceConfig(proxy_headers=True)
    with path.open("a", buffering=1) as stream:
        layer = ChannelLayer()
        with running(
            Server(InterfaceServer(layer, config, AccessLog(stream)), config, Listen(port=0)), layer
        ) as server:
            connection = server.http()
            connection.request("GET", "/page?x=1", headers={"X-Forwarded-For": "10.1.2.3"})
            server.consume("http.request", {"status": 200, "content": b"hello"})
            connection.getresponse().read()
            connection.close()
            with server.websocket("/room"):
                pass
            eventually(lambda: "WSDISCONNECT" in path.read_text())
    written = [text.split(" ", 1)[0] + text.partition("]")[2] for text in path.read_text().splitlines()]
    assert written[0] == '10.1.2.3:0 "GET /page?x=1" 200 5'
    assert [text.partition(' "')[2] for text in written[1:]] == [
        'WSCONNECTING /room" - -',
        'WSCONNECT /room" - -',
        'WSDISCONNECT /room" - -',
    ]


def test_a_log_that_cannot_be_written_fails_no_client(caplog: pytest.LogCaptureFixture) -> None:
    def full(protocol: str, action: str, details: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    layer, config = ChannelLayer(), InterfaceConfig()
    with running(Server(InterfaceServer(layer, config, full), config, Listen(port=0)), layer) as server:
        connection = server.http()
        for _ in range(2):
            connection.request("GET", "/")
            server.consume("http.request", {"status": 200, "content": b"hello"})
            assert connection.getresponse().read() == b"hello"
        connection.close()
        with server.websocket() as client:
            client.send("still")
            assert server.consume("websocket.receive")["text"] == "still"
    assert "The action logger, such as --access-log, failed: OSError(28, 'No space left on device')" in caplog.text
    assert "Traceback" not in caplog.text


def test_refusals_are_written_down_and_requests_that_were_left_are_not() -> None:
    stream = io.StringIO()
    layer, config = ChannelLayer(), InterfaceConfig()
    with running(Server(InterfaceServer(layer, config, AccessLog(stream)), config, Listen(port=0)), layer) as server:
        with server.raw() as client:
            client.sendall(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
            server.take("http.request")
        server.take("http.disconnect")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(server.consume, "websocket.connect", {"close": True})
            with pytest.raises(InvalidStatus):
                server.handshake("/a%20b")
    assert [text.partition(' "')[2] for text in stream.getvalue().splitlines()] == [
        'WSCONNECTING /a%20b" - -',
        'WSREJECT /a%20b" - -',
    ]


def test_nothing_in_an_address_ends_the_line() -> None:
    assert "\\n" in line("http", "complete", method="GET", status=200, client="a\nb")


@pytest.mark.parametrize(
    ("client", "shown"), [(("::1", 5), "[::1]:5"), (("10.0.0.1", 5), "10.0.0.1:5"), (None, "unix")]
)
def test_clients_are_named_by_address_and_port(client: tuple[str, int] | None, shown: str) -> None:
    stream = io.StringIO()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def send(event: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/a\n\x1b[31m", "client": client}
    asyncio.run(ActionLogMiddleware(application, AccessLog(stream))(scope, None, send))  # type: ignore[arg-type]
    assert stream.getvalue().startswith(f"{shown} - - [")
    assert '"GET /a%0A%1B%5B31m" 200 -\n' in stream.getvalue()
