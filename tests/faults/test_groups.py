"""Groups under faults: no membership is lost, nobody is revived, and a hint that is lost is noticed.

Real programs, or the interface server's part of them, with a real Redis behind a proxy.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

import pytest
from websockets.asyncio.client import ClientConnection

from channels_classic._health import Health
from channels_classic.exceptions import LayerUnavailable
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.client import Broadcast
from channels_classic.interface_server.layer.recovery import AT_ONCE
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers import names
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import SIZE_LIMIT, EntryKind, encode
from channels_classic.layers.history import Retention
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.redis.commands import HEARTBEAT, JOIN, LEAVE, MEMBERS, PUBLISH, PUSH, RESTORE
from channels_classic.layers.steps import LIVENESS, Entry, GetPrograms, Heartbeat, Join, Push
from tests.faults.conftest import IMPATIENT
from tests.faults.traffic import LONG
from tests.support.client import FakeClient
from tests.support.processes import Process
from tests.support.redis_proxy import BREAKS, Fault, RedisProxy
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually, eventually_async, scaled

pytestmark = pytest.mark.timeout(120)

SOCKETS = 10
INTERFACE_READ = ":queue:interface."
"""In the takes of an interface server alone."""


async def all_receive(sockets: Sequence[ClientConnection], layer: BaseChannelLayer, text: str) -> None:
    """Send to the group once; each socket gets it once."""
    await asyncio.to_thread(layer.send_group, "room", {"text": text})
    assert [await asyncio.wait_for(socket.recv(), 10) for socket in sockets] == [text] * len(sockets)


def members(layer: BaseChannelLayer) -> int:
    return len(layer.group_channels("room"))


def lose_answer(server: RedisServer, proxy: RedisProxy) -> None:
    """All data is lost, and so is the answer to the next heartbeat."""
    armed = proxy.arm(Fault.SWALLOW, HEARTBEAT.sha)
    server.flush()
    eventually(armed.happened.is_set, 10)


def lose_connection(server: RedisServer, proxy: RedisProxy) -> None:
    """All data is lost, and the connection breaks when the next heartbeat is answered."""
    armed = proxy.arm(Fault.CUT_AFTER, HEARTBEAT.sha)
    server.flush()
    eventually(armed.happened.is_set, 10)


def lose_a_restoration(server: RedisServer, proxy: RedisProxy) -> None:
    """All data is lost, and the connection breaks while memberships are restored."""
    armed = proxy.arm(Fault.CUT_AFTER, RESTORE.sha)
    server.flush()
    eventually(armed.happened.is_set, 10)


def stand_still(server: RedisServer, proxy: RedisProxy) -> None:
    """All data is lost, then the server is suspended for longer than programs wait for it."""
    server.flush()
    server.pause()
    time.sleep(8)  # longer than the timeout of a connection: the fault itself
    server.resume()


def fill_memory(server: RedisServer, proxy: RedisProxy) -> None:
    """All data is lost, and the server has no memory for what is restored."""
    server.command("CONFIG", "SET", "maxmemory", "1")
    server.command("CONFIG", "RESETSTAT")
    server.flush()
    eventually(lambda: "errorstat_OOM" in server.command_text("INFO", "errorstats"), 10)
    server.command("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("fault", [lose_answer, lose_connection, lose_a_restoration, fill_memory, stand_still])
def test_memberships_come_back_whatever_becomes_of_the_answers(
    own_redis: RedisServer, proxy: RedisProxy, fault: Callable[[RedisServer, RedisProxy], None]
) -> None:
    async def main(site: RunningSite) -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        async with site.sockets(SOCKETS) as sockets:
            await all_receive(sockets, layer, "before")
            await asyncio.to_thread(fault, own_redis, proxy)
            await asyncio.to_thread(eventually, lambda: members(layer) == SOCKETS, 20)
            await all_receive(sockets, layer, "after")
        layer.close()

    with RunningSite(proxy.url, workers=1) as site:
        asyncio.run(main(site))


def test_one_shard_of_two_that_lost_its_data_gets_its_memberships_again(
    own_redis: RedisServer, proxy: RedisProxy, start: Callable[[RedisServer], RedisServer]
) -> None:
    """The one whose answer is lost is not the one of the inbox, or it is: both ways."""
    other = start(RedisServer())

    async def main(site: RunningSite) -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url, other.url])
        async with site.sockets(SOCKETS) as sockets:
            await all_receive(sockets, layer, "before")
            for server in (own_redis, other, own_redis):
                armed = proxy.arm(Fault.SWALLOW, HEARTBEAT.sha)
                server.flush()
                await asyncio.to_thread(eventually, armed.happened.is_set, 10)
                await asyncio.to_thread(eventually, lambda: members(layer) == SOCKETS, 20)
                await all_receive(sockets, layer, "after")
        layer.close()

    with RunningSite(f"{proxy.url},{other.url}", workers=1) as site:
        asyncio.run(main(site))


@pytest.mark.parametrize("same_number", [False, True])
def test_a_server_to_which_the_address_leads_back_revives_nobody_and_delivers_nothing_late(
    own_redis: RedisServer, proxy: RedisProxy, start: Callable[[RedisServer], RedisServer], same_number: bool
) -> None:
    """Its data is as it was when the address moved to another server, and its epoch the one that it had then.

    The epoch of the other one may have the same number: it began in the same moment, or after as many restarts.
    """
    other = start(RedisServer())
    epoch = "asgi:{0}:epoch"

    def lead_to(server: RedisServer) -> None:
        proxy.server = server
        proxy.cut()

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[proxy.url])
        session, clients = await session_on(RedisChannelLayer(hosts=[proxy.url]), 2)
        leaver, stays = clients
        for channel in clients:
            await layer.group_add_async("room", channel)
        await layer.send_async("jobs", {"n": 1})
        if same_number:
            elsewhere = RedisChannelLayer(hosts=[other.url])
            elsewhere.receive(["jobs"])
            elsewhere.close()
            (number,) = own_redis.command_list("HMGET", epoch, "number")
            other.command("HSET", epoch, "number", number)
        await asyncio.to_thread(lead_to, other)
        await eventually_async(lambda: len(session.registry.groups.members("room")) == members(layer) == 2, 20)
        await layer.group_discard_async("room", leaver)
        await eventually_async(lambda: len(session.registry.groups.members("room")) == 1)
        await asyncio.to_thread(lead_to, own_redis)
        await eventually_async(lambda: layer.group_channels("room") == [stays], 20)
        await layer.send_group_async("room", {"text": "after"})
        await eventually_async(lambda: clients[stays].got == ["after"], 10)
        assert clients[leaver].got == []
        assert await layer.receive_async(["jobs"]) == (None, None)
        await layer.send_async("jobs", {"n": 2})
        assert await layer.receive_async(["jobs"]) == ("jobs", {"n": 2})
        assert layer.losses.as_dict() == {"fenced": 1}
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


def test_a_server_that_stood_still_is_in_its_groups_as_soon_as_it_lives(own_redis: RedisServer) -> None:
    async def main(site: RunningSite) -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        async with site.sockets(SOCKETS) as sockets:
            await all_receive(sockets, layer, "before")
            site.interface.send_signal(signal.SIGSTOP)
            if LONG:
                await asyncio.sleep(LIVENESS + 2)  # the fault itself
            else:
                (key,) = own_redis.command_list("KEYS", "asgi:*:alive:*")
                own_redis.command("DEL", key)
            await asyncio.to_thread(layer.send_group, "room", {"text": "meanwhile"})
            assert layer.losses.as_dict() == {"dead": 1}
            site.interface.send_signal(signal.SIGCONT)
            await asyncio.to_thread(eventually, lambda: own_redis.command_list("KEYS", "asgi:*:alive:*"), 10)
            await all_receive(sockets, layer, "after")
        layer.close()

    with RunningSite(own_redis.url, workers=1) as site:
        asyncio.run(main(site))


# The interface server's part alone


class Client(FakeClient):
    """A client that notes texts."""

    def broadcast(self, broadcast: Broadcast) -> None:
        self.got.append(broadcast.message["text"])


async def session_on(layer: BaseChannelLayer, number: int) -> tuple[LayerSession, dict[str, Client]]:
    session = LayerSession(layer, InterfaceConfig())
    await session.start()
    clients = [Client(str(index)) for index in range(number)]
    return session, {session.add(client): client for client in clients}


async def end(session: LayerSession) -> None:
    for client in session.registry.everybody():
        session.remove(client)
    await session.stop()


def test_a_shard_that_lost_its_data_gets_its_memberships_again_while_another_one_is_down(
    own_redis: RedisServer, start: Callable[[RedisServer], RedisServer]
) -> None:
    """The interface server goes on to announce itself, also where it has recoverable groups on the other one.

    While the shard of its own inbox is down nothing reaches its clients, so it is not ready.
    """
    servers = [own_redis, start(RedisServer())]
    hosts = [server.url for server in servers]
    rooms = [f"room-{number}" for number in range(60)]

    async def main() -> None:
        layer = RedisChannelLayer(hosts=hosts)
        session, clients = await session_on(RedisChannelLayer(hosts=hosts), 1)
        ((channel, client),) = clients.items()
        shards, routes = layer._known()
        lost = routes.pin(session.inbox)
        for room in rooms:
            await layer.group_add_async(room, channel)
        kept = next(name for name in map(str, range(100)) if routes.pin(name) != lost)
        await layer.group_add_async(kept, channel, keep=5)
        await eventually_async(lambda: session.registry.groups.member_count == len(rooms) + 1)
        await eventually_async(lambda: kept in session._recovery._streams)
        await asyncio.to_thread(servers[1 - lost].stop)
        servers[lost].flush()
        here = [room for room in rooms if routes.pin(room) == lost]
        await eventually_async(lambda: all(layer.group_channels(room) for room in here), 20)
        await eventually_async(lambda: layer.run([GetPrograms()])[0], 20)
        servers[1 - lost].start()
        await eventually_async(lambda: not shards.down, 20)
        await eventually_async(lambda: all(layer.group_channels(room) for room in [*rooms, kept]), 30)
        for room in rooms:
            await layer.send_group_async(room, {"text": room})
        await eventually_async(lambda: client.got == rooms, 10)
        assert session.health is Health.READY
        await asyncio.to_thread(servers[lost].stop)
        await eventually_async(lambda: session.available and session.health is Health.LAYER_DOWN, 20)
        servers[lost].start()
        await eventually_async(lambda: session.health is Health.READY, 20)
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


def test_a_shard_that_lost_its_data_gets_its_memberships_again_while_another_one_has_no_memory(
    own_redis: RedisServer, start: Callable[[RedisServer], RedisServer]
) -> None:
    servers = [own_redis, start(RedisServer())]
    hosts = [server.url for server in servers]
    rooms = [f"room-{number}" for number in range(20)]

    async def main() -> None:
        layer = RedisChannelLayer(hosts=hosts)
        session, (channel, *_) = await session_on(RedisChannelLayer(hosts=hosts), 1)
        _, routes = layer._known()
        for room in sorted(rooms, key=routes.pin):  # those of the one without memory first
            await layer.group_add_async(room, channel, who="ada")
        await eventually_async(lambda: session.registry.groups.member_count == len(rooms))
        servers[0].command("CONFIG", "SET", "maxmemory", "1")
        servers[1].flush()
        lost = [room for room in rooms if routes.pin(room) == 1]
        await eventually_async(lambda: all(layer.group_channels(room) for room in lost), 20)
        await eventually_async(lambda: all(layer.group_presence(room) for room in rooms), 20)
        servers[0].command("CONFIG", "SET", "maxmemory", "0")
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


def test_groups_on_a_shard_that_is_down_keep_no_others_from_catching_up(
    own_redis: RedisServer, start: Callable[[RedisServer], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Entries of recoverable groups are lost with a read that breaks; the next heartbeat reads what is kept.

    The layer is said to be back once all shards are.
    """
    servers = [own_redis, start(RedisServer())]
    hosts = [server.url for server in servers]

    async def main() -> None:
        layer = RedisChannelLayer(hosts=hosts)
        session, clients = await session_on(RedisChannelLayer(hosts=hosts), 1)
        ((channel, client),) = clients.items()
        shards, routes = layer._known()
        up = routes.pin(session.inbox)
        rooms = [f"room-{number}" for number in range(3 * AT_ONCE)]
        down_rooms = [room for room in rooms if routes.pin(room) != up]
        room = next(room for room in rooms if routes.pin(room) == up)
        assert len(down_rooms) > AT_ONCE
        for name in [*down_rooms, room]:
            await layer.group_add_async(name, channel, keep=5)
        await eventually_async(lambda: len(session._recovery._streams) == len(down_rooms) + 1)
        await asyncio.to_thread(servers[1 - up].stop)
        lost = Outgoing(room, {"text": "lost"}, group=True, retention=Retention(5, 60))
        await layer.run_async([layer.planner.record(lost)])
        servers[up].command("CLIENT", "KILL", "TYPE", "normal")
        await eventually_async(lambda: client.got == ["lost"], 20)
        assert "The channel layer is back" not in caplog.text
        (down_room, *_) = down_rooms
        servers[1 - up].start()
        await eventually_async(lambda: not shards.down and layer.group_channels(down_room), 20)
        await eventually_async(lambda: not session._recovery._doubted, 10)  # its clients know of a gap
        await layer.send_group_async(down_room, {"text": "after"}, keep=5)
        await eventually_async(lambda: client.got == ["lost", "after"], 10)
        await eventually_async(lambda: caplog.text.count("The channel layer is back") == 1, 10)
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


