"""The application in the hands of a host: lifespan, loops, and scopes that nobody knows."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from channels_classic.exceptions import InvalidChannelLayerError
from channels_classic.interface_server import InterfaceServer
from channels_classic.layers.inmemory import ChannelLayer

REQUEST = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "http_version": "1.1"}


class Host:
    """Plays an ASGI server for one scope: gives events in turn, then waits; keeps what was sent."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = deque(events)
        self._never = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> Any:
        if not self._events:
            await self._never.wait()
        return self._events.popleft()

    async def send(self, event: Any) -> None:
        self.sent.append(event)


async def answer_one(layer: ChannelLayer) -> None:
    """Play a worker for one request."""
    _, message = await layer.receive_async(["http.request"])
    assert message is not None
    await layer.send_async(message["reply_channel"], {"status": 200, "content": b"hello"})


async def ask(application: InterfaceServer, layer: ChannelLayer) -> list[dict[str, Any]]:
    host = Host({"type": "http.request", "body": b""})
    await asyncio.gather(application(dict(REQUEST), host.receive, host.send), answer_one(layer))
    return host.sent


def test_it_serves_under_a_host_that_offers_nothing_of_its_own() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        application = InterfaceServer(layer)
        start, body = await ask(application, layer)
        assert (start["status"], body["body"]) == (200, b"hello")
        await application.stop()

    asyncio.run(main())


def test_lifespan_events_start_and_stop_it() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        application = InterfaceServer(layer)
        host = Host({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
        await application({"type": "lifespan"}, host.receive, host.send)
        assert [event["type"] for event in host.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(main())


def test_a_layer_that_cannot_start_fails_the_startup_with_its_sentence() -> None:
    class Broken(ChannelLayer):
        async def start(self) -> None:
            raise InvalidChannelLayerError("The folder is not yours.")

    async def main() -> None:
        host = Host({"type": "lifespan.startup"})
        await InterfaceServer(Broken())({"type": "lifespan"}, host.receive, host.send)
        assert host.sent == [{"type": "lifespan.startup.failed", "message": "The folder is not yours."}]

    asyncio.run(main())


def test_each_event_loop_has_its_own_inbox() -> None:
    layer = ChannelLayer()
    application = InterfaceServer(layer)
    inboxes = []

    async def main() -> None:
        inboxes.append((await application._started()).inbox)
        assert (await application._started()).inbox == inboxes[-1]
        await application.stop()

    asyncio.run(main())
    asyncio.run(main())
    assert len(set(inboxes)) == 2


def test_scopes_that_come_together_share_one_start() -> None:
    async def main() -> None:
        application = InterfaceServer(ChannelLayer())
        hubs = await asyncio.gather(*(application._started() for _ in range(5)))
        assert len({id(session) for session in hubs}) == 1
        await application.stop()

    asyncio.run(main())


def test_a_scope_of_an_unknown_type_is_refused_in_a_sentence() -> None:
    async def main() -> None:
        host = Host()
        with pytest.raises(ValueError, match=r"'smtp' are unknown: expected one of http, websocket, lifespan"):
            await InterfaceServer(ChannelLayer())({"type": "smtp"}, host.receive, host.send)

    asyncio.run(main())


def test_a_websocket_works_without_the_extension() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        application = InterfaceServer(layer)
        host = Host({"type": "websocket.connect"}, {"type": "websocket.receive", "text": "a"})
        scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
        socket = asyncio.create_task(application(scope, host.receive, host.send))
        _, message = await layer.receive_async(["websocket.connect"])
        assert message is not None
        await layer.send_async(message["reply_channel"], {"accept": True})
        _, message = await layer.receive_async(["websocket.receive"])
        assert message is not None
        await layer.send_async(message["reply_channel"], {"text": "b"})
        await layer.send_async(message["reply_channel"], {"bytes": b"c", "close": 4000})
        while len(host.sent) < 4:
            await asyncio.sleep(0.01)
        assert [event["type"].partition(".")[2] for event in host.sent] == ["accept", "send", "send", "close"]
        assert (host.sent[1]["text"], host.sent[2]["bytes"], host.sent[3]["code"]) == ("b", b"c", 4000)
        socket.cancel()
        await asyncio.wait([socket])
        await application.stop()

    asyncio.run(main())
