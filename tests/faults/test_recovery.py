"""Recoverable groups through real programs: sockets that drop, servers that are killed, a Redis that breaks.

The interface servers are programs on a real Redis; the worker and the clients run in this process.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from channels_classic import Group, route
from channels_classic.interface_server.cursors import CURSORS, PROTOCOL
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.redis.commands import RECORD
from channels_classic.message import Message
from tests.support.processes import Process
from tests.support.redis_proxy import Fault, RedisProxy
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import eventually_async
from tests.worker.harness import make_worker, running

pytestmark = [pytest.mark.timeout(180), pytest.mark.django_db(transaction=True)]

PROGRAM = [sys.executable, "-c", "from channels_classic.management.cli import main; main()", "interface"]


class Room:
    """Interface servers and a worker around one recoverable group."""

    def __init__(self, redis: RedisServer, stack: ExitStack) -> None:
        self.redis = redis
        self.layer = RedisChannelLayer(hosts=[redis.url])
        self.group = Group("room", channel_layer=self.layer, keep=1000, seconds=60)
        self.ports = [free_port(), free_port()]
        self.servers = [self.serve(port, stack) for port in self.ports]
        self._stack = stack
        self.sent = 0

    def serve(self, port: int, stack: ExitStack) -> Process:
        program = Process([*PROGRAM, "--layer", self.redis.url, "-p", str(port)], env={"DJANGO_SETTINGS_MODULE": None})
        stack.callback(program.stop)
        program.wait_for_port(port)
        return program

    def restart(self) -> None:
        self.servers[0].send_signal(signal.SIGKILL)
        self.servers[0].wait()
        self.servers[0] = self.serve(self.ports[0], self._stack)

    def routing(self) -> list[Any]:
        def connected(message: Message) -> None:
            assert message.reply_channel is not None
            group = Group("room", channel_layer=message.channel_layer, keep=1000, seconds=60)
            group.add(message.reply_channel, after=message.get("cursors", {}).get("room"))
            message.reply_channel.send({"accept": True, "text": "hello"})

        return [
            route("websocket.connect", connected),
            route("websocket.disconnect", lambda message: None),
            route("websocket.receive", lambda message: message.reply_channel.send({"text": message["text"]})),
        ]

    async def send(self, count: int) -> None:
        for _ in range(count):
            await asyncio.to_thread(self.group.send, {"text": str(self.sent)})
            self.sent += 1

    def socket(self, cursor: str, server: int = 0) -> connect:
        cursors = base64.urlsafe_b64encode(json.dumps({"room": cursor} if cursor else {}).encode()).decode().rstrip("=")
        return connect(
            f"ws://127.0.0.1:{self.ports[server]}/",
            subprotocols=[PROTOCOL, CURSORS + cursors],  # type: ignore[list-item]  # plain text will do
            ping_interval=None,
            close_timeout=1,
        )


class Visitor:
    """A client that comes back with its cursor after each drop, and notes what it gets."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.cursor = ""
        self.got: list[str] = []
        self.connections = 0
        self._task = asyncio.get_running_loop().create_task(self._run())
        self.socket: ClientConnection | None = None

    async def _run(self) -> None:
        while True:
            try:
                async with self.room.socket(self.cursor, self.connections % 2) as self.socket:
                    assert self.socket.subprotocol == PROTOCOL
                    self.connections += 1
                    async for frame in self.socket:
                        self.take(str(frame))
            except (OSError, InvalidHandshake, ConnectionClosed, EOFError, asyncio.TimeoutError):
                await asyncio.sleep(0.05)

    def take(self, frame: str) -> None:
        head, _, text = frame.partition("\n")
        if not head:
            return
        _, self.cursor, *note = head.split(" ")
        if note != ["at"]:
            self.got.append(note[0] if note else text)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture
def room(own_redis: RedisServer) -> Iterator[Room]:
    with ExitStack() as stack:
        room = Room(own_redis, stack)
        stack.callback(room.layer.close)
        yield room


