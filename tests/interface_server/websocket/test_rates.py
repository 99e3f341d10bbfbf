"""Limits on what one socket may send, and on how many sockets an address may have."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.interface_server.websocket.connection import WebSocket
from channels_classic.interface_server.websocket.rates import BURST, CALM, FLOOD_TIMEOUT, Allowance, Rates
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.steps import Take
from tests.interface_server.live import Live, live
from tests.support.waiting import eventually, eventually_async, scaled

RECEIVE = "websocket.receive"

ONE_READ = 16 * 1024 // 100
"""Frames of 100 bytes that come with the one by which the rate is exceeded."""


# The decisions


def test_a_socket_within_its_rate_is_never_held_back() -> None:
    allowance = Allowance(Rates(10, 1000), 0.0)
    for number in range(1000):
        assert allowance.take(100, number / 10) == 0.0
    assert not allowance.is_flooding(100.0)


def test_a_burst_is_allowed_and_what_comes_after_it_is_held_back_to_the_rate() -> None:
    allowance = Allowance(Rates(10, 0), 0.0)
    assert [allowance.take(0, 0.0) for _ in range(int(10 * BURST))] == [0.0] * int(10 * BURST)
    now, began = 0.0, 0
    while now < 10.0:
        now += allowance.take(0, now)
        began += 1
    assert began == pytest.approx(100, abs=2)


def test_bytes_are_limited_as_frames_are() -> None:
    allowance = Allowance(Rates(0, 1000), 0.0)
    assert allowance.take(5000, 0.0) == pytest.approx(3.0)
    assert allowance.take(1, 4.0) == 0.0


def test_only_a_socket_that_goes_on_and_on_is_a_flood() -> None:
    allowance, now = Allowance(Rates(10, 0), 0.0), 0.0
    while now < FLOOD_TIMEOUT:
        now += allowance.take(0, now) + 0.05  # it is noticed a little late that the time is over
        assert not allowance.is_flooding(now)
    now += CALM + 0.1  # a pause of its own
    allowance.take(0, now)
    assert not allowance.is_flooding(now)
    began = now
    while not allowance.is_flooding(now):
        now += allowance.take(0, now) + 0.05
    assert FLOOD_TIMEOUT < now - began < FLOOD_TIMEOUT + 4


# The server


def flood(client: ClientConnection, text: str = "x") -> None:
    """Send until the socket is closed."""
    try:
        while True:
            client.send(text)
    except ConnectionClosed:
        pass


def consumed(server: Live, seconds: float) -> int:
    """Consume frames for some seconds; return how many there were."""
    count, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        (taken,) = server.layer.run([Take([RECEIVE], 1, 0.1)])
        for delivery in server.layer.open(taken)[0] if taken is not None else ():
            server.report(delivery)
            count += 1
    return count


@pytest.mark.parametrize("options", [{"frame_rate": 50}, {"byte_rate": 5000}])
@pytest.mark.timeout(120)
def test_a_socket_that_floods_is_read_at_its_rate_and_then_closed(options: dict[str, Any]) -> None:
    with live(**options) as server, server.websocket() as client:
        thread = threading.Thread(target=flood, args=(client, "x" * 100), daemon=True)
        begun = time.monotonic()
        thread.start()
        count = consumed(server, 5)
        assert count <= 50 * (time.monotonic() - begun + BURST) + ONE_READ
        deadline = time.monotonic() + FLOOD_TIMEOUT + scaled(10)
        while client.close_code is None and time.monotonic() < deadline:
            consumed(server, 0.2)
        assert client.close_code == 1008
        thread.join(scaled(10))
        assert server.layer.losses.as_dict() == {"flood": 1}


def test_a_socket_below_its_rate_loses_nothing_and_waits_for_nothing() -> None:
    with live(frame_rate=100, byte_rate=100_000) as server, server.websocket() as client:
        for number in range(150):
            client.send(str(number))
            assert server.consume(RECEIVE)["text"] == str(number)


def test_a_slowed_socket_can_be_closed_at_any_time() -> None:
    with live(frame_rate=1) as server, server.websocket() as client:
        for _ in range(10):
            client.send("x")
        message = server.consume(RECEIVE)
        server.layer.send(message["reply_channel"], {"close": True})
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=10)
        assert client.close_code == 1000


def test_an_address_has_as_many_sockets_as_it_may() -> None:
    with live(sockets_per_address=2) as server:
        with server.websocket(), server.websocket():
            with pytest.raises(InvalidStatus) as refused:
                server.handshake()
            assert refused.value.response.status_code == 429
            assert server.has_none("websocket.connect")
            assert server.layer.losses.as_dict() == {"flood": 1}
        eventually(lambda: not server.has_none("websocket.disconnect"))

        def opens() -> bool:
            try:
                with server.websocket():
                    return True
            except InvalidStatus:
                return False

        eventually(opens)


# A socket without a server, whose frames come when the test says so


class Unserved:
    """An accepted WebSocket of a session of its own; notes when it is read again, and what it is sent."""

    def __init__(self, session: LayerSession) -> None:
        self.session = session
        self.listener: Callable[[bytes], bool] | None = None
        self.is_read = True
        self.sent: list[Any] = []
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.events.put_nowait({"type": "websocket.connect"})
        raw = {
            "write": lambda _: True,
            "listen": lambda listener, _: setattr(self, "listener", listener),
            "resume_reading": lambda: setattr(self, "is_read", True),
            "abort": lambda: None,
            "buffered": lambda: 0,
        }
        scope = {"type": "websocket", "path": "/", "headers": [], "extensions": {"channels_classic.raw": raw}}
        self.socket = WebSocket(session, scope, self.events.get, self._send)

    async def _send(self, event: Any) -> None:
        self.sent.append(event)

    def frame(self, data: bytes) -> None:
        assert self.listener is not None
        self.is_read = self.listener(data)


def with_unserved(test: Callable[[Unserved], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        layer = ChannelLayer(capacity=1)
        session = LayerSession(layer, InterfaceConfig(**options))
        await session.start()
        unserved = Unserved(session)
        running = asyncio.create_task(unserved.socket.run())
        await eventually_async(lambda: not is_empty(layer, "websocket.connect", unserved))
        await eventually_async(lambda: unserved.socket.is_open and unserved.listener is not None)
        try:
            await test(unserved)
        finally:
            running.cancel()
            await asyncio.wait([running])
            session.remove(unserved.socket)
            await session.stop()

    def is_empty(layer: ChannelLayer, channel: str, unserved: Unserved) -> bool:
        _, message = layer.receive([channel])
        if message is not None:
            layer.send(message["reply_channel"], {"accept": True})
        return message is None

    asyncio.run(main())


TOO_MUCH = b"x" * 2_250_000
"""More than a burst, and more than may wait."""


def test_a_socket_whose_frame_is_refused_while_it_is_slowed_is_read_again_once_there_is_room() -> None:
    async def test(unserved: Unserved) -> None:
        layer = unserved.session.layer
        layer.send(RECEIVE, {})
        unserved.frame(TOO_MUCH)
        await eventually_async(lambda: not unserved.socket._inbound.has_room)
        await asyncio.sleep(0.5)  # the rate allows the next frame
        layer.receive([RECEIVE])
        await eventually_async(lambda: unserved.is_read)

    with_unserved(test, byte_rate=1_000_000)
