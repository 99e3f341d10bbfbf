"""The memory of a request body, however small the pieces in which a client sends it."""

from __future__ import annotations

import asyncio
import tracemalloc

from channels_classic.interface_server import InterfaceConfig
from channels_classic.interface_server.asgi import Event
from channels_classic.interface_server.http import body as module
from channels_classic.interface_server.http.body import CHUNK, RequestBody
from channels_classic.interface_server.http.spool import SpoolQuota
from tests.support.memory import allocated_by


def received(pieces: int, size: int) -> tuple[RequestBody, int]:
    """Return a body that came in a number of pieces of `size` bytes, and the memory that these take."""
    left = pieces

    async def receive() -> Event:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": bytes([left & 0xFF] * size), "more_body": left > 0}

    scope = {"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}
    body = RequestBody(SpoolQuota(10 * CHUNK, 10 * CHUNK), scope, receive, InterfaceConfig())
    tracemalloc.start()
    try:
        assert asyncio.run(body.receive()) is None
        return body, allocated_by(module, __file__)
    finally:
        tracemalloc.stop()


def test_a_body_that_comes_in_tiny_pieces_takes_as_much_memory_as_it_is_counted() -> None:
    body, used = received(50_000, 2)
    assert body.size <= used < 2 * body.size
    assert body.whole() == b"".join(bytes([left & 0xFF] * 2) for left in range(49_999, -1, -1))


def test_a_body_in_pieces_that_does_not_fit_into_memory_is_whole_in_its_file() -> None:
    body, _ = received(3, CHUNK // 2)
    assert body.is_spooled
    assert body.disk_size == body.size == 3 * (CHUNK // 2)
    assert body.whole() == b"".join(bytes([left] * (CHUNK // 2)) for left in (2, 1, 0))