def run(room: Room, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with running(make_worker(room.layer, room.routing())):
        asyncio.run(scenario())


@asynccontextmanager
async def visitors(room: Room, count: int) -> AsyncIterator[list[Visitor]]:
    found = [Visitor(room) for _ in range(count)]
    try:
        await eventually_async(lambda: all(visitor.cursor for visitor in found), 10)
        yield found
    finally:
        for visitor in found:
            await visitor.stop()


def have_connected(found: list[Visitor], times: int) -> bool:
    return all(visitor.connections >= times for visitor in found)


def has_got(visitor: Visitor, text: str) -> bool:
    return text in visitor.got


def everything(room: Room) -> list[str]:
    return [str(number) for number in range(room.sent)]


def test_visitors_whose_sockets_drop_miss_nothing_and_get_nothing_twice(room: Room) -> None:
    async def drop(found: list[Visitor]) -> None:
        for turn in range(1, 6):
            await eventually_async(partial(have_connected, found, turn), 20)
            for visitor in found:
                if visitor.socket is not None:
                    visitor.socket.transport.abort()

    async def scenario() -> None:
        async with visitors(room, 20) as found:
            await asyncio.gather(drop(found), room.send(300))
            await eventually_async(lambda: all(visitor.got == everything(room) for visitor in found), 15)
            assert have_connected(found, 5)

    run(room, scenario)


def test_a_killed_interface_server_costs_no_message(room: Room) -> None:
    async def scenario() -> None:
        async with visitors(room, 10) as found:
            await room.send(20)
            await asyncio.gather(asyncio.to_thread(room.restart), room.send(100))
            await eventually_async(lambda: all(visitor.got == everything(room) for visitor in found), 20)

    run(room, scenario)


def test_a_redis_that_cuts_its_connections_costs_no_message_that_was_sent(room: Room) -> None:
    async def cut() -> None:
        for _ in range(5):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(room.redis.command, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def send() -> None:
        for _ in range(100):
            try:
                await room.send(1)
            except ConnectionError:
                room.sent += 1  # it may have been sent, or not

    async def scenario() -> None:
        async with visitors(room, 5) as found:
            await asyncio.gather(cut(), send())
            await room.send(1)
            last = str(room.sent - 1)
            await eventually_async(lambda: all(last in visitor.got for visitor in found), 20)
            assert len({tuple(visitor.got) for visitor in found}) == 1
            assert found[0].got == sorted({*found[0].got}, key=int)
            assert "gap" not in found[0].got

    run(room, scenario)


def test_what_a_worker_sent_when_it_was_cut_off_does_not_come_twice_and_is_counted(
    room: Room, proxy: RedisProxy
) -> None:
    """Its message was kept, and has left the group again before the worker is back: so nobody could tell."""
    layer = RedisChannelLayer(hosts=[proxy.url])

    def send(text: str) -> None:
        Group("room", channel_layer=room.layer, keep=2).send({"text": text})

    def consume(message: Message) -> None:
        Group("room", channel_layer=layer, keep=2).send({"text": "from the worker"})

    async def scenario() -> None:
        async with visitors(room, 1) as (visitor,):
            armed = proxy.arm(Fault.CUT_AFTER, RECORD.sha)
            proxy.delay = 0.3  # so that the worker is not back at once
            room.layer.send("work", {})
            await eventually_async(armed.happened.is_set)
            for number in range(1, 4):
                await asyncio.to_thread(send, str(number))
                await eventually_async(partial(has_got, visitor, str(number)))
            proxy.delay = 0.0
            await eventually_async(lambda: layer.losses.as_dict() == {"broker": 1})
            await asyncio.to_thread(send, "4")
            await eventually_async(lambda: visitor.got == ["from the worker", "1", "2", "3", "4"])

    with running(make_worker(layer, [route("work", consume)])):
        run(room, scenario)
    layer.close()


def test_a_flush_is_a_gap_and_never_a_silent_loss(room: Room) -> None:
    async def scenario() -> None:
        async with visitors(room, 5) as found:
            await room.send(3)
            await eventually_async(lambda: all(visitor.got == everything(room) for visitor in found))
            room.redis.flush()
            await room.send(2)
            await eventually_async(lambda: all("gap" in visitor.got for visitor in found), 20)
            await room.send(1)
            await eventually_async(lambda: all(visitor.got[-1:] == ["5"] for visitor in found), 20)
            for visitor in found:  # what was sent before its server had restored the group lies in the gap
                assert visitor.got[:4] == ["0", "1", "2", "gap"]
                assert visitor.got[4:] in (["5"], ["4", "5"], ["3", "4", "5"])

    run(room, scenario)


def test_plain_clients_see_the_bytes_that_they_always_saw(room: Room) -> None:
    async def scenario() -> None:
        await room.send(2)
        async with connect(f"ws://127.0.0.1:{room.ports[0]}/", ping_interval=None) as socket:
            assert socket.subprotocol is None
            assert await asyncio.wait_for(socket.recv(), 10) == "hello"
            await room.send(1)
            assert await asyncio.wait_for(socket.recv(), 10) == "2"
            await socket.send("echo")
            assert await asyncio.wait_for(socket.recv(), 10) == "echo"

    run(room, scenario)


def test_replies_to_a_client_that_recovers_have_an_empty_head(room: Room) -> None:
    async def scenario() -> None:
        async with room.socket("forged") as socket:
            frames = {await asyncio.wait_for(socket.recv(), 10) for _ in range(2)}
            assert "\nhello" in frames
            assert [str(frame).split(" ")[-1] for frame in frames - {"\nhello"}] == ["gap\n"]
            await socket.send("echo")
            assert await asyncio.wait_for(socket.recv(), 10) == "\necho"

    run(room, scenario)
