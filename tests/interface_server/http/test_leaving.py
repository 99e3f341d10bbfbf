"""Clients that leave, or take nothing, at each point of a response; the tests play the ASGI server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channels_classic.interface_server import InterfaceConfig, InterfaceServer
from channels_classic.interface_server.http import body
from channels_classic.interface_server.http.body import CHUNK
from channels_classic.layers.inmemory import ChannelLayer
from tests.interface_server.live import Live, live
from tests.interface_server.server.test_limits import HEAD
from tests.support.waiting import eventually, eventually_async, scaled

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "http_version": "1.1"}


class Server:
    """One scope of an ASGI server. The client takes what is sent as long as `takes` returns true."""

    def __init__(self, takes: Callable[[dict[str, Any]], bool] = lambda event: True, *events: dict[str, Any]) -> None:
        self._takes = takes
        self._events = list(events or [{"type": "http.request", "body": b""}])
        self._left = asyncio.Event()
        self._watcher: Callable[[], None] | None = None
        self.sent: list[dict[str, Any]] = []
        self.blocked = asyncio.Event()
        self.aborted = False
        self.after_send: Callable[[], None] = lambda: None

    async def receive(self) -> Any:
        if not self._events:
            await self._left.wait()
            return {"type": "http.disconnect"}
        return self._events.pop(0)

    async def send(self, event: Any) -> None:
        if not self._takes(event):
            self.blocked.set()
            await self._left.wait()
            return
        self.sent.append(event)
        asyncio.get_running_loop().call_soon(self.after_send)

    def leave(self) -> None:
        self._left.set()
        if self._watcher is not None:
            self._watcher()

    def watch(self, watcher: Callable[[], None] | None) -> None:
        self._watcher = watcher

    def abort(self) -> None:
        self.aborted = True
        self.leave()

    def scope(self, *, raw: bool, **changes: Any) -> dict[str, Any]:
        """Return a scope; with `raw` it has the extension of our own server."""
        extension = {"watch": self.watch, "unwatch": lambda watcher: self.watch(None), "abort": self.abort}
        return {**SCOPE, **changes, "extensions": {"channels_classic.raw": extension} if raw else {}}


def run(test: Callable[[InterfaceServer, ChannelLayer], Awaitable[None]], **options: Any) -> None:
    """Run a test with an application and its layer."""

    async def main() -> None:
        layer = ChannelLayer()
        application = InterfaceServer(layer, InterfaceConfig(**options))
        try:
            await test(application, layer)
        finally:
            await application.stop()

    asyncio.run(main())


async def reply(layer: ChannelLayer, *parts: dict[str, Any]) -> str:
    """Play the worker of one request; return its reply channel."""
    _, message = await layer.receive_async(["http.request"])
    assert message is not None
    for part in parts:
        await layer.send_async(message["reply_channel"], part)
    return str(message["reply_channel"])


def is_last(event: dict[str, Any]) -> bool:
    return event["type"] == "http.response.body" and not event.get("more_body")


@pytest.mark.parametrize("kind", ["http.response.start", "http.response.body"])
@pytest.mark.parametrize("raw", [True, False])
def test_a_client_that_takes_nothing_is_cut_off_from_the_first_event_on(raw: bool, kind: str) -> None:
    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server(lambda event: event["type"] != kind)
        request = asyncio.create_task(application(server.scope(raw=raw), server.receive, server.send))
        reply_channel = await reply(layer, {"status": 200, "content": b"small"})
        await asyncio.wait_for(request, scaled(5))
        assert server.aborted is raw
        assert (await layer.receive_async(["http.disconnect"]))[1] == {"reply_channel": reply_channel, "path": "/"}

    run(test, stall_timeout=0.2)


@pytest.mark.parametrize("kind", ["http.response.start", "http.response.body"])
@pytest.mark.parametrize("raw", [True, False])
def test_a_client_that_does_not_take_an_error_page_is_cut_off(raw: bool, kind: str) -> None:
    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server(lambda event: event["type"] != kind)
        scope = server.scope(raw=raw, headers=[(b"content-length", b"11")])
        await asyncio.wait_for(application(scope, server.receive, server.send), scaled(5))
        assert server.aborted is raw

    run(test, stall_timeout=0.2, max_body=10)


def test_a_client_that_leaves_before_the_last_piece_is_written_is_reported() -> None:
    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server(lambda event: not is_last(event))
        request = asyncio.create_task(application(server.scope(raw=True), server.receive, server.send))
        reply_channel = await reply(layer, {"status": 200, "content": b"a" * 100_000})
        await server.blocked.wait()
        server.leave()
        await request
        assert (await layer.receive_async(["http.disconnect"]))[1] == {"reply_channel": reply_channel, "path": "/"}

    run(test)


def test_the_end_of_a_complete_response_is_no_disconnect_under_other_servers() -> None:
    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server(lambda event: not is_last(event))
        request = asyncio.create_task(application(server.scope(raw=False), server.receive, server.send))
        await reply(layer, {"status": 200, "content": b"a" * 100_000})
        await server.blocked.wait()
        server.leave()
        await request
        assert layer.receive(["http.disconnect"]) == (None, None)

    run(test)


def test_a_response_that_was_written_takes_no_other_off_its_connection() -> None:
    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server()
        left: list[int] = []

        def look() -> None:  # in the next turn of the loop, when the connection may serve another request
            if server.sent and is_last(server.sent[-1]):
                left.append(len(application._responses.reclaimables))

        server.after_send = look
        request = asyncio.create_task(application(server.scope(raw=True), server.receive, server.send))
        await reply(layer, {"status": 200, "content": b"a" * 3_000_000})
        await request
        await eventually_async(lambda: left)
        assert set(left) == {0}

    run(test)


def test_a_body_that_nothing_announces_has_its_time_limit_too() -> None:
    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server(lambda event: True, {"type": "http.request", "body": b"a", "more_body": True})
        scope = server.scope(raw=False, http_version="2", method="POST")
        await asyncio.wait_for(application(scope, server.receive, server.send), scaled(5))
        assert server.sent[0]["status"] == 408

    run(test, body_timeout=0.2)


def test_a_refused_client_is_not_read_any_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "DISCARD_TIMEOUT", 0.1)

    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server(lambda event: True, {"type": "http.request", "body": b"a" * 11, "more_body": True})
        scope = server.scope(raw=False, headers=[(b"transfer-encoding", b"chunked")])
        await asyncio.wait_for(application(scope, server.receive, server.send), scaled(5))
        assert server.sent[0]["status"] == 413
        assert "_discard_rest" not in str(asyncio.all_tasks())

    run(test, max_body=10)


def test_a_declared_body_takes_nobody_s_space_before_it_comes() -> None:
    with live(spool_disk=2_000_000) as server:
        first = server.http()
        first.request("POST", "/first", body=b"a" * 1_500_000)
        kept = server.consume("http.request", {"status": 200})
        first.getresponse().read()
        with server.raw() as client:
            client.sendall(b"POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 1900000\r\n\r\n")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)
            question = {"channel": "answers", "number": 1, "offset": CHUNK}
            server.layer.send(kept["reply_channel"], {"question": question})
            assert len(server.take("answers").message["content"]) == CHUNK
        first.close()


def test_a_stop_does_not_wait_for_bodies_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels_classic.interface_server.layer.session.LAST_REPORTS_TIMEOUT", 30.0)

    async def test(application: InterfaceServer, layer: ChannelLayer) -> None:
        server = Server(lambda event: True, {"type": "http.request", "body": b"a" * (CHUNK + 1)})
        scope = server.scope(raw=True, method="POST", headers=[(b"content-length", b"%d" % (CHUNK + 1))])
        request = asyncio.create_task(application(scope, server.receive, server.send))
        await reply(layer, {"status": 200})
        await request
        started = asyncio.get_running_loop().time()
        await application.stop()
        assert asyncio.get_running_loop().time() - started < scaled(3)

    run(test)


def slow_client(server: Live) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", server.port))
    return client


def test_pipelined_requests_of_a_client_that_reads_nothing_hold_no_connection() -> None:
    with live(stall_timeout=0.5) as server, slow_client(server) as client:
        client.sendall((HEAD + b"\r\n") * 100)
        connections = server.connections

        def is_cut_off() -> bool:
            _, message = server.layer.receive(["http.request"])
            if message is not None:
                server.layer.send(message["reply_channel"], {"status": 200, "content": b"x" * 60_000})
            return not connections

        eventually(is_cut_off, timeout=20)


def test_a_response_that_ends_with_its_connection_is_not_taken_for_complete_when_it_is_cut_off(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        delivery = server.take("http.request")
        server.layer.send(str(delivery.reply_channel), {"status": 200, "content": b"half", "more_content": True})
        while not client.recv(65536).endswith(b"half"):
            pass
        server.layer.send(str(delivery.reply_channel), {"closed": True})
        with pytest.raises(ConnectionResetError):
            client.recv(1)
