"""The data of the memory and the local layer: lists, quotas and expiry."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from channels_classic.layers import store as store_module
from channels_classic.layers.results import Audience, MembershipChange, PushStatus, Taken
from channels_classic.layers.steps import (
    LIVENESS,
    Entry,
    Flush,
    Heartbeat,
    Join,
    Leave,
    Length,
    Lookup,
    Members,
    Push,
    PutBack,
    Renew,
    Restore,
    Retire,
    Take,
    owned_expiry,
)
from channels_classic.layers.store import Store, Watch
from tests.support.clock import Clock

GROUP_EXPIRY = 50.0
OWNED_EXPIRY = owned_expiry(GROUP_EXPIRY)
QUEUES = ["chat", "news", "a!", "b!"]
INBOXES = ["a!", "b!"]
GROUPS = ["g", "h"]
MEMBERS = ["1", "2", "3"]


@dataclass
class Model:
    """The content that a store should have, as lists to search from end to end."""

    entries: dict[str, list[tuple[bytes, float, str]]] = field(default_factory=lambda: {name: [] for name in QUEUES})
    channels: dict[tuple[str, str], float] = field(default_factory=dict)
    members: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    deadlines: dict[tuple[str, str], float] = field(default_factory=dict)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    left: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    last_version: int = 0
    restored: set[str] = field(default_factory=set)
    beats: dict[str, float] = field(default_factory=dict)

    def forget_lapsed(self, now: float) -> None:
        oldest = now - GROUP_EXPIRY
        self.channels = {key: joined for key, joined in self.channels.items() if joined > oldest}
        for key in [key for key, deadline in self.deadlines.items() if deadline <= now]:
            for kept in (self.members, self.left, self.deadlines):
                kept.pop(key, None)


class StoreMachine(RuleBasedStateMachine):
    """Random steps on a store and on the model, with a clock that jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = Store(GROUP_EXPIRY, self.clock)
        self.model = Model()
        self.number = 0
        self.taken: Taken | None = None

    queues = st.sampled_from(QUEUES)
    groups = st.sampled_from(GROUPS)
    inboxes = st.sampled_from(INBOXES)

    @rule(seconds=st.sampled_from([0.5, 0.5, 3.0, 12.0, 31.0, 60.0, OWNED_EXPIRY]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(
        queue=queues,
        entries=st.lists(
            st.tuples(
                st.sampled_from(["", "x", "y"]), st.sampled_from([None, 1, 2, 3]), st.sampled_from([1.0, 10.0, 100.0])
            ),
            min_size=1,
            max_size=4,
        ),
        alive=st.booleans(),
    )
    def push(self, queue: str, entries: list[tuple[str, int | None, float]], alive: bool) -> None:
        made = []
        for quota_key, limit, ttl in entries:
            self.number += 1
            made.append(Entry(b"%d" % self.number, ttl, quota_key, limit))
        statuses = self.store.run(Push(queue, made, alive))
        assert statuses == [self._expected(queue, entry, alive) for entry in made]

    def _expected(self, queue: str, entry: Entry, alive: bool) -> PushStatus:
        now = self.clock.now
        if alive and self.model.beats.get(queue, 0.0) <= now:
            return PushStatus.DEAD
        held = self.model.entries[queue]
        if entry.limit is not None and self._charged(queue, entry.quota_key) >= entry.limit:
            while held and held[0][1] <= now:
                del held[0]
            if self._charged(queue, entry.quota_key) >= entry.limit:
                return PushStatus.FULL
        held.append((entry.payload, now + entry.ttl, entry.quota_key))
        return PushStatus.ACCEPTED

    def _charged(self, queue: str, quota_key: str) -> int:
        self._sweep()
        return sum(quota_key == charged for _, _, charged in self.model.entries[queue])

    def _sweep(self) -> None:
        """Expired heads may go at any time; entries behind a live one stay until they are reached."""
        if self.store._swept == self.clock.now:
            for held in self.model.entries.values():
                while held and held[0][1] <= self.clock.now:
                    del held[0]

    @rule(queues=st.lists(queues, min_size=1, max_size=3, unique=True), count=st.integers(1, 4))
    def take(self, queues: list[str], count: int) -> None:
        taken = self.store.run(Take(queues, count))
        if taken is None:
            # Whatever the model still has may have been swept, but is expired.
            for queue in queues:
                assert all(deadline <= self.clock.now for _, deadline, _ in self.model.entries[queue])
                self.model.entries[queue].clear()
            return
        gone = [payload for kind, payload in taken.lost if kind == "expired"]
        got = [item.payload for item in taken.items]
        assert len(got) <= count
        for payload, deadline in self._popped(taken.queue, len(got) + len(gone), {*got, *gone}):
            assert (payload in gone) == (deadline <= self.clock.now)
        assert got == sorted(got, key=int)
        if got and not taken.lost:
            self.taken = taken

    def _popped(self, queue: str, number: int, payloads: set[bytes]) -> list[tuple[bytes, float]]:
        held = self.model.entries[queue]
        while held and held[0][0] not in payloads:
            assert held.pop(0)[1] <= self.clock.now
        popped = [(payload, deadline) for payload, deadline, _ in held[:number]]
        assert {payload for payload, _ in popped} == payloads
        del held[:number]
        return popped

    @precondition(lambda self: self.taken is not None)
    @rule()
    def put_back(self) -> None:
        taken, self.taken = self.taken, None
        assert taken is not None
        assert self.store.run(PutBack(taken.queue, taken.items)) is None
        self.model.entries[taken.queue][:0] = [(item.payload, *item.raw) for item in taken.items]

    @rule(queue=queues, count=st.integers(2, 4))
    def take_and_put_back(self, queue: str, count: int) -> None:
        self.taken = None
        self.take([queue], count)
        if self.taken is not None:
            taken = self.taken
            self.put_back()
            assert self.store.run(Take([queue], len(taken.items))) == taken
            self.store.run(PutBack(queue, taken.items))

    members = st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=2)

    def change(self, step: Join | Leave, previous: set[str]) -> None:
        """Run a step; its versions say what changed, and whether there was a member before."""
        key = (step.group, step.inbox)
        found: MembershipChange = self.store.run(step)
        assert found.previous == (self.model.versions[key] if previous else 0)
        changed = previous != self.model.members.get(key, set())
        if changed and not (isinstance(step, Leave) and step.gone):
            assert found.version > self.model.last_version
            self.model.last_version = self.model.versions[key] = found.version
        else:
            assert found.version == found.previous

    @rule(group=groups, inbox=inboxes, members=members)
    def join(self, group: str, inbox: str, members: list[str]) -> None:
        self.model.forget_lapsed(self.clock.now)
        key = (group, inbox)
        previous = set(self.model.members.get(key, ()))
        self.model.members[key] = previous | {*members}
        self.model.left.get(key, set()).difference_update(members)
        self.model.deadlines[key] = self.clock.now + OWNED_EXPIRY
        self.store.run(Lookup(group))  # what lapsed is gone, so that the model need not know when it goes
        self.change(Join(group, inbox, members), previous)

    @rule(group=groups, inbox=inboxes, members=members, gone=st.booleans())
    def leave(self, group: str, inbox: str, members: list[str], gone: bool) -> None:
        self.model.forget_lapsed(self.clock.now)
        key = (group, inbox)
        previous = set(self.model.members.get(key, ()))
        self.model.members[key] = previous - {*members}
        self._forget_silent_owners()
        if not gone and inbox not in self.model.restored:
            self.model.left.setdefault(key, set()).update(members)
            self.model.deadlines[key] = self.clock.now + OWNED_EXPIRY
        self.store.run(Lookup(group))
        self.change(Leave(group, inbox, members, gone), previous)

    @rule(group=groups, inbox=inboxes, members=members)
    def restore(self, group: str, inbox: str, members: list[str]) -> None:
        self.store.run(Lookup(group))
        self.model.forget_lapsed(self.clock.now)
        self._forget_silent_owners()
        assert self.store.run(Restore(group, inbox, members)) is None
        if inbox not in self.model.restored:
            key = (group, inbox)
            kept = {*members} - self.model.left.get(key, set())
            self.model.members[key] = self.model.members.get(key, set()) | kept
            self.model.deadlines[key] = self.clock.now + OWNED_EXPIRY
            self.model.last_version = self.store.run(Members(group, inbox)).version or self.model.last_version
            self.model.versions[key] = self.model.last_version

    def _forget_silent_owners(self) -> None:
        """Follow the store, which forgets owners once all memberships that they may have had are over."""
        self.model.restored &= self.store.memberships.owners.keys()

    @rule(group=groups, inbox=inboxes)
    def renew(self, group: str, inbox: str) -> None:
        self.store.run(Lookup(group))
        self.model.forget_lapsed(self.clock.now)
        assert self.store.run(Renew(group, inbox)) is None
        if (group, inbox) in self.model.deadlines:
            self.model.deadlines[group, inbox] = self.clock.now + OWNED_EXPIRY

    @rule(group=groups, channels=members, joins=st.booleans())
    def join_or_leave_channels(self, group: str, channels: list[str], joins: bool) -> None:
        self.model.forget_lapsed(self.clock.now)
        new = {*channels} - {channel for name, channel in self.model.channels if name == group}
        change = self.store.run((Join if joins else Leave)(group, "", channels))
        assert change == MembershipChange(0, len(new) if joins else 0)
        for channel in channels:
            if joins:
                self.model.channels[group, channel] = self.clock.now
            else:
                self.model.channels.pop((group, channel), None)

    @invariant()
    def members_agree(self) -> None:
        self.model.forget_lapsed(self.clock.now)
        for group in GROUPS:
            found: Audience = self.store.run(Lookup(group))
            assert {*found.channels} == {channel for name, channel in self.model.channels if name == group}
            listed = {inbox: names for (name, inbox), names in self.model.members.items() if name == group and names}
            assert {*found.inboxes} == {inbox for inbox in listed if self.model.beats.get(inbox, 0) > self.clock.now}
            for inbox in INBOXES:
                roster = self.store.run(Members(group, inbox))
                assert {*roster.members} == listed.get(inbox, set())
                assert roster.version == (self.model.versions[group, inbox] if inbox in listed else 0)

    @rule(inbox=inboxes, restored=st.booleans())
    def beat(self, inbox: str, restored: bool) -> None:
        (epoch,) = self.store.run(Heartbeat(inbox, [self.store.memberships.epoch] if restored else []))
        assert epoch == self.store.memberships.epoch
        self.model.beats[inbox] = self.clock.now + LIVENESS
        (self.model.restored.add if restored else self.model.restored.discard)(inbox)

    @rule(queue=queues)
    def retire(self, queue: str) -> None:
        assert self.store.run(Retire(queue)) is None
        self.model.beats.pop(queue, None)
        self.model.entries[queue].clear()

    @rule()
    def flush(self) -> None:
        alive = {queue for queue, deadline in self.model.beats.items() if deadline > self.clock.now}
        assert set(self.store.run(Flush())) == alive
        for held in self.model.entries.values():
            held.clear()
        for kept in (self.model.members, self.model.channels, self.model.left, self.model.deadlines):
            kept.clear()

    @invariant()
    def lengths_agree(self) -> None:
        for queue, held in self.model.entries.items():
            live = sum(deadline > self.clock.now for _, deadline, _ in held)
            assert live <= self.store.run(Length(queue)) <= len(held)

    @invariant()
    def the_books_are_kept(self) -> None:
        for kept in self.store._queues.values():
            assert kept.entries, "an empty list is forgotten"
            quotas = [stored.quota_key for stored in kept.entries]
            assert dict(kept.quotas) == {quota_key: quotas.count(quota_key) for quota_key in quotas}
            assert kept.size == sum(len(stored.payload) for stored in kept.entries)
        assert not self.store._watches


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(GROUP_EXPIRY, clock)


def entry(payload: bytes = b"x", **fields: Any) -> Entry:
    return Entry(payload, fields.pop("ttl", 60.0), **fields)


def test_who_waits_is_woken_by_an_entry_in_any_of_its_queues(store: Store) -> None:
    woken: list[str] = []
    watch = store.take_or_watch(Take(["one", "two"]), lambda: woken.append("reader"))
    assert isinstance(watch, Watch)
    store.run(Push("other", [entry()]))
    assert woken == []
    store.run(Push("two", [entry(), entry()]))
    assert woken == ["reader"]
    store.unwatch(watch)


def test_each_entry_wakes_one_who_waits_the_longest_waiting_first(store: Store) -> None:
    woken: list[int] = []
    for number in range(4):
        store.take_or_watch(Take(["chat"]), lambda number=number: woken.append(number))  # type: ignore[misc]
    store.run(Push("chat", [entry(), entry()]))
    assert woken == [0, 1]
    store.run(Push("chat", [entry()]))
    assert woken == [0, 1, 2]


def test_who_was_woken_and_goes_away_passes_it_on(store: Store) -> None:
    woken: list[int] = []
    watches = [
        store.take_or_watch(Take(["chat"]), lambda number=number: woken.append(number))  # type: ignore[misc]
        for number in range(2)
    ]
    store.run(Push("chat", [entry()]))
    assert isinstance(watches[0], Watch)
    store.unwatch(watches[0])
    assert woken == [0, 1]


def test_an_entry_that_is_put_back_wakes_who_waits(store: Store) -> None:
    store.run(Push("chat", [entry()]))
    taken = store.run(Take(["chat"]))
    woken = threading.Event()
    store.take_or_watch(Take(["chat"]), woken.set)
    store.run(PutBack("chat", taken.items))
    assert woken.is_set()


def test_an_entry_that_is_put_back_is_as_old_as_it_was(store: Store, clock: Clock) -> None:
    store.run(Push("chat", [entry(ttl=10.0)]))
    clock.now += 6
    store.run(PutBack("chat", store.run(Take(["chat"])).items))
    clock.now += 6
    assert store.run(Take(["chat"])) == Taken("chat", [], [("expired", b"x")])


def test_an_expired_entry_behind_a_live_one_is_not_given(store: Store, clock: Clock) -> None:
    store.run(Push("inbox!", [entry(b"hint", ttl=100.0), entry(b"old", ttl=1.0), entry(b"new", ttl=60.0)]))
    clock.now += 2
    taken = store.run(Take(["inbox!"], 10))
    assert [item.payload for item in taken.items] == [b"hint", b"new"]
    assert taken.lost == [("expired", b"old")]


def test_a_take_is_bounded_in_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "TAKE_BYTES", 100)
    store.run(Push("chat", [entry(b"x" * 40) for _ in range(5)]))
    assert [len(store.run(Take(["chat"], 10)).items) for _ in range(2)] == [3, 2]


