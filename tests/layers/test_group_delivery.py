"""Tests of who gets a message for a group, against a model, while hints are lost, late, doubled, refused, disordered.

The layer, the registry and the reader of the interface server are the real ones; what is between the inbox and the
reader is the test's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from channels_classic.interface_server.layer.audit import GroupAudit
from channels_classic.interface_server.layer.client import Broadcast
from channels_classic.interface_server.layer.posts import Posts
from channels_classic.interface_server.layer.reader import Reader
from channels_classic.interface_server.layer.recovery import Recovery
from channels_classic.interface_server.layer.registry import Registry
from channels_classic.interface_server.layer.stats import InterfaceStats
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind, decode
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.names import new_inbox, random_text
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import Item, Taken
from channels_classic.layers.steps import Heartbeat, Join, Leave, Step, Take
from channels_classic.layers.store import Store
from tests.support.redis_server import RedisServer

EXAMPLES = 1000 if os.environ.get("FAULTS") == "long" else 40
STEPS = 40
GROUPS = ["g", "h"]
HINTS = (EntryKind.JOINED, EntryKind.LEFT)

pytestmark = pytest.mark.timeout(600)


class Client:
    """A client that notes the numbers of the messages it got."""

    slot: int | None = None

    def __init__(self, local: str) -> None:
        self.local = local
        self.got: list[int] = []

    def broadcast(self, broadcast: Broadcast) -> None:
        self.got.append(broadcast.message["number"])


@dataclass
class Sent:
    """A message on its way: who must get it, and who may, since they joined or left meanwhile."""

    must: set[str]
    may: set[str] = field(default_factory=set)


class Direct:
    """The connection of the reader."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self._layer = layer

    async def run(self, steps: Sequence[Step], wait: bool = True) -> list[Any]:
        return self._layer.run(steps)


Lose = Callable[[BaseChannelLayer, str], None]
"""Deletes the key of a layer that ends like this."""


