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
from channels_classic.layers.steps import (
    Audit,
    GetPresence,
    Heartbeat,
    JoinAs,
    Leave,
    Members,
    RestoreIdentities,
    SetStart,
    Take,
    TakeNotices,
)
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
    notice = f"{'-' if leaves else '+'}g\0ada"
    scores = [node.command("ZSCORE", f"{START}notices", notice) for node in move]
    assert any(score.startswith("$") and score != "$-1" for score in scores), scores


def test_a_new_identity_is_told_to_the_owner_also_if_it_had_to_wait(
    layer: RedisClusterChannelLayer,
    cluster: Cluster,
    move: tuple[RedisServer, RedisServer],
    end_soon: Callable[[], None],
) -> None:
    source, target = move
    begin_alive(layer, INBOXES[0])
    layer.run([SetStart("g", INBOXES[0], "c1", 1, 1, False), JoinAs("g", INBOXES[0], {"c1": Identity("ada", b"")})])
    layer.run([TakeNotices(5), JoinAs("g", INBOXES[0], {"c2": Identity("bob", b"")})])  # a notice waits
    layer.run([JoinAs("g", "", {"plain": Identity("zoe", b"")})])  # so that people of channels are there as well
    cluster.begin_move(SLOT, *move)
    source.command("MIGRATE", "127.0.0.1", str(target.port), f"{START}presence_inboxes", "0", "5000")
    end_soon()
    (change,) = layer.run([JoinAs("g", INBOXES[0], {"c1": Identity("eve", b"")})])
    assert change.version > change.previous


def test_presence_waits_for_what_is_on_its_way(
    layer: RedisClusterChannelLayer,
    cluster: Cluster,
    move: tuple[RedisServer, RedisServer],
    end_soon: Callable[[], None],
) -> None:
    source, target = move
    ada = {"c1": Identity("ada", b"")}
    for inbox in INBOXES:
        begin_alive(layer, inbox)
        layer.run([TakeNotices(5), JoinAs("g", inbox, ada)])
    layer.run([JoinAs("g", INBOXES[0], {"c2": Identity("bob", b"")}), TakeNotices(5)])
    source.command("HDEL", f"{START}identities:g:{INBOXES[0]}", "c1")
    cluster.begin_move(SLOT, *move)
    for key in (f"alive:{INBOXES[1]}", f"people:g:{INBOXES[1]}", "presence_inboxes"):
        source.command("MIGRATE", "127.0.0.1", str(target.port), f"{START}{key}", "0", "5000")
    end_soon()
    restored, audited, people = layer.run(
        [RestoreIdentities("g", INBOXES[0], ada, False), Audit("g", INBOXES[0]), GetPresence("g")]
    )
    assert (restored, audited.identities) == (None, 2)
    assert sorted(identity.who for identity in people) == ["ada", "ada", "bob"]


def test_somebody_who_left_while_the_slot_moves_is_told_of(
    layer: RedisClusterChannelLayer,
    cluster: Cluster,
    move: tuple[RedisServer, RedisServer],
    end_soon: Callable[[], None],
) -> None:
    """The groups of a dead interface server are taken one after another; one that cannot be cleared stays for later."""
    source, target = move
    for inbox in INBOXES:
        begin_alive(layer, inbox)
    rooms = [f"room-{number}" for number in range(5)]
    layer.run([TakeNotices(5), *(JoinAs(room, INBOXES[0], {"c1": Identity("ada", b"")}) for room in rooms)])
    layer.run([*(JoinAs(room, INBOXES[1], {"c2": Identity("bob", b"")}) for room in rooms)])
    assert len(layer.run([TakeNotices(50)])[0]) == 10
    layer.run([JoinAs("wait", INBOXES[1], {"c3": Identity("eve", b"")})])  # a notice waits
    source.command("DEL", f"{START}alive:{INBOXES[0]}")
    cluster.begin_move(SLOT, *move)
    source.command("MIGRATE", "127.0.0.1", str(target.port), f"{START}people:{rooms[0]}:{INBOXES[1]}", "0", "5000")
    end_soon()
    assert [notice.group for notice in layer.run([TakeNotices(50)])[0]] == ["wait"]
    shown = [source, target]
    waiting = next(text for node in shown if (text := node.command("ZCARD", f"{START}notices")).startswith(":"))
    assert waiting == ":5"
