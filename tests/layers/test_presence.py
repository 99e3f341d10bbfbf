"""Notices of who came to a group and who left: the steps of every layer, and the worker that announces them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from channels_classic import Group, route
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.names import new_inbox
from channels_classic.layers.presence import (
    GRACE_OF_DEAD,
    LEAVE_GRACE,
    LISTENING,
    MOST_NOTICES,
    Presence,
    make_identity,
)
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import Identity
from channels_classic.layers.steps import (
    LIVENESS,
    GetPresenceGroups,
    Heartbeat,
    JoinAs,
    Leave,
    Members,
    RestoreIdentities,
    Retire,
    TakeNotices,
    owned_expiry,
)
from channels_classic.layers.store import Store
from tests.support.clock import Clock
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.worker.harness import drain, make_worker, running

ADA, BOB = make_identity("ada", {"name": "Ada"}), make_identity("bob", None)


def run(layer: BaseChannelLayer, step: Any) -> Any:
    (result,) = layer.run([step])
    return result


def live(layer: BaseChannelLayer) -> str:
    """An inbox whose owner lives and has nothing to restore."""
    inbox = new_inbox()
    run(layer, Heartbeat(inbox, run(layer, Heartbeat(inbox))))
    return inbox


def notices(layer: BaseChannelLayer) -> list[tuple[str, str, str]]:
    return [("+" if found.arrived else "-", found.group, found.identity.who) for found in run(layer, TakeNotices(100))]


@pytest.fixture
def listened(layer: BaseChannelLayer) -> BaseChannelLayer:
    """A layer from which notices are taken."""
    assert notices(layer) == []
    return layer


def test_the_first_socket_of_somebody_is_announced_once(listened: BaseChannelLayer) -> None:
    one, other = live(listened), live(listened)
    run(listened, JoinAs("room", one, {"a": ADA}))
    run(listened, JoinAs("room", one, {"a": ADA, "b": ADA}))
    run(listened, JoinAs("room", other, {"c": ADA, "d": BOB}))
    listened.group_add("room", "plain", who="ada")
    run(listened, JoinAs("hall", other, {"d": BOB}))
    assert sorted(notices(listened)) == [("+", "hall", "bob"), ("+", "room", "ada"), ("+", "room", "bob")]
    assert notices(listened) == []


def test_nobody_is_announced_where_nobody_listens(layer: BaseChannelLayer) -> None:
    inbox = live(layer)
    run(layer, JoinAs("room", inbox, {"a": ADA}))
    run(layer, Leave("room", inbox, ["a"]))
    assert notices(layer) == []


@pytest.mark.timeout(120)
def test_a_leave_is_announced_after_a_grace_unless_they_came_back(listened: BaseChannelLayer) -> None:
    inbox = live(listened)
    run(listened, JoinAs("room", inbox, {"a": ADA, "b": BOB, "c": BOB}))
    listened.group_add("room", "plain", who="eve")
    assert len(notices(listened)) == 3
    began = time.monotonic()
    run(listened, Leave("room", inbox, ["a"], gone=True))
    run(listened, Leave("room", inbox, ["b"]))
    listened.group_discard("room", "plain")
    run(listened, Leave("room", inbox, ["c"]))
    run(listened, JoinAs("room", live(listened), {"d": BOB}))
    assert notices(listened) == [], "bob was away for less than the grace"
    found = eventually(lambda: notices(listened), LEAVE_GRACE + 5)
    assert time.monotonic() - began > LEAVE_GRACE - 0.5
    while len(found) < 2:
        found += eventually(lambda: notices(listened))
    assert sorted(found) == [("-", "room", "ada"), ("-", "room", "eve")]
    run(listened, JoinAs("room", inbox, {"e": ADA}))
    assert notices(listened) == [("+", "room", "ada")], "it is news again"


def test_a_change_of_the_person_is_a_change_of_the_version(layer: BaseChannelLayer) -> None:
    """The owner learns it by a hint, and sees by the version that it missed one."""
    inbox = live(layer)
    first = run(layer, JoinAs("room", inbox, {"a": ADA}))
    second = run(layer, JoinAs("room", inbox, {"a": ADA}))
    third = run(layer, JoinAs("room", inbox, {"a": BOB}))
    assert first.previous == 0
    assert second == (first.version, first.version)
    assert third.previous == first.version < third.version
    roster = run(layer, Members("room", inbox))
    assert (roster.version, roster.members, roster.identities) == (third.version, ["a"], {"a": BOB})
    assert run(layer, GetPresenceGroups(inbox)) == ["room"]


def test_what_is_written_again_concerns_members_alone_and_overwrites_nothing(listened: BaseChannelLayer) -> None:
    inbox = live(listened)
    listened.group_add("room", f"{inbox}b")
    run(listened, JoinAs("room", inbox, {"c": ADA}))
    notices(listened)
    run(listened, RestoreIdentities("room", inbox, {"a": ADA, "b": BOB, "c": BOB}, announce=False))
    assert run(listened, Members("room", inbox)).identities == {"b": BOB, "c": ADA}
    assert notices(listened) == []


def test_clients_of_an_interface_server_that_is_gone_are_not_present(listened: BaseChannelLayer) -> None:
    """They are left out as soon as it counts as dead. That they left is announced some seconds later, so not at all
    where it was an outage of the layer; after that they would be announced again."""
    dead, alive = live(listened), live(listened)
    run(listened, JoinAs("room", dead, {"a": ADA, "b": ADA, "c": BOB}))
    run(listened, JoinAs("room", alive, {"d": BOB}))
    assert len(notices(listened)) == 2
    run(listened, Retire(dead))
    assert listened.group_presence("room") == {"bob": [{}]}
    clients = RestoreIdentities("room", dead, {"a": ADA, "b": ADA, "c": BOB}, announce=True)
    assert notices(listened) == []
    run(listened, Heartbeat(dead))
    run(listened, clients)
    assert notices(listened) == []
    run(listened, Retire(dead))
    assert eventually(lambda: notices(listened), GRACE_OF_DEAD + 5) == [("-", "room", "ada")]
    run(listened, Heartbeat(dead))
    run(listened, clients)
    assert notices(listened) == [("+", "room", "ada")]
    assert len(listened.group_presence("room")["ada"]) == 2


# Redis


def test_after_a_fail_over_nothing_is_announced_but_what_changed(redis_server: RedisServer) -> None:
    """Identities of an earlier epoch are void, and their owner writes them again."""
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url])
    inbox = live(layer)
    notices(layer)
    run(layer, JoinAs("room", inbox, {"a": ADA, "b": BOB}))
    assert len(notices(layer)) == 2
    redis_server.command("HSET", "asgi:{0}:epoch", "since", str(int(time.time() * 1_000_000) + 1))
    listed = run(layer, Members("room", inbox))
    assert (listed.members, listed.identities, listed.complete) == ([], {}, False)
    run(layer, JoinAs("room", inbox, {"a": ADA}))
    run(layer, RestoreIdentities("room", inbox, {"a": ADA}, announce=False))
    assert notices(layer) == []
    assert list(redis_server.command_list("ZRANGE", "asgi:{0}:notices", "0", "-1")) == ["-room\0bob"]
    layer.close()


def test_what_is_not_true_any_more_is_not_announced_when_workers_come_back(redis_server: RedisServer) -> None:
    """Changes while no worker has listened for a minute make no notices, but end those that wait."""
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url])
    notices(layer)
    killed, inbox = live(layer), live(layer)
    run(layer, JoinAs("room", killed, {"a": ADA}))
    assert notices(layer) == [("+", "room", "ada")]
    run(layer, Retire(killed))
    run(layer, TakeNotices(0))  # a notice that she left waits from now on
    run(layer, JoinAs("room", inbox, {"b": BOB}))
    run(layer, JoinAs("hall", inbox, {"b": BOB}))
    redis_server.command("DEL", "asgi:{0}:listening")
    run(layer, JoinAs("room", inbox, {"c": ADA}))
    run(layer, Leave("room", inbox, ["b"]))
    run(layer, JoinAs("club", inbox, {"b": BOB}))
    assert redis_server.command_list("ZRANGE", "asgi:{0}:notices", "0", "-1") == ["+hall\0bob"]
    layer.close()


def test_info_is_encrypted_where_messages_are(redis_server: RedisServer) -> None:
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url], symmetric_encryption_keys=["a key"])
    layer.group_add("room", "plain", who="ada", info={"name": "Countess of Lovelace"})
    assert layer.group_presence("room") == {"ada": [{"name": "Countess of Lovelace"}]}
    assert "Countess" not in str(redis_server.command_list("HVALS", "asgi:{0}:identities:room:"))
    other = RedisChannelLayer(hosts=[redis_server.url], symmetric_encryption_keys=["another key"])
    assert other.group_presence("room") == {}
    layer.close()
    other.close()


# The data of the memory layer, on a clock of the test's own


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def presence(clock: Clock) -> Presence:
    presence = Presence(clock)
    presence.take(0, lambda inbox: True)
    return presence


def taken(presence: Presence) -> Iterator[tuple[bool, str]]:
    return ((notice.arrived, notice.identity.who) for notice in presence.take(100, lambda inbox: True))


def test_notices_come_in_the_order_of_what_happened(presence: Presence, clock: Clock) -> None:
    presence.appear("g", "i!", "a", ADA)
    clock.now += 1
    presence.disappear("g", "i!", ["a"])
    presence.appear("g", "i!", "b", BOB)
    assert list(taken(presence)) == [(True, "ada"), (True, "bob")]
    clock.now += LEAVE_GRACE - 0.1
    assert list(taken(presence)) == []
    clock.now += 0.2
    assert list(taken(presence)) == [(False, "ada")]


def test_notices_are_kept_while_workers_are_replaced_and_not_for_longer(presence: Presence, clock: Clock) -> None:
    clock.now += LISTENING - 1
    presence.appear("g", "i!", "a", ADA)
    assert list(taken(presence)) == [(True, "ada")]
    clock.now += LISTENING + 1
    presence.appear("g", "i!", "b", BOB)
    assert list(taken(presence)) == []


def test_notices_that_are_not_true_any_more_are_forgotten_also_while_nobody_takes_any(
    presence: Presence, clock: Clock
) -> None:
    presence.appear("g", "i!", "a", ADA)
    presence.appear("g", "i!", "b", BOB)
    assert list(taken(presence)) == [(True, "ada"), (True, "bob")]
    presence.disappear("g", "i!", ["a"])
    presence.appear("h", "i!", "b", BOB)
    clock.now += LISTENING + 1
    presence.appear("g", "i!", "c", ADA)
    presence.disappear("h", "i!", ["b"])
    assert list(taken(presence)) == []


def test_the_notices_that_wait_are_bounded(presence: Presence) -> None:
    for number in range(MOST_NOTICES + 1):
        presence.appear("g", "i!", str(number), Identity(str(number), b""))
    assert len(presence.take(2 * MOST_NOTICES, lambda inbox: True)) == MOST_NOTICES


def test_lapsed_memberships_end_presence(clock: Clock) -> None:
    """Those of clients of an interface server live for as long as it may be suspended."""
    layer = ChannelLayer(group_expiry=10)
    layer.store = Store(10, clock)
    inbox = live(layer)
    run(layer, JoinAs("room", inbox, {"a": ADA}))
    layer.group_add("room", "plain", who="bob")
    assert set(layer.group_presence("room")) == {"ada", "bob"}
    clock.now += LIVENESS + 11
    run(layer, Heartbeat(inbox))
    assert set(layer.group_presence("room")) == {"ada"}
    clock.now += owned_expiry(10)
    run(layer, Heartbeat(inbox))
    assert layer.group_presence("room") == {}


# The worker


def test_a_worker_announces_where_a_route_listens(layer: BaseChannelLayer) -> None:
    def announced(message: Any) -> None:
        Group("seen", channel_layer=message.channel_layer).send(
            {"channel": message.channel.name, **{key: message[key] for key in ("group", "who", "info")}}
        )

    routing = [
        route("group.join", announced, group=r"^room-(?:\d+)$"),
        route("group.leave", announced, group=r"^room-"),
    ]
    layer.group_add("seen", "results")
    worker = make_worker(layer, routing)
    with running(worker):
        eventually(lambda: worker._runtime is not None)
        run(layer, TakeNotices(0))  # now, and not when the thread has begun
        inbox = live(layer)
        run(layer, JoinAs("hall", inbox, {"b": BOB}))
        run(layer, JoinAs("room-x", inbox, {"b": BOB}))
        run(layer, JoinAs("room-1", inbox, {"a": ADA}))
        (found,) = drain(layer, "results", 1)
        assert found == {"channel": "group.join", "group": "room-1", "who": "ada", "info": {"name": "Ada"}}
        run(layer, Retire(inbox))
        left = {
            (message["channel"], message["group"], message["who"])
            for message in drain(layer, "results", 2, GRACE_OF_DEAD + 5)
        }
        assert left == {("group.leave", "room-1", "ada"), ("group.leave", "room-x", "bob")}
    assert layer.receive(["results"]) == (None, None)


def test_a_worker_without_such_routes_takes_no_notices(redis_server: RedisServer) -> None:
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url])
    layer.send("test", {})
    with running(make_worker(layer, {"test": lambda message: layer.send("done", {})})):
        drain(layer, "done", 1)
        assert redis_server.command("EXISTS", "asgi:{0}:listening") == ":0"
    layer.close()