class GroupMachine(RuleBasedStateMachine):
    """A sender, an owner with up to four clients at a time, and an adversary between them."""

    def __init__(
        self, make: Callable[[], BaseChannelLayer], wipe: Callable[[BaseChannelLayer], None], lose: Lose | None
    ) -> None:
        super().__init__()
        self.layer = make()
        self.wipe = wipe
        self.lose = lose
        self.evicted: set[str] = set()
        self.loop = asyncio.new_event_loop()
        self.inbox = new_inbox()
        self.posted: list[Step] = []
        self.registry = Registry(self.inbox, 0.0, self.loop.time, self.posted.append)
        connection: Any = Direct(self.layer)  # it has all that a reader needs
        self.answers: list[Outgoing] = []
        recovery = Recovery(self.registry, connection.run, self.layer.losses)
        posts = Posts(self.inbox, connection.run, self.posted.append, lambda: True)
        self.reader = Reader(connection, self.registry, recovery, self.layer.losses, self.answers.append, posts)
        self.audit = GroupAudit(self.registry, recovery, InterfaceStats(), self.ask, self.caught_up)
        self.pending: list[Item] = []
        self.restored: Sequence[int | None] = ()
        self.whole = True
        self.clients: dict[str, Client] = {}
        self.members: dict[str, set[str]] = {group: set() for group in GROUPS}
        self.sent: dict[int, tuple[str, Sent]] = {}
        self.number = 0
        for _ in range(3):
            self.connect()
        self.beat(99)

    def teardown(self) -> None:
        self.settle()
        self.layer.close()
        self.loop.close()

    async def ask(self, step: Step) -> object:
        return self.layer.run([step])[0]

    async def caught_up(self) -> None:
        self.take()
        items, self.pending = self.pending, []
        for item in items:
            await self.dispatch(item)

    groups = st.sampled_from(GROUPS)
    index = st.integers(0, 7)

    # Clients and what consumers do for them

    def pick(self, index: int) -> str:
        return sorted(self.clients)[index % len(self.clients)]

    @precondition(lambda self: len(self.clients) < 4)
    @rule()
    def connect(self) -> None:
        self.number += 1
        client = self.clients[f"c{self.number:04}"] = Client(f"c{self.number:04}")
        self.registry.add(client)  # type: ignore[arg-type]  # all that is needed

    @precondition(lambda self: len(self.clients) > 1)
    @rule(index=index)
    def disconnect(self, index: int) -> None:
        client = self.clients.pop(self.pick(index))
        self.loop.run_until_complete(self._remove(client))
        for members in self.members.values():
            members.discard(client.local)
        for _, sent in self.sent.values():
            sent.must.discard(client.local)

    async def _remove(self, client: Client) -> None:
        self.registry.remove(client)  # type: ignore[arg-type]

    @rule(group=groups, index=index, refused=st.booleans())
    def add(self, group: str, index: int, refused: bool) -> None:
        local = self.pick(index)
        if refused:  # the hint is
            self.layer.run([Join(group, self.inbox, [local])])
        else:
            self.layer.group_add(group, self.inbox + local)
        self.members[group].add(local)
        self.changed(group, local)

    @rule(group=groups, index=index, refused=st.booleans())
    def discard(self, group: str, index: int, refused: bool) -> None:
        local = self.pick(index)
        if refused:
            self.layer.run([Leave(group, self.inbox, [local])])
        else:
            self.layer.group_discard(group, self.inbox + local)
        self.members[group].discard(local)
        self.changed(group, local)

    def changed(self, group: str, local: str) -> None:
        for name, sent in self.sent.values():
            if name == group:
                sent.must.discard(local)
                sent.may.add(local)

    @rule(group=groups)
    def send(self, group: str) -> None:
        self.number += 1
        members = set(self.members[group])
        certain = self.whole and group not in self.evicted
        self.sent[self.number] = (group, Sent(members) if certain else Sent(set(), members))
        self.layer.send_group(group, {"number": self.number})

    # What lies between

    def take(self) -> None:
        (taken,) = self.layer.run([Take([self.inbox], 1000)])
        self.pending += taken.items if taken else []

    def hint_at(self, index: int) -> int | None:
        self.take()
        hints = [place for place, item in enumerate(self.pending) if decode(item.payload)[0] in HINTS]
        return hints[index % len(hints)] if hints else None

    @rule(index=index)
    def lose_hint(self, index: int) -> None:
        if (place := self.hint_at(index)) is not None:
            del self.pending[place]

    @rule(index=index, to=st.integers(0, 9))
    def move_hint(self, index: int, to: int) -> None:
        if (place := self.hint_at(index)) is not None:
            self.pending.insert(to, self.pending.pop(place))

    @rule(index=index, to=st.integers(0, 9))
    def double_hint(self, index: int, to: int) -> None:
        if (place := self.hint_at(index)) is not None:
            self.pending.insert(to, self.pending[place])

    @rule()
    def post(self) -> None:
        """The words of the owner reach the layer."""
        self.loop.run_until_complete(asyncio.sleep(0))
        posted = list(self.posted)
        self.posted.clear()
        self.layer.run(posted)

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        self.take()
        items, self.pending = self.pending[:count], self.pending[count:]
        for item in items:
            self.loop.run_until_complete(self.dispatch(item))

    async def dispatch(self, item: Item) -> None:
        await self.reader._dispatch(Taken(self.inbox, [item]))
        kind, *fields = decode(item.payload)
        if kind == EntryKind.GROUP:
            self.check(fields[2]["number"])

    def check(self, number: int) -> None:
        _, sent = self.sent.pop(number)
        got = {local for local, client in self.clients.items() if number in client.got}
        assert sent.must <= got, "an add that returned before"
        assert got <= sent.must | sent.may, "a discard that returned before"
        assert all(len(client.got) == len(set(client.got)) for client in self.clients.values()), "twice"

    # The owner

    @rule(breaks=st.sampled_from([0, 1, 99, 99]))
    def beat(self, breaks: int) -> None:
        """A heartbeat; a restoration may break after this many steps."""
        (epochs,) = self.layer.run([Heartbeat(self.inbox, self.restored)])
        if epochs != self.restored:
            self.deliver(1000)
            steps = list(self.registry.restore_all())
            self.layer.run(steps[:breaks])
            if breaks < len(steps):
                return
            self.restored = epochs
            self.layer.run([Heartbeat(self.inbox, epochs)])
        self.whole = True

    @rule()
    def renew(self) -> None:
        self.registry.renew()
        self.post()

    @rule(certain=st.booleans())
    def lose_all_data(self, certain: bool) -> None:
        """The owner knows its groups: what only the layer knew is lost with it."""
        self.deliver(1000)
        for group in GROUPS:
            if self.whole:
                assert self.loop.run_until_complete(self.reader._ask(group))
        if self.whole:
            self.wipe(self.layer)
            self.whole = False
            self.sent.clear()

    @rule(group=groups, key=st.sampled_from(["group:{group}", "members:{group}:{inbox}"]))
    def lose_one_key(self, group: str, key: str) -> None:
        """The owner knows its groups; a message may miss them until it has looked at each once more."""
        self.deliver(1000)
        if self.whole and self.lose is not None:
            assert self.loop.run_until_complete(self.reader._ask(group))
            self.lose(self.layer, key.format(group=group, inbox=self.inbox))
            self.evicted.add(group)

    @rule()
    def look(self) -> None:
        """The owner audits its groups."""
        if self.whole:
            self.loop.run_until_complete(self.audit.look())
            self.evicted.clear()

    @precondition(lambda self: self.whole)
    @rule()
    def settle(self) -> None:
        """In the end each group has the members that it should."""
        self.beat(99)
        self.look()
        self.deliver(1000)
        self.post()
        for group in GROUPS:
            self.send(group)
            self.deliver(1000)
        self.post()
        for group, members in self.members.items():
            assert {*self.layer.group_channels(group)} == {self.inbox + local for local in members}
        assert self.layer.losses.as_dict().keys() <= {"dead"}