@pytest.mark.parametrize("discards", [False, True])
def test_hints_that_a_broken_read_lost_are_noticed_by_the_next_message(
    own_redis: RedisServer, proxy: RedisProxy, discards: bool
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, clients = await session_on(RedisChannelLayer(hosts=[proxy.url], connection_kwargs=IMPATIENT), 2)
        (channel, client), (other_channel, other) = clients.items()
        await layer.group_add_async("room", other_channel)
        if discards:
            await layer.group_add_async("room", channel)
            await eventually_async(lambda: len(session.registry.groups.members("room")) == 2)
        armed = proxy.arm(Fault.CUT_AFTER, INTERFACE_READ)
        await eventually_async(armed.happened.is_set, 10)
        await (layer.group_discard_async if discards else layer.group_add_async)("room", channel)
        await layer.send_group_async("room", {"text": "x"})
        await eventually_async(lambda: other.got == ["x"], 10)
        assert client.got == ([] if discards else ["x"])
        await end(session)
        await layer.close_async()

    asyncio.run(main())


@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.SWALLOW])
def test_a_message_for_a_group_whose_members_the_layer_does_not_tell_is_counted_and_the_next_one_arrives(
    own_redis: RedisServer, proxy: RedisProxy, fault: Fault
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        owner = RedisChannelLayer(hosts=[proxy.url], connection_kwargs=IMPATIENT)
        session, clients = await session_on(owner, 1)
        ((channel, client),) = clients.items()
        armed = proxy.arm(Fault.CUT_AFTER, INTERFACE_READ)
        await eventually_async(armed.happened.is_set, 10)
        await layer.group_add_async("room", channel)
        armed = proxy.arm(fault, MEMBERS.sha)
        await layer.send_group_async("room", {"text": "lost"})
        await eventually_async(armed.happened.is_set, 10)
        await eventually_async(lambda: owner.losses.as_dict() == {"broker": 1}, 10)
        await layer.send_group_async("room", {"text": "after"})
        await eventually_async(lambda: client.got == ["after"], 10)
        await end(session)
        await layer.close_async()

    asyncio.run(main())


def test_members_that_are_lost_again_right_after_they_were_restored_stay_in_their_group(
    own_redis: RedisServer, proxy: RedisProxy
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, clients = await session_on(RedisChannelLayer(hosts=[proxy.url]), 3)
        *channels, late = clients
        for channel in channels:
            await layer.group_add_async("room", channel)
        await eventually_async(lambda: len(session.registry.groups.members("room")) == 2)
        armed = proxy.arm(Fault.FLUSH, RESTORE.sha)
        own_redis.flush()
        await layer.group_add_async("room", late)
        while not armed.happened.is_set():  # until a heartbeat the session counts as dead; then it asks for the members
            await layer.send_group_async("room", {"text": "before"})
            await asyncio.sleep(0.01)
        deadline = time.monotonic() + scaled(20)
        while len(found := await layer.group_channels_async("room")) < 3:
            assert time.monotonic() < deadline, f"{len(found)} of 3 members"
            await asyncio.sleep(0.1)
        await layer.send_group_async("room", {"text": "after"})
        await eventually_async(lambda: all(client.got[-1:] == ["after"] for client in clients.values()), 10)
        await end(session)
        await layer.close_async()

    asyncio.run(main())


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER])
@pytest.mark.parametrize("script", [JOIN, PUSH])
def test_an_add_that_broke_in_the_middle_can_be_repeated(
    own_redis: RedisServer, proxy: RedisProxy, fault: Fault, script: object
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[proxy.url])
        session, clients = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 2)
        for channel in clients:
            proxy.arm(fault, script.sha)  # type: ignore[attr-defined]
            with pytest.raises(Exception, match="connection"):
                await layer.group_add_async("room", channel)
            await layer.group_add_async("room", channel)
        await layer.send_group_async("room", {"text": "x"})
        await eventually_async(lambda: [client.got for client in clients.values()] == [["x"], ["x"]])
        await end(session)
        await layer.close_async()

    asyncio.run(main())


