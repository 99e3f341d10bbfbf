"""Random operations of two processes on a layer and on a plain model of it: whatever one sees, the other expects."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from channels_classic.exceptions import ChannelFull
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind, decode
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.losses import counted_name
from channels_classic.layers.names import inbox_of, new_inbox, random_text
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import Roster, Taken
from channels_classic.layers.steps import Heartbeat, Leave, Length, Members, PutBack, Renew, Restore, Retire, Take

EXAMPLES = 400 if os.environ.get("FAULTS") == "long" else 25
STEPS = 40

CAPACITY = 3
BRIEF = 0.01
"""Seconds for which a message lives that is to expire."""

PLAIN = ["chat", "news?x"]
CLIENTS = ["box!a", "box!b"]
GROUPS = ["g", "h"]
OWNED = ["1", "2"]
"""Clients of the interface server."""

pytestmark = pytest.mark.timeout(300)

Layers = Callable[[], list[BaseChannelLayer]]


@dataclass
class Message:
    """A message that waits. What one send to a group put into one list has the same number, and no order in itself."""

    number: int
    quota_key: str
    content: tuple[Any, ...]
    expired: bool = False


@dataclass
class Model:
    """The content that a layer should have."""

    lists: dict[str, list[Message]] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=lambda: {group: set() for group in GROUPS})
    versions: dict[str, int] = field(default_factory=dict)
    found_dead: set[str] = field(default_factory=set)
    left: dict[str, set[str]] = field(default_factory=lambda: {group: set() for group in GROUPS})
    noted: dict[str, set[str]] = field(default_factory=lambda: {group: set() for group in GROUPS})
    """Discarded from a group where their owner had nobody: Redis, whose keys may be lost, does not restore them."""
    alive: bool = False
    restored: bool = False
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)

    def of(self, queue: str) -> list[Message]:
        return self.lists.setdefault(queue, [])

    def put(self, queue: str, message: Message, capacity: int = CAPACITY) -> bool:
        """Append unless the account is full; then what expired at the head goes first."""
        held = self.of(queue)
        if self._full(held, message, capacity):
            while held and held[0].expired:
                del held[0]
        accepted = not self._full(held, message, capacity)
        self.counts["messages" if accepted else "full", counted_name(queue)] += 1
        if accepted:
            held.append(message)
        return accepted

    @staticmethod
    def _full(held: list[Message], message: Message, capacity: int) -> bool:
        return sum(other.quota_key == message.quota_key for other in held) >= capacity


class LayerMachine(RuleBasedStateMachine):
    """Two processes, one that sends what expires at once, and the owner of an inbox."""

    def __init__(self, make: Layers) -> None:
        super().__init__()
        *self.layers, self.brief = make()
        self.owner = self.layers[0]
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.inbox = new_inbox()
        self.number = 0
        self.begun = time.monotonic()
        self.taken: tuple[Taken, list[Message]] | None = None

    def teardown(self) -> None:
        for layer in (*self.layers, self.brief):
            self.loop.run_until_complete(layer.close_async())
            layer.close()
        self.loop.close()

    layer = st.sampled_from([0, 1])
    face = st.booleans()
    groups = st.sampled_from(GROUPS)
    members = st.sampled_from([*PLAIN, *CLIENTS, *OWNED])
    channels = members

    def call(self, layer: int, face: bool, method: str, *arguments: Any) -> Any:
        """Call a method of a process's layer, through one of its two faces."""
        if face:
            return self.loop.run_until_complete(getattr(self.layers[layer], f"{method}_async")(*arguments))
        return getattr(self.layers[layer], method)(*arguments)

    def name(self, channel: str) -> str:
        return f"{self.inbox}{channel}" if channel in OWNED else channel

    def message(self, channel: str, expired: bool = False) -> tuple[str, Message]:
        """The list a channel is in, and the next message for it."""
        self.number += 1
        return self.entry(self.name(channel), self.number, expired)

    def entry(self, name: str, number: int, expired: bool = False) -> tuple[str, Message]:
        local = name[len(inbox_of(name)) :]
        return inbox_of(name), Message(number, local, (EntryKind.MESSAGE, {"number": number}, local), expired)

    def hint(self, kind: EntryKind, *fields: str | int) -> None:
        self.number += 1
        self.model.of(self.inbox).append(Message(self.number, "", (kind, *fields)))

    # Messages

    @rule(layer=layer, face=face, channel=channels)
    def send(self, layer: int, face: bool, channel: str) -> None:
        queue, message = self.message(channel)
        if self.model.put(queue, message):
            self.call(layer, face, "send", self.name(channel), {"number": message.number})
        else:
            with pytest.raises(ChannelFull):
                self.call(layer, face, "send", self.name(channel), {"number": message.number})

    @rule(channel=channels)
    def send_what_expires(self, channel: str) -> None:
        queue, message = self.message(channel, expired=True)
        if self.model.put(queue, message):
            self.brief.send(self.name(channel), {"number": message.number})
            time.sleep(BRIEF * 1.2)
        else:
            with pytest.raises(ChannelFull):
                self.brief.send(self.name(channel), {"number": message.number})

    @rule(layer=layer, channels=st.lists(st.sampled_from([*PLAIN, "box!"]), unique=True, max_size=3))
    def receive(self, layer: int, channels: list[str]) -> None:
        channel, message = self.layers[layer].receive(channels)
        if channel is None or message is None:
            # Nothing, or what had expired in the list that it looked at first.
            assert self.drop_expired(channels) or not any(map(self.model.of, channels))
        else:
            queue = inbox_of(channel)
            before = len(self.model.of(queue))
            self.popped(queue, self.entry(channel, message["number"])[1].content)
            self.model.losses["expired"] += before - len(self.model.of(queue)) - 1

    def drop_expired(self, queues: list[str]) -> int:
        """Remove from the heads of lists what the layer has removed: as many as it is shorter; gives how many."""
        before = self.model.losses["expired"]
        for queue in queues:
            held = self.model.of(queue)
            (length,) = self.owner.run([Length(queue)])
            while len(held) > length:
                assert held.pop(0).expired
                self.model.losses["expired"] += 1
        return self.model.losses["expired"] - before

    @rule(layer=layer, queue=st.sampled_from([*PLAIN, "box!"]), count=st.integers(1, 4))
    def take(self, layer: int, queue: str, count: int) -> None:
        (taken,) = self.layers[layer].run([Take([queue], count)])
        if taken is None:
            assert all(message.expired for message in self.model.of(queue))
            self.model.of(queue).clear()  # they lived so briefly that their list went as a whole
            return
        assert len(taken.items) <= count
        assert {kind for kind, _ in taken.lost} <= {"expired"}
        messages = []
        for item in taken.items:
            kind, content, _, local = decode(item.payload)
            messages.append(self.popped(queue, (kind, content, local)))
        self.drop_expired_silently(queue)
        self.taken = (taken, messages) if messages else None

    def popped(self, queue: str, content: tuple[Any, ...]) -> Message:
        """Remove the message with this content, whose turn it is once those before it that expired are gone."""
        held = self.model.of(queue)
        while held[0].expired:
            del held[0]
        message = next(other for other in held if other.content == content and other.number == held[0].number)
        held.remove(message)
        return message

    def drop_expired_silently(self, queue: str) -> None:
        """Expired entries are counted when a `Taken` is opened, and here nothing opens it."""
        before = self.model.losses["expired"]
        self.drop_expired([queue])
        self.model.losses["expired"] = before

    @rule(layer=layer)
    def put_back(self, layer: int) -> None:
        if self.taken is None:
            return
        (taken, messages), self.taken = self.taken, None
        self.layers[layer].run([PutBack(taken.queue, taken.items)])
        self.model.of(taken.queue)[:0] = messages

    @rule(layer=layer, pattern=st.sampled_from(["news?", "other?"]))
    def new_channel(self, layer: int, pattern: str) -> None:
        name = self.layers[layer].new_channel(pattern)
        assert name.startswith(pattern)
        assert self.layers[layer].receive([name]) == (None, None)

    # Groups

    @rule(layer=layer, face=face, group=groups, member=members)
    def group_add(self, layer: int, face: bool, group: str, member: str) -> None:
        before = set(self.model.members[group])
        self.model.members[group].add(member)
        if member in OWNED:
            self.model.left[group].discard(member)
            self.model.noted[group].discard(member)
        self.change("group_add", EntryKind.JOINED, layer, face, group, member, before)

    @rule(layer=layer, face=face, group=groups, member=members)
    def group_discard(self, layer: int, face: bool, group: str, member: str) -> None:
        before = set(self.model.members[group])
        self.model.members[group].discard(member)
        if member in OWNED and not self.model.restored:
            self.model.left[group].add(member)
        elif not before & {*OWNED}:
            self.model.noted[group].add(member)
        self.change("group_discard", EntryKind.LEFT, layer, face, group, member, before)

    def change(
        self, method: str, kind: EntryKind, layer: int, face: bool, group: str, member: str, before: set[str]
    ) -> None:
        """Add or discard; its owner gets a hint when something changed."""
        self.call(layer, face, method, group, self.name(member))
        if member in OWNED and before != self.model.members[group]:
            previous = self.model.versions.get(group, 0) if before & {*OWNED} else 0
            self.hint(kind, group, member, previous)
            self.learn_version(group)

    def learn_version(self, group: str) -> None:
        """Note the version that the layer gave to the members of the owner, if there are any."""
        version = self.roster(group).version
        assert version == 0 or version > self.model.versions.get(group, 0)
        self.model.found_dead.discard(group)
        if version:
            self.model.versions[group] = version

    def roster(self, group: str) -> Roster:
        (roster,) = self.owner.run([Members(group, self.inbox)])
        assert isinstance(roster, Roster)
        assert (set(roster.members), roster.complete) == (self.model.members[group] & {*OWNED}, self.model.restored)
        return roster

    @rule(layer=layer, face=face, group=groups)
    def group_channels(self, layer: int, face: bool, group: str) -> None:
        owned = self.model.members[group] & {*OWNED}
        expected = {self.name(member) for member in self.model.members[group] - owned}
        if self.model.alive:
            expected |= {self.name(member) for member in owned}
        self.look_up(group)
        found = self.call(layer, face, "group_channels", group)
        assert (set(found), len(found)) == (expected, len(expected))
        assert self.call(layer, face, "group_count", group) == len(expected)

    def look_up(self, group: str) -> bool:
        """Note that a group is looked up. Return whether its owner is found dead for the first time."""
        owned = bool(self.model.members[group] & {*OWNED})
        first = owned and not self.model.alive and group not in self.model.found_dead
        (self.model.found_dead.add if owned and not self.model.alive else self.model.found_dead.discard)(group)
        return first

    @rule(layer=layer, face=face, group=groups)
    def send_group(self, layer: int, face: bool, group: str) -> None:
        self.number += 1
        number = self.number
        self.call(layer, face, "send_group", group, {"number": number})
        owned = self.model.members[group] & {*OWNED}
        for member in self.model.members[group] - owned:
            if not self.model.put(*self.entry(member, number)):
                self.model.losses["full"] += 1
        self.model.losses["dead"] += self.look_up(group)
        if owned and self.model.alive:
            content = (EntryKind.GROUP, group, self.model.versions[group], {"number": number})
            self.model.put(self.inbox, Message(number, f"@{group}", content), 1000)

    # The owner of the inbox

    @rule(restored=st.booleans())
    def beat(self, restored: bool) -> None:
        (epochs,) = self.owner.run([Heartbeat(self.inbox)])
        self.owner.run([Heartbeat(self.inbox, epochs if restored else ())])
        self.model.alive, self.model.restored = True, restored

    @rule()
    def retire(self) -> None:
        self.owner.run([Retire(self.inbox)])
        self.model.alive = False
        self.model.of(self.inbox).clear()

    @rule(group=groups, owned=st.sets(st.sampled_from(OWNED), min_size=1))
    def restore(self, group: str, owned: set[str]) -> None:
        owned -= self.model.noted[group]
        if not owned:
            return
        self.owner.run([Renew(group, self.inbox), Restore(group, self.inbox, sorted(owned))])
        if not self.model.restored:
            self.model.members[group] |= owned - self.model.left[group]
            if self.model.members[group] & {*OWNED}:
                self.learn_version(group)

    @rule(group=groups, owned=st.sets(st.sampled_from(OWNED), min_size=1))
    def clients_are_gone(self, group: str, owned: set[str]) -> None:
        self.owner.run([Leave(group, self.inbox, sorted(owned), gone=True)])
        self.model.members[group] -= owned
        self.roster(group)

    @rule(count=st.integers(1, 5))
    def read_inbox(self, count: int) -> None:
        (taken,) = self.owner.run([Take([self.inbox], count)])
        for item in taken.items if taken else ():
            kind, *fields = decode(item.payload)
            if kind == EntryKind.MESSAGE:
                fields = [fields[0], fields[2]]
            elif kind in (EntryKind.JOINED, EntryKind.LEFT):
                assert fields[2] < fields.pop()
            self.popped(self.inbox, (kind, *fields))
        self.drop_expired_silently(self.inbox)

    # All of it

    @rule(layer=layer)
    def flush(self, layer: int) -> None:
        self.layers[layer].flush()
        self.taken = None
        self.model.lists.clear()
        self.model.counts.clear()
        self.model.found_dead.clear()
        for group in GROUPS:
            self.model.members[group].clear()
            self.model.left[group].clear()
            self.model.noted[group].clear()
        if self.model.alive:
            self.hint(EntryKind.FORGET)

    @rule(layer=layer, face=face, channel=channels)
    def statistics(self, layer: int, face: bool, channel: str) -> None:
        queue = inbox_of(self.name(channel))
        found = self.call(layer, face, "channel_statistics", self.name(channel))
        self.drop_expired_silently(queue)
        assert found["messages_pending"] == len(self.model.of(queue))
        assert found["messages_count"] == self.model.counts["messages", counted_name(queue)]
        assert found["channel_full_count"] == self.model.counts["full", counted_name(queue)]
        found = self.call(layer, face, "global_statistics")
        for kind, name in {"messages": "messages_count", "full": "channel_full_count"}.items():
            assert found[name] == sum(number for (known, _), number in self.model.counts.items() if known == kind)

    @invariant()
    def losses_are_counted(self) -> None:
        counted: Counter[str] = sum((Counter(layer.losses.as_dict()) for layer in self.layers), Counter())
        if time.monotonic() - self.begun > 1:
            counted["expired"] = self.model.losses["expired"]  # a list in which all expired may go as a whole by now
        assert counted == self.model.losses


def run(make: Layers) -> None:
    class Machine(LayerMachine):
        def __init__(self) -> None:
            super().__init__(make)

    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )


def test_memory_does_what_the_model_does() -> None:
    def make() -> list[BaseChannelLayer]:
        layers = [ChannelLayer(capacity=CAPACITY) for _ in range(2)] + [ChannelLayer(BRIEF, capacity=CAPACITY)]
        for layer in layers:
            layer.store = layers[0].store
        return [*layers]

    run(make)


def test_redis_does_what_the_model_does(redis_url: str) -> None:
    def make() -> list[BaseChannelLayer]:
        own: dict[str, Any] = {"hosts": [redis_url], "prefix": f"{random_text(8)}:", "capacity": CAPACITY}
        own["stats_prefix"] = f"stats{own['prefix']}"
        return [RedisChannelLayer(**own), RedisChannelLayer(**own), RedisChannelLayer(BRIEF, **own)]

    run(make)
