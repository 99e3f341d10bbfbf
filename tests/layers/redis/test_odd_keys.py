"""Keys of the layer in which something else has written: that hits the users of that key alone, and they are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_classic.exceptions import StepRefused
from channels_classic.layers.codec import EntryKind, decode, decode_kept
from channels_classic.layers.history import ALL
from channels_classic.layers.names import new_inbox
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import Identity
from channels_classic.layers.steps import (
    Announce,
    Audit,
    GetPrograms,
    Heartbeat,
    Join,
    JoinAs,
    ReadHistory,
    Take,
    TakeNotices,
)
from tests.faults.test_groups import end, session_on
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, eventually_async

pytestmark = pytest.mark.timeout(60)

SHARED = {
    "epoch as a list": ["RPUSH", "epoch", "x"],
    "epoch as a text": ["SET", "epoch", "x"],
    "epoch without a number": ["HSET", "epoch", "number", "abc"],
    "epoch without a start": ["HSET", "epoch", "since", "abc"],
    "epoch without a version": ["HSET", "epoch", "version", "abc"],
    "epoch with a fraction as its number": ["HSET", "epoch", "number", "1.5"],
    "epoch with a number that fits into no entry": ["HSET", "epoch", "number", "4294967296"],
    "epoch with a negative number": ["HSET", "epoch", "number", "-1"],
    "epoch with a start that is not a whole number": ["HSET", "epoch", "since", "1e3"],
    "epoch with a start beyond all versions": ["HSET", "epoch", "since", "9" * 30],
    "epoch with a version without an end": ["HSET", "epoch", "version", "inf"],
    "epoch with a version that is not a whole number": ["HSET", "epoch", "version", "1e17"],
    "counters as a text": ["SET", "counters", "x"],
    "a counter that is not a number": ["HSET", "counters", "messages:jobs", "abc"],
    "a counter at its highest": ["HSET", "counters", "messages:jobs", str(2**63 - 1)],
    "inboxes as a text": ["SET", "inboxes", "x"],
    "programs as a list": ["RPUSH", "programs", "x"],
    "notices as a text": ["SET", "notices", "x"],
    "noticed as a text": ["SET", "noticed", "x"],
    "listening as a list": ["RPUSH", "listening", "x"],
    "inboxes with presence as a text": ["SET", "presence_inboxes", "x"],
    "groups with presence as a text": ["SET", "presence_groups:{inbox}", "x"],
    "quotas as a text": ["SET", "quotas:{inbox}", "x"],
    "quotas without a number of bytes": ["HSET", "quotas:{inbox}", "#bytes", "abc"],
    "quotas with a fraction of bytes": ["HSET", "quotas:{inbox}", "#bytes", "1.5"],
    "quotas with the highest number of bytes": ["HSET", "quotas:{inbox}", "#bytes", str(2**63 - 1)],
    "a quota that is not a number": ["HSET", "quotas:{inbox}", "client", "abc"],
    "identities as a text": ["SET", "identities:room:{inbox}", "x"],
    "identities of channels that nobody owns as a text": ["SET", "identities:room:", "x"],
    "people as a list": ["RPUSH", "people:room:{inbox}", "x"],
    "people without a number": ["HSET", "people:room:{inbox}", "ada", "abc"],
    "people at the highest number": ["HSET", "people:room:{inbox}", "ada", str(2**63 - 1)],
    "starts as a text": ["SET", "starts:room:{inbox}", "x"],
    "a restoration as a list": ["RPUSH", "restored:{inbox}", "x"],
    "a liveness as a list": ["RPUSH", "alive:{inbox}", "x"],
}
"""Commands that write into keys which hold nothing that cannot be made anew."""


def write(server: RedisServer, words: list[str], inbox: str = "") -> None:
    command, key, *rest = [word.format(inbox=inbox) for word in words]
    if command != "HSET":
        server.command("DEL", f"asgi:{{0}}:{key}")
    server.command(command, f"asgi:{{0}}:{key}", *rest)


@pytest.mark.parametrize("written", SHARED)
def test_what_can_be_made_anew_is(redis_server: RedisServer, redis_url: str, written: str) -> None:
    inbox = new_inbox()
    known = RedisChannelLayer(hosts=[redis_url])
    known.run([Heartbeat(inbox)])
    for number in range(70):  # so that there are quotas
        known.send(f"{inbox}client", {"n": number})
    write(redis_server, SHARED[written], inbox)
    for layer in (known, RedisChannelLayer(hosts=[redis_url])):
        results = layer.run([Heartbeat(inbox), TakeNotices(1), Announce("me", b"", 10), GetPrograms()])
        assert not any(isinstance(result, StepRefused) for result in results)
        layer.group_add("room", f"{inbox}client", who="ada", info={})
        layer.send(f"{inbox}client", {"n": 1})
        layer.send("jobs", {"n": 1})
        assert layer.receive(["jobs"]) == ("jobs", {"n": 1})
        assert layer.group_presence("room") == {"ada": [{}]}
        layer.send_group("room", {"n": 2})
        (taken,) = layer.run([Take([inbox], 500)])
        kinds = [decode(item.payload)[0] for item in taken.items]
        assert kinds.count(EntryKind.GROUP) == 1
        assert len(taken.lost) in ((0, 70, 71) if "epoch" in written else (0,))
        layer.group_discard("room", f"{inbox}client")
        layer.close()


@pytest.mark.parametrize("version", ["inf", "nan", "1e17", "9" * 20, "-1"])
def test_each_change_has_a_version_of_its_own_whatever_was_written_as_the_last(
    redis_server: RedisServer, redis_url: str, version: str
) -> None:
    layer, inbox = RedisChannelLayer(hosts=[redis_url]), new_inbox()
    layer.run([Heartbeat(inbox)])
    redis_server.command("HSET", "asgi:{0}:epoch", "version", version)
    first, second = layer.run([Join("g", inbox, ["a"]), Join("g", inbox, ["b"])])
    assert 0 == first.previous < first.version == second.previous < second.version < 2**53
    layer.close()


def test_a_flush_that_finds_no_interface_servers_to_tell_removes_nothing(
    redis_server: RedisServer, redis_url: str
) -> None:
    layer = RedisChannelLayer(hosts=[redis_url])
    layer.send("jobs", {"n": 1})
    redis_server.command("SET", "asgi:{0}:inboxes", "x")
    with pytest.raises(StepRefused):
        layer.flush()
    assert layer.receive(["jobs"]) == ("jobs", {"n": 1})
    layer.run([Heartbeat(new_inbox())])  # replaces the key
    layer.flush()
    layer.close()


REFUSED: dict[str, tuple[list[str], str]] = {
    "a group": (["SET", "group:odd", "x"], "group:odd"),
    "members": (["SET", "members:odd:{inbox}", "x"], "members:odd:"),
    "left": (["SET", "left:odd:{inbox}", "x"], "left:odd:"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_group_key_of_another_type_hits_that_group_alone_until_it_is_deleted(
    own_redis: RedisServer, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    words, named = REFUSED[what]

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, found = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 3)
        *early, late = found
        for channel in early:
            for group in ("odd", "fine"):
                await layer.group_add_async(group, channel)
        await layer.send_group_async("odd", {"text": "before"})
        write(own_redis, words, session.inbox)
        with pytest.raises(StepRefused, match=named) as refused:
            await layer.group_discard_async("odd", next(iter(found)))
        assert refused.value.foreign
        assert "delete the key" in str(refused.value)
        # All data but that key is lost: the other group is written again in spite of it.
        for key in own_redis.command_list("KEYS", "asgi:*"):
            if named not in key:
                own_redis.command("DEL", key)
        await eventually_async(lambda: len(layer.group_channels("fine")) == 2, 20)
        await layer.send_group_async("fine", {"text": "after"})
        await eventually_async(lambda: all(found[channel].got[-1:] == ["after"] for channel in early), 10)
        for key in own_redis.command_list("KEYS", f"asgi:*{named}*"):
            own_redis.command("DEL", key)
        await layer.group_add_async("odd", late)  # the others are restored all the same
        await eventually_async(lambda: set(layer.group_channels("odd")) == {*found}, 20)
        await layer.send_group_async("odd", {"text": "healed"})
        await eventually_async(lambda: all(client.got[-1:] == ["healed"] for client in found.values()), 10)
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())
    assert sum(named in record.message for record in caplog.records) <= 6


def test_a_membership_that_is_refused_is_as_it_was(own_redis: RedisServer) -> None:
    """Otherwise it would change nothing when it is repeated, and the interface server would not hear of it."""

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, found = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 3)
        leaver, stays, newcomer = found
        for channel in (leaver, stays):
            await layer.group_add_async("odd", channel, who="ada", info={})
        await eventually_async(lambda: len(session.registry.groups.members("odd")) == 2)
        write(own_redis, ["SET", "left:odd:{inbox}", "x"], session.inbox)
        for change, channel in ((layer.group_discard_async, leaver), (layer.group_add_async, newcomer)):
            with pytest.raises(StepRefused, match="left:odd:"):
                await change("odd", channel)
        own_redis.command("DEL", f"asgi:{{0}}:left:odd:{session.inbox}")
        assert set(await layer.group_channels_async("odd")) == {leaver, stays}
        await layer.group_discard_async("odd", leaver)
        await layer.group_add_async("odd", newcomer)
        await layer.send_group_async("odd", {"text": "after"})
        await eventually_async(lambda: found[stays].got == found[newcomer].got == ["after"])
        assert found[leaver].got == []
        await end(session)
        await layer.close_async()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["channels", "history", "kept"])
def test_a_key_of_a_recoverable_group_hits_that_group_alone_and_what_is_refused_is_not_kept(
    redis_server: RedisServer, redis_url: str, what: str
) -> None:
    layer = RedisChannelLayer(hosts=[redis_url])
    for group in ("odd", "fine"):
        layer.group_add(group, "reader")
        layer.send_group(group, {"n": 0}, keep=5)
    write(redis_server, ["SET", f"{what}:odd", "x"])
    with pytest.raises(StepRefused, match=f"{what}:odd") as refused:
        layer.send_group("odd", {"n": 1}, keep=5)
    assert refused.value.foreign
    layer.send_group("fine", {"n": 2}, keep=5)
    redis_server.command("DEL", f"asgi:{{0}}:{what}:odd")
    layer.group_add("odd", "reader")
    layer.send_group("odd", {"n": 3}, keep=5)
    assert [layer.receive(["reader"])[1] for _ in range(5)] == [{"n": 0}, {"n": 0}, {"n": 2}, {"n": 3}, None]
    (history,) = layer.run([ReadHistory("odd", ALL, 0)])
    assert [decode_kept(kept.payload)[0]["n"] for kept in history.kept] == ([0, 3] if what == "channels" else [3])
    layer.close()


def test_a_channel_that_is_not_a_list_does_not_keep_others_from_their_readers(
    own_redis: RedisServer,
) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    write(own_redis, ["SET", "queue:odd", "x"])
    with pytest.raises(StepRefused, match="queue:odd"):
        layer.send("odd", {"n": 1})
    got: list[Any] = []

    def receive() -> bool:
        try:
            got.append(layer.receive(["odd", "fine"])[1])
        except StepRefused as error:
            assert "queue:odd" in str(error)  # noqa: PT017
            return False
        return True

    eventually(receive)
    for number in range(20):
        layer.send("fine", {"n": number})
        assert receive()
    assert got[-20:] == [{"n": number} for number in range(20)]
    own_redis.command("DEL", "asgi:{0}:queue:odd")
    layer.send("odd", {"n": 99})
    eventually(lambda: receive() and got[-1] == {"n": 99}, 15)
    layer.close()


def test_a_group_key_of_another_type_keeps_no_notices_of_other_groups(
    redis_server: RedisServer, redis_url: str
) -> None:
    layer, inbox = RedisChannelLayer(hosts=[redis_url]), new_inbox()
    layer.run([Heartbeat(inbox), TakeNotices(1)])
    for group in ("odd", "fine"):
        layer.run([JoinAs(group, inbox, {"c": Identity("ada", b"")})])
    assert len(layer.run([TakeNotices(5)])[0]) == 2
    redis_server.command("SET", "asgi:{0}:group:odd", "x")
    redis_server.command("DEL", f"asgi:{{0}}:alive:{inbox}")
    assert layer.run([TakeNotices(5)]) == [[]]
    assert redis_server.command("ZCARD", "asgi:{0}:notices") == ":1"
    redis_server.command("DEL", "asgi:{0}:group:odd")
    assert layer.run([TakeNotices(5)]) == [[]]
    assert redis_server.command("ZCARD", "asgi:{0}:notices") == ":2"
    layer.close()


def test_a_person_without_sockets_is_forgotten_by_the_audit(redis_server: RedisServer, redis_url: str) -> None:
    """Left by a step that met an error and was not repeated: others would not hear that somebody has left."""
    layer, inbox = RedisChannelLayer(hosts=[redis_url]), new_inbox()
    layer.run([Heartbeat(inbox), JoinAs("room", inbox, {"c": Identity("ada", b"")})])
    people = f"asgi:{{0}}:people:room:{inbox}"
    redis_server.command("HSET", people, "bob", "0")
    layer.run([Audit("room", inbox)])
    assert redis_server.command_list("HGETALL", people) == ["ada", "1"]
    layer.close()