@pytest.mark.parametrize("fault", BREAKS)
def test_a_group_send_that_broke_in_the_middle_reaches_each_member_once_or_not_at_all(
    own_redis: RedisServer, proxy: RedisProxy, fault: Fault
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[proxy.url], connection_kwargs=IMPATIENT)
        session, clients = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 2)
        for channel in clients:
            await layer.group_add_async("room", channel)
        await layer.send_group_async("room", {"text": "before"})
        armed = proxy.arm(fault, PUBLISH.sha)
        with pytest.raises(LayerUnavailable) as broken:
            await layer.send_group_async("room", {"text": "broken"})
        assert armed.happened.is_set()
        assert broken.value.written
        await layer.send_group_async("room", {"text": "after"})
        arrived = [] if fault is Fault.CUT_BEFORE else ["broken"]
        await eventually_async(lambda: [client.got[-1:] for client in clients.values()] == [["after"]] * 2, 10)
        assert [client.got for client in clients.values()] == [["before", *arrived, "after"]] * 2
        await end(session)
        await layer.close_async()

    asyncio.run(main())


@pytest.mark.parametrize("fault", BREAKS)
def test_a_client_that_left_while_the_connection_broke_is_no_member_for_long(
    own_redis: RedisServer, proxy: RedisProxy, fault: Fault
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, clients = await session_on(RedisChannelLayer(hosts=[proxy.url], connection_kwargs=IMPATIENT), 2)
        for channel in clients:
            await layer.group_add_async("room", channel)
        await eventually_async(lambda: len(session.registry.groups.members("room")) == 2)
        armed = proxy.arm(fault, LEAVE.sha)
        (leaver, stays) = clients.values()
        session.remove(leaver)
        await eventually_async(armed.happened.is_set, 10)
        await eventually_async(lambda: layer.group_channels("room") == [session.inbox + stays.local], 10)
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


def test_a_server_cut_off_for_longer_than_memberships_last_finds_who_stayed_and_who_left(
    own_redis: RedisServer, proxy: RedisProxy
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url], group_expiry=1)
        session, clients = await session_on(RedisChannelLayer(hosts=[proxy.url], group_expiry=1), 2)
        leaver, stays = clients
        for channel in clients:
            await layer.group_add_async("room", channel)
        await eventually_async(lambda: len(session.registry.groups.members("room")) == 2)
        proxy.server = nowhere
        await asyncio.to_thread(proxy.cut)
        await eventually_async(lambda: not session.available)
        await layer.group_discard_async("room", leaver)
        await layer.group_add_async("others", "plain")
        await eventually_async(lambda: not layer.group_channels("others"))
        proxy.server = own_redis
        for _ in range(2):  # the second heartbeat has looked at the groups
            heard = session._asked_at
            await eventually_async(lambda since=heard: session._asked_at > since, 10)  # type: ignore[misc]
        await layer.send_group_async("room", {"text": "after"})
        await eventually_async(lambda: clients[stays].got == ["after"], 10)
        assert clients[leaver].got == []
        assert layer.group_channels("room") == [stays]
        await end(session)
        await layer.close_async()
        layer.close()

    nowhere = RedisServer()  # never started
    asyncio.run(main())
    nowhere.close()


