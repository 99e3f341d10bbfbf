"""Presence under faults: who is there is true again soon, and what changed is announced once.

Interface servers as programs and real sockets on a real Redis; the worker runs in this process.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
from websockets.asyncio.client import ClientConnection, connect

from channels_classic import Group, route
from channels_classic.layers.names import inbox_of
from channels_classic.layers.presence import LEAVE_GRACE
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import LIVENESS, TakeNotices
from channels_classic.message import Message
from tests.faults.test_groups import INTERFACE_READ, end, session_on
from tests.faults.traffic import LONG
from tests.support.processes import Process
from tests.support.redis_proxy import Fault, RedisProxy
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import eventually, eventually_async
from tests.worker.harness import make_worker, running

pytestmark = [pytest.mark.timeout(180), pytest.mark.django_db(transaction=True)]

PROGRAM = [sys.executable, "-c", "from channels_classic.management.cli import main; main()", "interface"]


class Room:
    """Interface servers and a worker around one group, and what was announced of it."""

    def __init__(self, redis: RedisServer, stack: ExitStack) -> None:
        self.redis = redis
        self.layer = RedisChannelLayer(hosts=[redis.url])
        self.announced: list[tuple[str, str]] = []
        self.ports: list[int] = []
        self.servers: list[Process] = []
        self._stack = stack
        stack.callback(self.layer.close)

    def serve(self) -> Process:
        port = free_port()
        program = Process([*PROGRAM, "--layer", self.redis.url, "-p", str(port)], env={"DJANGO_SETTINGS_MODULE": None})
        self._stack.callback(program.stop)
        program.wait_for_port(port)
        self.ports.append(port)
        self.servers.append(program)
        return program

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run a worker inside the block, and have it listen at the start of it."""

        def connected(message: Message) -> None:
            assert message.reply_channel is not None
            (who,) = parse_qs(message["query_string"].decode())["who"]
            Group("room", channel_layer=message.channel_layer).add(message.reply_channel, who=who, info={"n": 1})
            message.reply_channel.send({"accept": True})

        def announced(message: Message) -> None:
            self.announced.append((message.channel.name.removeprefix("group."), message["who"]))

        routing = [
            route("websocket.connect", connected),
            route("websocket.disconnect", lambda message: None),
            route("group.join", announced, group="^room$"),
            route("group.leave", announced, group="^room$"),
        ]
        with running(make_worker(self.layer, routing)):
            yield

    @asynccontextmanager
    async def socket(self, who: str, server: int = 0) -> AsyncIterator[ClientConnection]:
        url = f"ws://127.0.0.1:{self.ports[server]}/?who={who}"
        async with connect(url, ping_interval=None, close_timeout=1) as socket:
            yield socket

    def present(self) -> dict[str, int]:
        return {who: len(sockets) for who, sockets in self.layer.group_presence("room").items()}


long = pytest.mark.skipif(not LONG, reason="It waits for half a minute: see `make faults`.")


@pytest.fixture
def room(own_redis: RedisServer) -> Iterator[Room]:
    with ExitStack() as stack:
        room = Room(own_redis, stack)
        room.serve()
        room.serve()
        yield room


