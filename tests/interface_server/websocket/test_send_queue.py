"""The queue of one client: in order, bounded, and dropped when the server can send no more."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc

import pytest

from channels_classic.interface_server.asgi import Event
from channels_classic.interface_server.websocket import send_queue as module
from channels_classic.interface_server.websocket.send_queue import EVENT_BYTES, MAX_BYTES, SendQueue
from tests.support.memory import allocated_by


class Server:
    """Takes events when it is let, and fails on those of type `fail`."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.sent: list[Event] = []

    async def send(self, event: Event) -> None:
        await self.ready.wait()
        if event["type"] == "fail":
            raise OSError("gone")
        self.sent.append(event)


def test_events_go_out_in_order_and_then_nothing_waits() -> None:
    async def main() -> None:
        server = Server()
        queue = SendQueue(server.send, "/chat")
        assert queue.idle
        for number in range(3):
            queue.put({"type": "a", "number": number}, 10)
        assert (queue.idle, queue.size) == (False, 30)
        server.ready.set()
        await queue.sent()
        assert [event["number"] for event in server.sent] == [0, 1, 2]
        assert (queue.idle, queue.size) == (True, 0)
        queue.put({"type": "a", "number": 3})
        await queue.sent()
        assert len(server.sent) == 4

    asyncio.run(main())


def test_a_client_that_does_not_read_is_recognised() -> None:
    async def main() -> None:
        server = Server()
        queue = SendQueue(server.send, "/chat")
        queue.put({"type": "a"}, MAX_BYTES - 2 * EVENT_BYTES)
        assert not queue.overfull
        queue.put({"type": "a"}, 1)
        assert queue.overfull
        queue.clear()
        assert queue.size == 0
        server.ready.set()
        await queue.sent()
        assert len(server.sent) <= 1  # the one that was being sent

    asyncio.run(main())


def test_a_client_that_does_not_read_is_recognised_by_empty_messages_too() -> None:
    async def main() -> None:
        server = Server()
        queue = SendQueue(server.send, "/chat")
        while not queue.overfull:
            queue.put({"type": "websocket.send", "text": ""})
            assert queue.held <= MAX_BYTES + EVENT_BYTES
        server.ready.set()
        await queue.sent()

    asyncio.run(main())


def test_a_failure_is_logged_once_and_drops_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "channels_classic.interface_server")

    async def main() -> None:
        server = Server()
        queue = SendQueue(server.send, "/chat")
        server.ready.set()
        for kind in ("a", "fail", "a"):
            queue.put({"type": kind}, 10)
        await queue.sent()
        assert [event["type"] for event in server.sent] == ["a"]
        assert caplog.messages == ["Sending to the WebSocket /chat failed: OSError('gone')"]
        assert (queue.idle, queue.size) == (True, 0)

    asyncio.run(main())


def test_tiny_messages_that_wait_are_counted_with_the_memory_that_they_take() -> None:
    async def main() -> None:
        server = Server()
        queue = SendQueue(server.send, "/chat")
        tracemalloc.start()
        for _ in range(10_000):
            queue.put({"type": "websocket.send", "text": "hi"}, 2)
        used = allocated_by(module, __file__)
        tracemalloc.stop()
        assert queue.held / 2 < used < queue.held * 1.5
        server.ready.set()
        await queue.sent()
        assert queue.held == 0

    asyncio.run(main())