def test_renewals_do_not_undo_discards_of_which_the_owner_does_not_know_yet(
    own_redis: RedisServer, proxy: RedisProxy
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url], group_expiry=6)
        session, clients = await session_on(RedisChannelLayer(hosts=[proxy.url], group_expiry=6), 200)
        for channel in clients:
            await layer.group_add_async("room", channel)
        proxy.delay = 0.25  # the owner lags, and yet renews in time
        deadline = time.monotonic() + 8  # longer than the expiry, which renewals must outlive
        kept = dict(list(clients.items())[::2])
        for channel in clients:
            if channel not in kept:
                await layer.group_discard_async("room", channel)
        while time.monotonic() < deadline:
            assert set(await layer.group_channels_async("room")) == {*kept}
            await asyncio.sleep(0.05)
        proxy.delay = 0.0
        await layer.send_group_async("room", {"text": "x"})
        await eventually_async(lambda: all(client.got == ["x"] for client in kept.values()), 10)
        assert sum(len(client.got) for client in clients.values()) == len(kept)
        await end(session)
        await layer.close_async()

    asyncio.run(main())


def test_the_size_of_a_group_does_not_count_towards_the_size_of_a_message(own_redis: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    inbox = names.new_inbox()
    layer.run([Heartbeat(inbox)])
    for start in range(0, 50_000, 500):
        layer.run([Join("crowd", inbox, [f"{number:016x}" for number in range(start, start + 500)])])
    layer.send_group("crowd", {"text": "x" * (SIZE_LIMIT - 1000)})
    assert layer.losses.as_dict() == {}
    layer.close()


# Beside another release

_NEXT_RELEASE = """
import asyncio, os, re
from channels_classic.layers import names, planner
names.WIRE_VERSION = 3
names._MANAGED = re.compile(r"interface\\.v3\\.[A-Za-z0-9]+!")
names.MANAGED_PREFIX = planner.MANAGED_PREFIX = "interface.v3."
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.redis import RedisChannelLayer
from tests.faults.test_groups import Client

async def main():
    session = LayerSession(RedisChannelLayer(hosts=[os.environ["REDIS_URL"]]), InterfaceConfig())
    await session.start()
    client = Client("me")
    client.reply = lambda message: print("got", message["text"], flush=True)
    print("channel", session.add(client), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_an_interface_server_of_the_next_release_gets_what_this_one_sends(own_redis: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    program = Process(
        [sys.executable, "-c", _NEXT_RELEASE], env={"REDIS_URL": own_redis.url, "PYTHONPATH": root, "TZ": "UTC"}
    )
    try:
        channel = program.wait_for_line("channel interface.v3").split()[1]
        layer.send(channel, {"text": "reply"})
        program.wait_for_line("got reply")
        layer.group_add("room", channel)
        layer.send_group("room", {"text": "group"})
        program.wait_for_line("got group")
        layer.group_discard("room", channel)
        assert layer.group_channels("room") == []
        assert layer.losses.as_dict() == {}
    finally:
        program.stop()
        layer.close()


def test_entries_of_the_next_release_harm_nothing_and_are_counted(own_redis: RedisServer) -> None:
    """In an inbox they are passed over; on a plain channel the gate of their client is told."""

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, clients = await session_on(layer, 1)
        ((channel, client),) = clients.items()
        later = [
            encode(42, {"new": True}, "7"),  # type: ignore[arg-type]  # a kind of the next release
            encode(EntryKind.GROUP, {"text": "of version 1"}, "room", ["0"]),
            encode(EntryKind.MESSAGE, {"text": "with more"}, None, "0", None, 0, "new field"),
        ]
        await layer.run_async([Push(session.inbox, [Entry(payload, 60) for payload in later])])
        await eventually_async(lambda: client.got == [{"text": "with more"}])
        assert layer.losses.as_dict() == {"undecodable": 2}
        reports: list[str] = []
        client.report = lambda token, outcome: reports.append(f"{token} {outcome.name}")  # type: ignore[method-assign, attr-defined]
        gated = encode(42, {"reply_channel": channel}, "token", "new field")  # type: ignore[arg-type]
        await layer.run_async([Push("websocket.receive", [Entry(gated, 60)])])
        assert await layer.receive_async(["websocket.receive"]) == (None, None)
        await eventually_async(lambda: reports == ["token DROPPED"])
        await end(session)
        await layer.close_async()

    asyncio.run(main())
