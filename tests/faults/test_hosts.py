"""One group over two hosts: both are reached, and an interface server that was away finds everything as it is now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from channels_classic.exceptions import ChannelFull
from channels_classic.layers.names import inbox_of
from channels_classic.layers.planner import GROUP_BACKLOG
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import LIVENESS, Length
from tests.faults.hosts import Host, Unavailable, hosts
from tests.faults.traffic import BACK, LONG
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually_async

AWAY = 150.0 if LONG else 1.0
"""Seconds for which an interface server is stopped; beyond `LIVENESS` the others take it for dead."""

EXPIRY = 60.0
"""Seconds for which a message waits, unless the settings say otherwise."""

FLOOD = GROUP_BACKLOG + 200
"""Messages to one group."""

NOTICED = "Sockets stay open"
"""The log line of an interface server that lost the layer."""

SOCKETS = 3
"""On each host."""

pytestmark = pytest.mark.timeout(120 + 2 * AWAY)


@dataclass
class Places:
    """Two hosts with an interface server and a worker each; the test is a third one, where the server is."""

    one: Host
    two: Host
    server: RedisServer
    layer: RedisChannelLayer

    def members(self) -> list[str]:
        return self.layer.group_channels("room")

    def length(self, channel: str) -> int:
        """Entries in the list that carries a channel."""
        (found,) = self.layer.run([Length(inbox_of(channel))])
        return int(found)

    async def open(self, stack: AsyncExitStack, host: Host) -> tuple[list[ClientConnection], list[str]]:
        """Sockets to a host, and their reply channels in the same order."""
        sockets: list[ClientConnection] = []
        names: list[str] = []
        for _ in range(SOCKETS):
            before = set(self.members())
            sockets.append(await stack.enter_async_context(host.socket()))
            names += set(self.members()) - before
        assert len({inbox_of(name) for name in names}) == 1
        return sockets, names


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Host, Host, RedisServer]]:
    """Two hosts on which everything runs, and a server."""
    try:
        with hosts(2) as (one, two), running_server(one, two) as server:
            for host in (one, two):
                host.start(server, timeout=1)
            for host in (one, two):
                host.ready()
            yield one, two, server
    except Unavailable as error:
        pytest.skip(f"A second host cannot be had here: {error}.")


@pytest.fixture
def places(running: tuple[Host, Host, RedisServer]) -> Iterator[Places]:
    layer = RedisChannelLayer(hosts=[running[2].url])
    yield Places(*running, layer)
    layer.close()


@contextmanager
def running_server(*hosts: Host) -> Iterator[RedisServer]:
    addresses = ["127.0.0.1", *(host.server_address for host in hosts)]
    server = RedisServer(bind=" ".join(addresses), protected_mode="no")
    try:
        server.start()
        yield server
    finally:
        server.close()


async def frames_until(socket: ClientConnection, last: str) -> list[str]:
    """Return the frames of a socket up to a certain one, without it."""
    found: list[str] = []
    while (text := await asyncio.wait_for(socket.recv(), 10)) != last:
        found.append(str(text))
    return found


async def echo(sockets: list[ClientConnection]) -> None:
    """Every socket has somebody at the other end who answers, and nothing else was sent to it."""
    for number, socket in enumerate(sockets):
        await socket.send(f"echo {number}")
    for number, socket in enumerate(sockets):
        assert await asyncio.wait_for(socket.recv(), 10) == f"echo {number}"


def test_a_group_over_two_hosts_reaches_both(places: Places) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            first, _ = await places.open(stack, places.one)
            second, _ = await places.open(stack, places.two)
            places.layer.send_group("room", {"text": "hello"})
            for socket in (*first, *second):
                assert await asyncio.wait_for(socket.recv(), 10) == "hello"
            await echo([*first, *second])
        # The sockets are closed: both interface servers took them out of the group.
        await eventually_async(lambda: not places.members())

    asyncio.run(scenario())


@pytest.mark.parametrize("cut", [Host.pull_the_plug, Host.deafen])
def test_an_interface_server_cut_off_from_the_server_comes_back(places: Places, cut: Callable[[Host], None]) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            first, names = await places.open(stack, places.one)
            second, _ = await places.open(stack, places.two)
            log, times = places.one.interface, places.one.interface.output.count(NOTICED) + 1
            cut(places.one)
            places.layer.group_discard("room", names[0])
            places.layer.group_add("late", names[1])
            places.layer.send_group("room", {"text": "meanwhile"})
            for socket in second:
                assert await asyncio.wait_for(socket.recv(), 10) == "meanwhile"
            await asyncio.to_thread(log.wait_for_line, NOTICED, occurrences=times)
            await asyncio.sleep(LIVENESS + 5 if LONG else 0)  # that long it is away
            places.one.mend()
            back = time.monotonic()
            await asyncio.to_thread(log.wait_for_line, "The channel layer is back", occurrences=times)
            await eventually_async(lambda: set(names) & set(places.members()) == set(names[1:]))
            places.layer.send_group("room", {"text": "again"})
            for socket in (*first[1:], *second):
                assert set(await frames_until(socket, "again")) <= {"meanwhile"}
            assert time.monotonic() - back < BACK, log.output
            await echo([*first, *second])
            assert set(names) & set(places.members()) == set(names[1:])
            await closed(first[1])
            await eventually_async(lambda: not places.layer.group_channels("late"))

    asyncio.run(scenario())


def test_an_interface_server_that_stood_still_finds_groups_as_they_were_changed_meanwhile(places: Places) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            first, names = await places.open(stack, places.one)
            second, others = await places.open(stack, places.two)
            for name in names:
                places.layer.group_add("flood", name)
            await eventually_async(lambda: places.length(names[0]) == 0)
            with places.one.standing_still():
                await asyncio.to_thread(fill, places, names[2])
                places.layer.group_discard("room", names[0])
                places.layer.group_add("late", names[1])
                places.layer.group_add("late", others[1])
                places.layer.group_discard("late", others[1])
                await asyncio.sleep(AWAY)
                places.layer.send_group("room", {"text": "meanwhile"})
                assert places.layer.losses.as_dict().get("dead", 0) == (AWAY > LIVENESS)
            back = time.monotonic()
            expected = {*names[1:], *others}
            await eventually_async(lambda: set(places.members()) == expected and places.length(names[0]) == 0)
            places.layer.send_group("late", {"text": "late"})
            places.layer.send_group("room", {"text": "now"})
            frames = [await frames_until(socket, "now") for socket in (*first[1:], *second)]
            assert time.monotonic() - back < BACK, places.one.interface.output
            assert ["late" in found for found in frames] == [True, False, False, False, False]
            assert ["meanwhile" in found for found in frames] == [AWAY < LIVENESS] * 2 + [True] * 3
            arrived = FLOOD - places.layer.losses.as_dict()["full"]
            if AWAY < EXPIRY:
                assert frames[1].count("flood") == arrived
            else:  # what the read took that was under way, if its answer still counts after so long
                assert frames[1].count("flood") <= arrived - GROUP_BACKLOG
            assert frames[1].count("reply") == (places.layer.capacity if AWAY < EXPIRY else 0)
            await echo(first[1:])
            assert not {"meanwhile", "now"} & set(await closed(first[0]))
            # It learned of the member that was added meanwhile, and takes it out when it goes.
            await closed(first[1])
            await eventually_async(lambda: not places.layer.group_channels("late"))

    asyncio.run(scenario())


def fill(places: Places, client: str) -> None:
    """Send more than an inbox takes from a group, and for one client; of neither it holds more than its bound."""
    for _ in range(FLOOD):
        places.layer.send_group("flood", {"text": "flood"})
    # The read that waited when the interface server stopped took the first one.
    assert FLOOD - places.layer.losses.as_dict()["full"] in (GROUP_BACKLOG, GROUP_BACKLOG + 1)
    for _ in range(places.layer.capacity + 20):
        with suppress(ChannelFull):
            places.layer.send(client, {"text": "reply"})
    assert places.length(client) == GROUP_BACKLOG + places.layer.capacity


async def closed(socket: ClientConnection) -> list[str]:
    """Close a socket; gives the frames that it had not read."""
    await socket.close()
    found: list[str] = []
    with suppress(ConnectionClosed):
        while True:
            found.append(str(await socket.recv()))
    return found
