"""Many sockets that leave or come at once, on channels with little room: nothing is given up, and nobody polls."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.results import PushStatus
from channels_classic.layers.steps import Push, Step
from tests.interface_server.live import Live, live
from tests.interface_server.server.test_limits import UPGRADE, frame, open_socket
from tests.support.waiting import eventually

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"


class CountingLayer(ChannelLayer):
    """Counts the entries that were refused because their channel was full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.refused: Counter[str] = Counter()

    async def connect_async(self) -> Any:
        connection = await super().connect_async()
        run = connection.run

        async def counting(steps: Sequence[Step]) -> list[Any]:
            results: list[Any] = await run(steps)
            for step, result in zip(steps, results, strict=True):
                if isinstance(step, Push):
                    self.refused[step.queue] += list(result).count(PushStatus.FULL)
            return results

        connection.run = counting  # type: ignore[method-assign]
        return connection


def worker(server: Live, channel: str, count: int, seconds: float, *replies: dict[str, Any]) -> list[dict[str, Any]]:
    """Consume `count` messages, each in this many seconds."""
    consumed = []
    for _ in range(count):
        delivery = server.take(channel, 30.0)
        time.sleep(seconds)
        for reply in replies:
            server.layer.send(str(delivery.reply_channel), reply)
        server.report(delivery, Outcome.CONSUMED)
        consumed.append(delivery.message)
    return consumed


def test_sockets_that_leave_at_once_are_all_reported_however_long_it_takes() -> None:
    count = 60
    layer = CountingLayer(capacity=2, expiry=2)  # what is in the channel waits for much less than the expiry
    with live(layer) as server:
        opening = threading.Thread(target=worker, args=(server, CONNECT, count, 0.0, {"accept": True}))
        opening.start()
        with ExitStack() as stack:
            clients = [stack.enter_context(server.raw()) for _ in range(count)]
            for client in clients:
                client.sendall(UPGRADE)
            assert all(client.recv(65536).startswith(b"HTTP/1.1 101 ") for client in clients)
            opening.join()
        eventually(lambda: not server.session.registry.clients)
        messages = worker(server, DISCONNECT, count, 0.2)  # longer than the lease, after which they were given up
        assert len({message["reply_channel"] for message in messages}) == count
        assert server.layer.losses.as_dict().get("full", 0) == 0
        eventually(lambda: not server.session.registry.everybody(), timeout=15)


def test_a_full_channel_is_not_polled() -> None:
    count = 600
    layer = CountingLayer(capacity=10)
    with live(layer, websocket_connect_timeout=60.0) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.raw()) for _ in range(count)]
        for client in clients[:11]:
            client.sendall(UPGRADE)
        eventually(lambda: layer.refused[CONNECT])
        for client in clients[11:]:  # those that come in one turn with the first refusal are refused with it
            client.sendall(UPGRADE)
        worker(server, CONNECT, count, 0.001, {"accept": True})
        assert all(_accepted(client) for client in clients)
    assert layer.refused[CONNECT] < count / 4, "most tries were worth it"


def _accepted(client: socket.socket) -> bool:
    return client.recv(65536).startswith(b"HTTP/1.1 101 ")


def test_of_many_sockets_that_hold_much_those_that_hold_most_are_closed_and_others_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = frame(0x02, b"x" * 900_000)  # a message without an end
    with live(socket_memory=8 * 1024 * 1024) as server, ExitStack() as stack:
        honest = stack.enter_context(server.raw())
        open_socket(server, honest)
        hostile = [stack.enter_context(server.raw()) for _ in range(12)]
        for client in hostile:
            open_socket(server, client)
            with suppress(ConnectionError):
                client.sendall(part)
        assert server.take(DISCONNECT).message["code"] in (1006, 1013)
        honest.sendall(frame(0x81, b"still"))
        assert server.consume("websocket.receive", {"text": "here"})["text"] == "still"
        assert honest.recv(100) == b"\x81\x04here"
        eventually(lambda: server.session.budget.total <= 8 * 1024 * 1024)
    assert "--socket-memory" in caplog.text


def test_a_socket_that_is_closed_while_it_waits_for_room_holds_nobody_up() -> None:
    layer = CountingLayer(capacity=1)
    with live(layer, socket_memory=256 * 1024) as server, server.raw() as honest, server.raw() as hostile:
        open_socket(server, honest)
        open_socket(server, hostile)
        layer.send(RECEIVE, {"text": "fills it"})
        with suppress(ConnectionError):
            for _ in range(3):
                hostile.sendall(frame(0x82, b"x" * 100_000))
        assert server.take(DISCONNECT).message["code"] in (1006, 1013)
        assert layer.refused[RECEIVE]
        assert server.take(RECEIVE).message["text"] == "fills it"
        honest.sendall(frame(0x81, b"still"))
        assert server.take(RECEIVE).message["text"] == "still"


def test_what_nobody_reads_is_counted_too(caplog: pytest.LogCaptureFixture) -> None:
    with live(socket_memory=2 * 1024 * 1024) as server, ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(server.raw())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(UPGRADE)
            delivery = server.take(CONNECT)
            server.layer.send(str(delivery.reply_channel), {"accept": True})
            for _ in range(4):
                server.layer.send(str(delivery.reply_channel), {"bytes": b"x" * 900_000})
            server.report(delivery)
        assert server.take(DISCONNECT).message["code"] in (1006, 1013)
    assert "--socket-memory" in caplog.text
