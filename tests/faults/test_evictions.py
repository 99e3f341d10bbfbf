"""Single keys of a group that are gone, evicted by Redis or deleted by hand: members come back, nobody is revived."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import pytest

from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.names import new_inbox
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import Identity
from channels_classic.layers.steps import Audit, Heartbeat, JoinAs, Leave, RestoreIdentities
from tests.faults.test_groups import Client, end, session_on
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.timeout(120)

LOST = {
    "group": ["group:{group}"],
    "members": ["members:{group}:{inbox}"],
    "both": ["group:{group}", "members:{group}:{inbox}"],
    "identities": ["identities:{group}:{inbox}"],
    "people": ["people:{group}:{inbox}"],
    "people-and-members": ["people:{group}:{inbox}", "members:{group}:{inbox}"],
    "starts": ["starts:{group}:{inbox}"],
    "history": ["history:{group}"],
    "kept": ["kept:{group}"],
    "restored": ["restored:{inbox}"],
    "alive": ["alive:{inbox}"],
    "presence": ["presence_groups:{inbox}", "presence_inboxes"],
    "notices": ["notices", "noticed", "listening"],
    "inboxes": ["inboxes"],
    "quotas": ["quotas:{inbox}"],
    "counters": ["counters"],
}
"""The keys that are deleted, by what is lost; each in a group of that name."""


def delete(servers: Sequence[RedisServer], keys: Sequence[str], group: str, inbox: str) -> None:
    for server in servers:
        for key in keys:
            for found in server.command_list("KEYS", f"asgi:*}}:{key.format(group=group, inbox=inbox)}"):
                server.command("DEL", found)


async def deliver(layer: BaseChannelLayer, group: str, expected: Sequence[Client], text: str) -> None:
    await layer.send_group_async(group, {"text": text})
    await eventually_async(lambda: all(client.got[-1:] == [text] for client in expected), 10)


async def everything_deleted_once(servers: Sequence[RedisServer]) -> None:
    hosts = [server.url for server in servers]
    layer = RedisChannelLayer(hosts=hosts)
    session, found = await session_on(RedisChannelLayer(hosts=hosts), 3)
    channels, clients = list(found), list(found.values())
    for group in LOST:
        for number, channel in enumerate(channels):
            await layer.group_add_async(group, channel, who=f"person-{number}", info={})
        await layer.send_group_async(group, {"text": f"kept {group}"}, keep=10)
        await eventually_async(lambda group=group: clients[2].got[-1:] == [f"kept {group}"], 10)  # type: ignore[misc]
    for group, keys in LOST.items():
        await asyncio.to_thread(delete, servers, keys, group, session.inbox)
        await layer.group_discard_async(group, channels[0])
    await eventually_async(lambda: all(set(layer.group_channels(group)) == set(channels[1:]) for group in LOST), 20)
    await eventually_async(
        lambda: all(layer.group_presence(group).keys() >= {"person-1", "person-2"} for group in LOST), 20
    )
    for group in LOST:
        await deliver(layer, group, clients[1:], f"after {group}")
        assert f"after {group}" not in clients[0].got
    assert all(len(client.got) == len(set(client.got)) for client in clients)
    assert session.stats.restored_groups >= 2
    assert layer.losses.as_dict().keys() <= {"dead"}  # until the next heartbeat after `alive` is gone
    await end(session)
    await layer.close_async()
    layer.close()


def test_a_single_key_that_is_deleted_costs_no_membership_and_revives_nobody(own_redis: RedisServer) -> None:
    asyncio.run(everything_deleted_once([own_redis]))


def test_single_keys_on_shards(own_redis: RedisServer, start: Callable[[RedisServer], RedisServer]) -> None:
    asyncio.run(everything_deleted_once([own_redis, start(RedisServer())]))


def test_members_come_back_although_another_client_was_added_after_all_keys_of_their_group_were_lost(
    own_redis: RedisServer,
) -> None:
    """Of one group the interface server hears with a message, of the others it finds out by itself.

    At the one whose newcomer leaves it looks before that: afterwards nothing would show the loss.
    """
    groups = ["left", "asked", "audited"]
    others = [f"other-{number}" for number in range(40)]  # so that not every group is looked at in each heartbeat

    async def heartbeat(session: LayerSession) -> None:
        for _ in range(2):  # the second one comes when all that belongs to the first is done
            heard = session._asked_at
            await eventually_async(lambda: session._asked_at != heard, 20)  # noqa: B023

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, found = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 4)
        leaver, *stays, newcomer = found
        for group in [*groups, "emptied"]:
            for channel in [leaver, *stays]:
                await layer.group_add_async(group, channel)
        for group in others:
            await layer.group_add_async(group, newcomer)
        await eventually_async(lambda: session.registry.groups.member_count == 12 + len(others))
        await eventually_async(lambda: len(session._audit._round) > 30, 20)  # the first group comes last
        for channel in [leaver, *stays]:
            await layer.group_discard_async("emptied", channel)
        for group in groups:
            await asyncio.to_thread(delete, [own_redis], LOST["both"], group, session.inbox)
        for group in [*groups, "emptied"]:
            await layer.group_add_async(group, newcomer)
            await layer.group_discard_async(group, leaver)
        await deliver(layer, "asked", [found[channel] for channel in [*stays, newcomer]], "at once")
        await heartbeat(session)
        await layer.group_discard_async("left", newcomer)
        await eventually_async(lambda: set(layer.group_channels("left")) == {*stays}, 20)
        await layer.group_add_async("left", newcomer)
        await eventually_async(
            lambda: all(set(layer.group_channels(group)) == {*stays, newcomer} for group in groups), 20
        )
        for group in groups:
            await deliver(layer, group, [found[channel] for channel in [*stays, newcomer]], f"after {group}")
        assert layer.group_channels("emptied") == [newcomer]
        assert found[leaver].got == []
        await eventually_async(lambda: session.stats.restored_groups == len(groups), 20)
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


def test_sockets_of_a_person_are_counted_anew_although_another_was_added_after_identities_were_lost(
    own_redis: RedisServer,
) -> None:
    """Otherwise it would never be announced that the person left."""
    inbox, layer = new_inbox(), RedisChannelLayer(hosts=[own_redis.url])
    ada, bob = Identity("ada", b""), Identity("bob", b"")
    layer.run([Heartbeat(inbox), JoinAs("room", inbox, {"1": ada})])
    own_redis.command("DEL", f"asgi:{{0}}:identities:room:{inbox}")
    layer.run([JoinAs("room", inbox, {"2": bob}), Audit("room", inbox)])
    layer.run([RestoreIdentities("room", inbox, {"1": ada, "2": bob}, announce=False), Leave("room", inbox, ["1"])])
    assert own_redis.command_list("HKEYS", f"asgi:{{0}}:people:room:{inbox}") == ["bob"]
    layer.close()


def test_groups_that_redis_evicts_come_back_and_it_is_logged_once_in_an_interval(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The default policy of hosted servers evicts keys with a time to live, and all keys of this project have one."""
    groups = [f"room-{number}" for number in range(60)]

    def evict() -> bool:
        """Write until Redis has evicted keys of groups; return True once it has."""
        for number in range(2000):
            own_redis.command("SET", f"other:{number}", "x" * 4000, "EX", "60")
            if number % 50 == 0 and len(own_redis.command_list("KEYS", "asgi:*:members:*")) < len(groups) - 5:
                return True
        return False

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, found = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 2)
        for group in groups:
            for channel in found:
                await layer.group_add_async(group, channel)
        used = int(own_redis.info("memory")["used_memory"])
        own_redis.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        own_redis.command("CONFIG", "SET", "maxmemory", str(used + 500_000))
        assert await asyncio.to_thread(evict)
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
        assert int(own_redis.info("stats")["evicted_keys"]) > 0
        await eventually_async(lambda: all(len(layer.group_channels(group)) == 2 for group in groups), 30)
        for group in groups:
            await deliver(layer, group, list(found.values()), f"after {group}")
        await end(session)
        await layer.close_async()
        layer.close()

    with caplog.at_level(logging.WARNING, "channels_classic.interface_server"):
        asyncio.run(main())
    named = [record for record in caplog.records if "but no other data" in record.message]
    assert len(named) <= 4