def test_an_inbox_is_bounded_in_entries_whoever_sends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "INBOX_ENTRIES", 3)
    entries = [entry(quota_key=str(number), limit=100) for number in range(4)]
    assert store.run(Push("inbox!", entries)) == [PushStatus.ACCEPTED] * 3 + [PushStatus.FULL]
    assert store.run(Push("plain", entries)) == [PushStatus.ACCEPTED] * 4


def test_a_queue_is_bounded_in_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "QUEUE_BYTES", 100)
    entries = [entry(b"x" * 40, quota_key=str(number), limit=100) for number in range(3)]
    assert store.run(Push("inbox!", entries)) == [PushStatus.ACCEPTED] * 2 + [PushStatus.FULL]


def test_an_entry_without_a_limit_finds_room_twice_as_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "INBOX_ENTRIES", 2)
    assert store.run(Push("inbox!", [entry(quota_key=name, limit=5) for name in "abc"])) == [1, 1, PushStatus.FULL]
    assert store.run(Push("inbox!", [entry(), entry(), entry()])) == [1, 1, PushStatus.FULL]
    assert store.run(Push("plain", [entry() for _ in range(5)])) == [PushStatus.ACCEPTED] * 5


def test_lists_nobody_reads_are_swept(store: Store, clock: Clock) -> None:
    for number in range(10):
        store.run(Push(f"left.{number}", [entry(ttl=1.0)]))
        store.run(Join("group", "", [f"left.{number}"]))
        store.run(Join("group", f"left.{number}!", ["1"]))
    clock.now += OWNED_EXPIRY + store_module.SWEEP_INTERVAL
    store.run(Push("chat", [entry()]))
    assert set(store._queues) == {"chat"}
    assert store.memberships.groups == {}


def test_an_inbox_is_alive_for_as_long_as_a_beat_lasts(store: Store, clock: Clock) -> None:
    assert store.run(Push("inbox!", [entry()], alive=True)) == [PushStatus.DEAD]
    store.run(Heartbeat("inbox!"))
    clock.now += LIVENESS - 0.1
    assert store.run(Push("inbox!", [entry()], alive=True)) == [PushStatus.ACCEPTED]
    clock.now += 0.1
    assert store.run(Push("inbox!", [entry()], alive=True)) == [PushStatus.DEAD]
    assert store.run(Length("inbox!")) == 1


def test_an_entry_expires_at_its_deadline_and_not_after_it() -> None:
    clock = Clock()
    store = Store(GROUP_EXPIRY, clock)
    store.run(Push("chat", [Entry(b"x", 5.0)]))
    clock.now += 5.0
    assert store.run(Take(["chat"], 1, 0.0)) == Taken("chat", [], [("expired", b"x")])
