"""Event streams of the application under another ASGI server, which has only what ASGI offers: uvicorn's own."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn

from channels_classic.interface_server import InterfaceConfig, InterfaceServer
from channels_classic.interface_server.event_streams.stream import EventStream
from channels_classic.interface_server.websocket.connection import WebSocket
from channels_classic.interface_server.websocket.state import SocketState
from channels_classic.layers.inmemory import ChannelLayer
from tests.interface_server.event_streams.test_stream import CONNECT, DISCONNECT, RECEIVE, opened
from tests.interface_server.live import Live
from tests.support.event_source import Event, EventSource
from tests.support.timers import NotingLoop
from tests.support.waiting import eventually


class PlainServer:
    """A server as far as `Live` knows one."""

    def __init__(self, layer: ChannelLayer) -> None:
        application = InterfaceServer(layer, InterfaceConfig(event_streams=("*",), ping_interval=0.1))
        self._config = uvicorn.Config(application, port=0, log_config=None, lifespan="on", access_log=False)
        self._server = uvicorn.Server(self._config)
        self.sockets = [self._config.bind_socket()]
        self._thread = threading.Thread(target=self._server.run, args=(self.sockets,))

    def __enter__(self) -> PlainServer:
        self._thread.start()
        eventually(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.sockets[0].close()


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    layer = ChannelLayer()
    with PlainServer(layer) as running:
        yield Live(running, layer)  # type: ignore[arg-type]  # in all that is used here


def test_a_stream_works_without_our_own_server(server: Live) -> None:
    with opened(server) as (source, message):
        for number in range(20):
            server.layer.send(message["reply_channel"], {"text": f"{number}\n" + "x" * 1000})
        assert [int(source.next().data.split()[0]) for _ in range(20)] == list(range(20))
        assert source.post("hello") == 204
        assert server.consume(RECEIVE)["text"] == "hello"
        while source.parser.comments < 2:
            assert source.read()


def test_a_stream_is_closed_and_refused_without_our_own_server(server: Live) -> None:
    for reply, status, events in (
        ({"text": "bye", "close": 4000}, 200, [Event("bye"), Event("4000", "close")]),
        ({"accept": False}, 403, []),
    ):
        source = EventSource(server.port)
        server.consume(CONNECT, reply)
        with source:
            assert source.status == status
            assert status == 403 or source.rest() == events
        server.consume(DISCONNECT)


REQUEST = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "headers": [(b"accept", b"text/event-stream")],
    "query_string": b"",
    "http_version": "1.1",
}


class Leaving:
    """Plays an ASGI server whose client leaves while its stream begins, and goes on when the application knows that."""

    def __init__(self, application: InterfaceServer, layer: ChannelLayer) -> None:
        self._application = application
        self._layer = layer
        self._left = asyncio.Event()

    async def run(self) -> None:
        """Serve the client to its end."""
        serving = asyncio.create_task(self._application(dict(REQUEST), self.receive, self.send))
        _, message = await self._layer.receive_async([CONNECT])
        assert message is not None
        await self._layer.send_async(message["reply_channel"], {"accept": True})
        await serving

    async def receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Any) -> None:
        self._left.set()
        session = await self._application._started()
        sockets = [client for client in session.registry.clients.values() if isinstance(client, WebSocket)]
        while any(socket.state is not SocketState.GONE for socket in sockets):
            await asyncio.sleep(0)


def all_streams() -> list[EventStream]:
    """Those of this process."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, EventStream)]


def test_a_stream_that_begins_after_its_client_left_leaves_nothing_behind() -> None:
    streams, others = 10, all_streams()

    async def main() -> None:
        layer = ChannelLayer()
        application = InterfaceServer(layer, InterfaceConfig(event_streams=("*",)))
        for _ in range(streams):
            await Leaving(application, layer).run()
        assert [each for each in all_streams() if each not in others] == []
        await application.stop()

    with closing(NotingLoop()) as loop:
        loop.run_until_complete(main())
    # Streams that were opened together have no heartbeats together.
    assert len(set(loop.delays["_beat"])) == streams
