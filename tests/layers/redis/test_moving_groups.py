"""Groups while their slot of a cluster is on its way: what is refused was not carried out, and is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind, decode
from channels_classic.layers.redis import RedisClusterChannelLayer
from channels_classic.layers.redis.cluster import tags
from channels_classic.layers.results import Identity, MembershipChange
from channels_classic.layers.steps import Heartbeat, JoinAs, Leave, Members, SetStart, Take, TakeNotices
from tests.layers.redis.test_epochs import SECONDS, SLOT, cluster, move, on_cluster
from tests.support.redis_server import Cluster, RedisServer
from tests.support.waiting import scaled

__all__ = ["cluster", "move"]

INBOXES = ["interface.v2.a!", "interface.v2.b!"]
START = f"asgi:{{{tags(1)[0]}}}:"


@pytest.fixture
def layer(cluster: Cluster, move: tuple[RedisServer, RedisServer]) -> Iterator[RedisClusterChannelLayer]:
    layer = on_cluster(cluster)
    yield layer
    layer.close()


def begin_alive(layer: BaseChannelLayer, inbox: str) -> None:
    """Let an interface server confirm that all of its memberships are written."""
    (epochs,) = layer.run([Heartbeat(inbox)])
    layer.run([Heartbeat(inbox, epochs)])


@pytest.fixture
def end_soon(cluster: Cluster, move: tuple[RedisServer, RedisServer]) -> Iterator[Callable[[], None]]:
    """Ends the move after a while."""
    timer = threading.Timer(SECONDS, cluster.end_move, (SLOT, *move))
    yield timer.start
    timer.join(scaled(10))


def test_a_membership_ends_as_a_whole_or_not_at_all(
    layer: RedisClusterChannelLayer,
    cluster: Cluster,
    move: tuple[RedisServer, RedisServer],
    end_soon: Callable[[], None],
) -> None:
    """Otherwise it would change nothing when it is repeated, and the interface server would not hear of it."""
    inbox = INBOXES[0]
    begin_alive(layer, inbox)
    people = {member: Identity(who, b"") for member, who in [("c1", "ada"), ("c2", "bob"), ("c3", "eve")]}
    layer.run([TakeNotices(5), JoinAs("g", inbox, people), Leave("g", inbox, ["c3"])])  # a notice waits
    cluster.begin_move(SLOT, *move)
    end_soon()
    (change,) = layer.run([Leave("g", inbox, ["c1"])])
    assert isinstance(change, MembershipChange)
    assert change.version > change.previous
    assert list(layer.run([Members("g", inbox)])[0].members) == ["c2"]


def payloads(layer: BaseChannelLayer, inbox: str) -> list[Any]:
    (taken,) = layer.run([Take([inbox], 100)])
    return [decode(item.payload)[0] for item in taken.items] if taken else []


@pytest.mark.parametrize("keep", [0, 10])
@pytest.mark.parametrize("gone", ["alive", ""], ids=["liveness gone", "no quotas"])
def test_a_message_for_a_group_reaches_each_inbox_once(
    layer: RedisClusterChannelLayer,
    cluster: Cluster,
    move: tuple[RedisServer, RedisServer],
    end_soon: Callable[[], None],
    keep: int,
    gone: str,
) -> None:
    source, target = move
    for inbox in INBOXES:
        begin_alive(layer, inbox)
        layer.group_add("g", f"{inbox}client")
        layer.send(f"{inbox}client", {"n": 0})
    layer.group_add("g", "plain")
    layer.send_group("g", {"n": 1}, keep=keep)
    source.command("HSET", f"{START}quotas:{INBOXES[0]}", "#bytes", "100")
    cluster.begin_move(SLOT, *move)
    if gone:
        source.command("MIGRATE", "127.0.0.1", str(target.port), f"{START}{gone}:{INBOXES[1]}", "0", "5000")
    end_soon()
    layer.send_group("g", {"n": 2}, keep=keep)
    for inbox in INBOXES:
        assert payloads(layer, inbox).count(EntryKind.GROUP) == 2
    assert [layer.receive(["plain"])[1] for _ in range(3)] == [{"n": 1}, {"n": 2}, None]
    assert layer.losses.as_dict() == {}


def test_the_members_of_a_group_are_found_when_it_has_arrived(
    layer: RedisClusterChannelLayer,
    cluster: Cluster,
    move: tuple[RedisServer, RedisServer],
    end_soon: Callable[[], None],
) -> None:
    source, target = move
    begin_alive(layer, INBOXES[0])
    layer.group_add("g", f"{INBOXES[0]}client")
    layer.group_add("g", "plain")
    cluster.begin_move(SLOT, *move)
    source.command("MIGRATE", "127.0.0.1", str(target.port), f"{START}alive:{INBOXES[0]}", "0", "5000")
    end_soon()
    assert set(layer.group_channels("g")) == {f"{INBOXES[0]}client", "plain"}


@pytest.mark.parametrize("leaves", [True, False], ids=["leave", "join"])
def test_a_membership_waits_for_the_people_of_other_interface_servers(
    layer: RedisClusterChannelLayer,
    cluster: Cluster,
    move: tuple[RedisServer, RedisServer],
    end_soon: Callable[[], None],
    leaves: bool,
) -> None:
    """They are looked through to find out whether somebody has left, or has come."""
    source, target = move
    ada, other = {"c1": Identity("ada", b"")}, {"other": Identity("bob", b"")}
    for inbox in INBOXES:
        begin_alive(layer, inbox)
    layer.run([TakeNotices(5), SetStart("g", INBOXES[0], "c0", 1, 1, False)])
    layer.run([JoinAs("g", INBOXES[0], {"c0": Identity("eve", b""), **(ada if leaves else {})})])
    layer.run([JoinAs("g", INBOXES[1], other), JoinAs("g", INBOXES[1], {"c9": Identity("zoe", b"")})])
    layer.run([Leave("g", INBOXES[1], ["c9"])])  # a notice waits
    cluster.begin_move(SLOT, *move)
    source.command("MIGRATE", "127.0.0.1", str(target.port), f"{START}people:g:{INBOXES[1]}", "0", "5000")
    end_soon()
    (change,) = layer.run([Leave("g", INBOXES[0], ["c1"]) if leaves else JoinAs("g", INBOXES[0], ada)])
    assert isinstance(change, MembershipChange)
    assert 0 < change.previous < change.version
    assert set(layer.run([Members("g", INBOXES[0])])[0].members) == ({"c0"} if leaves else {"c0", "c1"})