def run(room: Room, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with room.working():
        # The first look for notices makes the layer keep them.
        eventually(lambda: room.redis.command("EXISTS", "asgi:{0}:listening") == ":1")
        asyncio.run(scenario())


def test_people_of_a_killed_interface_server_are_gone_and_announced_once(room: Room, own_redis: RedisServer) -> None:
    async def scenario() -> None:
        async with room.socket("ada"):
            await eventually_async(lambda: room.announced == [("join", "ada")])
            (channel,) = await room.layer.group_channels_async("room")
            await with_others(inbox_of(channel))

    async def with_others(inbox: str) -> None:
        async with room.socket("bob"), room.socket("bob", 1), room.socket("eve", 1):
            await eventually_async(
                lambda: sorted(room.announced) == [("join", "ada"), ("join", "bob"), ("join", "eve")]
            )
            assert room.present() == {"ada": 1, "bob": 2, "eve": 1}
            room.announced.clear()
            room.servers[0].send_signal(signal.SIGKILL)
            if not LONG:
                own_redis.command("DEL", f"asgi:{{0}}:alive:{inbox}")  # forget that it was alive, as time does
            await eventually_async(lambda: room.announced == [("leave", "ada")], 45)
            assert room.present() == {"bob": 1, "eve": 1}
            async with room.socket("ada", 1):
                await eventually_async(lambda: room.announced == [("leave", "ada"), ("join", "ada")])
                await room.layer.close_async()

    run(room, scenario)


@pytest.mark.parametrize("seconds", [0, 5] if LONG else [0])
def test_a_quick_reconnect_and_a_deploy_of_the_workers_are_not_announced(room: Room, seconds: float) -> None:
    async def scenario() -> None:
        async with room.socket("eve"):
            async with room.socket("ada"):
                await eventually_async(lambda: len(room.announced) == 2)
            await asyncio.sleep(seconds)  # away for less than the grace
            async with room.socket("ada", 1):
                await eventually_async(lambda: room.present() == {"ada": 1, "eve": 1})
                await asyncio.sleep(LEAVE_GRACE + 3)  # nothing must happen
                assert sorted(room.announced) == [("join", "ada"), ("join", "eve")]

    run(room, scenario)


def test_a_deploy_of_the_workers_is_not_announced_and_hides_nothing(room: Room) -> None:
    async def scenario() -> None:
        async with room.socket("ada"):
            with room.working():
                pass  # the worker of the new release, and then that of the old one ends
            assert room.present() == {"ada": 1}
        await eventually_async(lambda: room.announced == [("join", "ada"), ("leave", "ada")], LEAVE_GRACE + 10)

    run(room, scenario)


@long
def test_presence_comes_back_after_a_flush_without_a_word(room: Room, own_redis: RedisServer) -> None:
    async def scenario() -> None:
        async with room.socket("ada"), room.socket("bob", 1):
            await eventually_async(lambda: len(room.announced) == 2)
            async with room.socket("eve"):
                await eventually_async(lambda: len(room.announced) == 3)
                own_redis.flush()
                await eventually_async(lambda: room.present() == {"ada": 1, "bob": 1, "eve": 1}, 20)
                assert len(room.announced) == 3
            await eventually_async(lambda: room.present() == {"ada": 1, "bob": 1}, 10)
            await eventually_async(lambda: room.announced[3:] == [("leave", "eve")], LEAVE_GRACE + 10)

    run(room, scenario)


@long
def test_sockets_that_closed_while_the_layer_was_down_are_gone(room: Room, own_redis: RedisServer) -> None:
    async def scenario() -> None:
        async with room.socket("ada"):
            async with room.socket("bob"):
                await eventually_async(lambda: len(room.announced) == 2)
                own_redis.pause()
            await asyncio.sleep(7)  # longer than a program waits for an answer: what it wrote is lost to it
            own_redis.resume()
            await eventually_async(lambda: room.present() == {"ada": 1}, 20)
            await eventually_async(lambda: room.announced[2:] == [("leave", "bob")], LEAVE_GRACE + 10)

    run(room, scenario)


def test_who_is_there_survives_a_lost_hint_while_the_layer_takes_the_interface_server_for_dead(
    own_redis: RedisServer, proxy: RedisProxy
) -> None:
    """It was cut off for so long. A message makes it ask for the members before its next heartbeat comes."""

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, clients = await session_on(RedisChannelLayer(hosts=[proxy.url]), 2)
        (channel, client), (other, _) = clients.items()
        await layer.group_add_async("room", channel, who="ada")
        await eventually_async(lambda: session.registry.identities.of("room"))
        armed = proxy.arm(Fault.CUT_AFTER, INTERFACE_READ)
        await eventually_async(armed.happened.is_set, 10)
        await layer.group_add_async("room", other)  # the hint is lost
        alive = f"asgi:{{0}}:alive:{session.inbox}"
        while own_redis.command("HLEN", f"asgi:{{0}}:identities:room:{session.inbox}") == ":1":
            own_redis.command("DEL", alive)
            layer.run([TakeNotices(0)])
        own_redis.command("SET", alive, "1")
        await layer.send_group_async("room", {"text": "x"})
        await eventually_async(lambda: client.got == ["x"], 10)
        await eventually_async(lambda: set(layer.group_presence("room")) == {"ada"}, 20)
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


def test_a_moment_in_which_all_interface_servers_count_as_dead_is_not_announced_and_hides_nobody_for_long(
    own_redis: RedisServer,
) -> None:
    """A clock of the server that is set forward does this. The audit finds it before it has gone through all groups."""
    rooms = [f"room-{number}" for number in range(200)]

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        layer.run([TakeNotices(0)])
        session, (channel, *_) = await session_on(layer, 1)
        for room in rooms:
            await layer.group_add_async(room, channel, who="ada")
        await eventually_async(lambda: len(session.registry.identities.groups()) == len(rooms))
        assert len(layer.run([TakeNotices(1000)])[0]) == len(rooms)
        while own_redis.command("SCARD", f"asgi:{{0}}:presence_groups:{session.inbox}") != ":0":
            own_redis.command("DEL", f"asgi:{{0}}:alive:{session.inbox}")
            layer.run([TakeNotices(0)])
        await eventually_async(lambda: all(layer.group_presence(room) for room in rooms), 10)
        assert own_redis.command("ZCARD", "asgi:{0}:notices") == ":0"
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


@long
def test_an_interface_server_that_stood_still_is_there_again(room: Room, own_redis: RedisServer) -> None:
    """Its people were announced as gone, so they are announced as coming."""

    async def scenario() -> None:
        async with room.socket("ada"):
            await eventually_async(lambda: room.announced == [("join", "ada")])
            room.servers[0].send_signal(signal.SIGSTOP)
            await eventually_async(lambda: room.announced[1:] == [("leave", "ada")], LIVENESS + 15)
            assert room.present() == {}
            room.servers[0].send_signal(signal.SIGCONT)
            await eventually_async(lambda: room.present() == {"ada": 1}, 10)
            await eventually_async(lambda: room.announced[2:] == [("join", "ada")], 10)

    run(room, scenario)
