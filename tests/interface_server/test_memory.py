"""The memory of a client that has left: it is free at once, not when the garbage collector next looks."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.interface_server.live import Live, live
from tests.support.waiting import eventually

CLIENTS = 20


@pytest.fixture
def server() -> Iterator[Live]:
    with live(event_streams=("/stream",)) as server:
        yield server


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def kept() -> Counter[str]:
    """Return the objects of the interface server and of its transports, by class."""
    names = Counter(f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.get_objects())
    ours = ("channels_classic.interface_server.", "uvicorn.", "uvloop.", "asyncio.")
    return Counter({name: count for name, count in names.items() if name.startswith(ours)})


def grown(before: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in (kept() - before).items() if count >= CLIENTS / 2}


def use_a_socket(server: Live) -> None:
    with server.websocket() as socket:
        socket.send("hi")
        server.consume("websocket.receive", {"text": "hello"})
        assert socket.recv(10) == "hello"
    server.consume("websocket.disconnect")


def use_a_stream(server: Live) -> None:
    connection = server.http()
    connection.request("GET", "/stream", headers={"Accept": "text/event-stream"})
    server.consume("websocket.connect", {"accept": True})
    response = connection.getresponse()
    assert response.status == 200
    response.close()
    connection.close()
    server.consume("websocket.disconnect")


@pytest.mark.parametrize("use", [use_a_socket, use_a_stream])
def test_clients_that_left_leave_nothing_behind(server: Live, use: Callable[[Live], None]) -> None:
    use(server)
    before = kept()
    for _ in range(CLIENTS):
        use(server)
    with suppress(AssertionError):
        eventually(lambda: not grown(before), timeout=2)
    assert grown(before) == {}
