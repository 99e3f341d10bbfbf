"""Reading from a WebSocket: a server that is asked for each event, and our own, which calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from channels_classic.interface_server.close_codes import NO_STATUS
from channels_classic.interface_server.websocket.client_reader import ClientReader


class Server:
    """An ASGI server that has these events, and notes how many were asked for."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = list(events)
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        return self._events.pop(0)


def received(**content: Any) -> dict[str, Any]:
    return {"type": "websocket.receive", **content}


def test_messages_come_in_order_until_the_client_is_gone() -> None:
    server = Server(received(text="a"), received(bytes=b"b"), {"type": "websocket.disconnect", "code": 1001})
    found: list[str | bytes] = []

    def note(message: str | bytes) -> bool:
        found.append(message)
        return True

    assert asyncio.run(ClientReader(server.receive, None).read(note, lambda: None)) == 1001
    assert found == ["a", b"b"]


def test_a_disconnect_without_a_code_has_the_code_for_that() -> None:
    server = Server({"type": "websocket.disconnect"})
    assert asyncio.run(ClientReader(server.receive, None).read(lambda _: True, lambda: None)) == NO_STATUS


def test_a_client_that_left_begins_no_handshake() -> None:
    assert asyncio.run(ClientReader(Server({"type": "websocket.connect"}).receive, None).handshake())
    assert not asyncio.run(ClientReader(Server({"type": "websocket.disconnect"}).receive, None).handshake())


def test_nothing_more_is_asked_for_in_a_pause() -> None:
    server = Server(received(text="a"), {"type": "websocket.disconnect"})
    reader = ClientReader(server.receive, None)

    def pause(_: str | bytes) -> bool:
        reader.pause()
        return False

    async def main() -> None:
        reading = asyncio.create_task(reader.read(pause, lambda: None))
        while not server.asked:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert server.asked == 1
        reader.resume()
        await reading
        assert server.asked == 2

    asyncio.run(main())


def test_our_own_server_calls_and_is_told_when_to_read_on() -> None:
    listeners: list[Callable[[str | bytes], bool]] = []
    resumed: list[bool] = []
    raw = {
        "listen": lambda listener, on_buffered: listeners.append(listener),
        "resume_reading": lambda: resumed.append(True),
    }
    reader = ClientReader(Server({"type": "websocket.disconnect", "code": 1000}).receive, raw)
    assert asyncio.run(reader.read(lambda message: message == "a", lambda: None)) == 1000
    assert listeners[0]("a")
    reader.pause()
    reader.resume()
    reader.resume()  # without a pause
    assert resumed == [True]