def run(
    make: Callable[[], BaseChannelLayer], wipe: Callable[[BaseChannelLayer], None], lose: Lose | None = None
) -> None:
    class Machine(GroupMachine):
        def __init__(self) -> None:
            super().__init__(make, wipe, lose)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_members_in_memory_get_each_message_once() -> None:
    def wipe(layer: BaseChannelLayer) -> None:
        assert isinstance(layer, ChannelLayer)
        Store.__init__(layer.store, layer.group_expiry)

    run(ChannelLayer, wipe)


def test_members_in_redis_get_each_message_once(redis_url: str, redis_server: RedisServer) -> None:
    run(
        lambda: RedisChannelLayer(hosts=[redis_url], prefix=f"{random_text(8)}:"),
        lambda layer: redis_server.flush(),
        lambda layer, key: delete([redis_server], layer, key),
    )


def delete(servers: Sequence[RedisServer], layer: BaseChannelLayer, key: str) -> None:
    assert isinstance(layer, RedisChannelLayer)
    for server in servers:
        for found in server.command_list("KEYS", f"{layer.prefix}*:{key}"):
            server.command("DEL", found)


def test_members_on_shards_get_each_message_once(redis_servers: list[RedisServer]) -> None:
    def wipe(layer: BaseChannelLayer) -> None:
        for server in redis_servers:
            server.flush()

    hosts = [server.url for server in redis_servers]
    run(
        lambda: RedisChannelLayer(hosts=hosts, prefix=f"{random_text(8)}:"),
        wipe,
        lambda layer, key: delete(redis_servers, layer, key),
    )
