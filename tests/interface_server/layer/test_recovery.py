"""Recoverable groups in an interface server: everything once and in order, or a gap.

The session and the layers are the real ones; the clients note what they get.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from channels_classic.exceptions import StepRefused
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer import session as session_module
from channels_classic.interface_server.layer.client import Broadcast
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind, decode
from channels_classic.layers.history import EVERYTHING, Retention
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.names import new_inbox
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Heartbeat, Leave, Members, ReadHistory, Record, Step, Take
from tests.support.client import FakeClient
from tests.support.waiting import eventually_async

KEEP = {"keep": 50, "seconds": 60}


class Client(FakeClient):
    """A client that notes the numbers that it gets, the last cursor, and gaps."""

    cursor = ""

    def broadcast(self, broadcast: Broadcast) -> None:
        self.got.append(broadcast.message["n"])
        self.cursor = broadcast.cursor.partition(" ")[2] or self.cursor

    def note_cursor(self, group: str, cursor: str, *, gap: bool) -> None:
        self.cursor = cursor
        if gap:
            self.got.append("gap")


class Room:
    """A session, and the group `g` of its clients."""

    def __init__(self, layer: BaseChannelLayer, session: LayerSession) -> None:
        self.layer = layer
        self.session = session
        self.count = 0

    def connect(self, is_open: bool = True) -> tuple[Client, str]:
        self.count += 1
        client = Client(f"c{self.count}", is_open)
        return client, self.session.add(client)

    async def join(self, after: str | None = None, **options: Any) -> Client:
        client, channel = self.connect()
        await self.layer.group_add_async("g", channel, after=after, **{"keep": KEEP["keep"], **options})
        return client

    async def leave(self, client: Client) -> None:
        self.session.remove(client)
        await asyncio.sleep(0)

    async def send(self, *numbers: int, **options: Any) -> None:
        for n in numbers:
            await self.layer.send_group_async("g", {"n": n}, **{**KEEP, **options})


@asynccontextmanager
async def opened(layer: BaseChannelLayer) -> AsyncIterator[Room]:
    session = LayerSession(layer, InterfaceConfig())
    await session.start()
    try:
        yield Room(layer, session)
    finally:
        for client in session.registry.everybody():
            session.remove(client)
        await session.stop()
        await layer.close_async()


@pytest.fixture(params=["memory", "redis"])
def make_layer(request: pytest.FixtureRequest) -> Iterator[Callable[[], BaseChannelLayer]]:
    if request.param == "memory":
        layer = ChannelLayer()
        yield lambda: layer
    else:
        url = request.getfixturevalue("redis_url")
        yield lambda: RedisChannelLayer(hosts=[url])


Make = Callable[[], BaseChannelLayer]


def test_a_client_that_comes_back_gets_what_it_missed_and_then_what_comes(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            first = await room.join()
            await room.send(1, 2)
            await eventually_async(lambda: first.got == [1, 2])
            await room.leave(first)
            await room.send(3, 4)
            second = await room.join(first.cursor)
            await room.send(5)
            await eventually_async(lambda: second.got == [3, 4, 5])
            third = await room.join(second.cursor)
            await room.send(6)
            await eventually_async(lambda: (second.got, third.got) == ([3, 4, 5, 6], [6]))

    asyncio.run(main())


def test_a_first_visit_gets_what_comes_or_everything_and_a_cursor_at_once(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            await room.send(1, 2)
            live, everything = await room.join(), await room.join(EVERYTHING)
            await eventually_async(lambda: live.cursor and everything.got == [1, 2])
            assert live.cursor == everything.cursor
            await room.leave(live)
            await room.send(3)
            again = await room.join(live.cursor)
            await eventually_async(lambda: (again.got, everything.got) == ([3], [1, 2, 3]))

    asyncio.run(main())


@pytest.mark.parametrize("after", ["1-1", "", "forged", "99999999999999999-3"])
def test_a_cursor_that_means_nothing_is_a_gap_and_then_what_comes(make_layer: Make, after: str) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            await room.send(1, 2)
            client = await room.join(after)
            await eventually_async(lambda: client.got == ["gap"])
            await room.send(3)
            await eventually_async(lambda: client.got == ["gap", 3])
            await room.leave(client)
            await room.send(4)
            again = await room.join(client.cursor)
            await eventually_async(lambda: again.got == [4])
            assert room.layer.losses.as_dict() == {"gap": 1}

    asyncio.run(main())


def test_what_is_not_kept_any_more_is_a_gap_and_never_a_part(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client = await room.join()
            await room.send(1, keep=3)
            await eventually_async(lambda: client.got == [1])
            await room.leave(client)
            await room.send(2, 3, 4, 5, keep=3)
            again = await room.join(client.cursor)
            await eventually_async(lambda: again.got == ["gap"])
            await room.send(6, keep=3)
            await eventually_async(lambda: again.got == ["gap", 6])

    asyncio.run(main())


def test_a_cursor_of_another_group_is_a_gap(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            await room.send(1, 2)
            other, channel = room.connect()
            await room.layer.group_add_async("other", channel, after=EVERYTHING, keep=9)
            await eventually_async(lambda: other.cursor)
            client = await room.join(other.cursor)
            await eventually_async(lambda: client.got == ["gap"])

    asyncio.run(main())


def test_a_client_whose_handshake_is_undecided_is_served_when_it_is_open(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            watch = await room.join()
            client, channel = room.connect(is_open=False)
            await room.send(1)
            await room.layer.group_add_async("g", channel, after=EVERYTHING, keep=50)
            await room.send(2)
            await eventually_async(lambda: watch.got == [1, 2])
            assert client.got == []
            client.is_open = True
            room.session.opened(client)
            await room.send(3)
            await eventually_async(lambda: client.got == [1, 2, 3])

    asyncio.run(main())


def test_members_without_recovery_get_messages_as_in_any_group(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client = await room.join()
            plain, channel = room.connect()
            await room.layer.group_add_async("g", channel)
            await room.send(1, 2)
            await room.send(3, but=channel)
            await eventually_async(lambda: (client.got, plain.got) == ([1, 2, 3], [1, 2]))
            assert plain.cursor == ""

    asyncio.run(main())


def test_a_member_that_is_left_out_does_not_get_it_later_either(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client, channel = room.connect(is_open=False)
            await room.layer.group_add_async("g", channel, after=EVERYTHING, keep=50)
            await room.send(1, but=channel)
            await room.send(2)
            client.is_open = True
            room.session.opened(client)
            await eventually_async(lambda: client.got == [2])
            await room.send(3, but=channel)
            await room.send(4)
            await eventually_async(lambda: client.got == [2, 4])

    asyncio.run(main())


def test_a_member_that_was_discarded_gets_nothing_more_and_may_come_back(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            watch = await room.join()
            client, channel = room.connect()
            await room.layer.group_add_async("g", channel, keep=50)
            await room.send(1)
            await eventually_async(lambda: client.got == [1])
            await room.layer.group_discard_async("g", channel)
            await room.send(2)
            # The hint of this one is lost: the owner finds out by the version.
            await room.layer.group_add_async("g", channel, after=client.cursor, keep=50)
            await eventually_async(lambda: client.got == [1, 2])
            await room.layer.run_async([Leave("g", room.session.inbox, [client.local])])
            await room.send(3)
            await eventually_async(lambda: watch.got == [1, 2, 3])
            assert client.got == [1, 2]

    asyncio.run(main())


def test_a_message_that_comes_while_the_first_member_is_served_is_not_lost(make_layer: Make) -> None:
    """Nothing was delivered to the group here before, and no later message shows that one is missing."""

    async def main() -> None:
        async with opened(make_layer()) as room:
            recovery = room.session._recovery
            ask = recovery._ask
            asked: list[Step] = []

            async def answer_late(step: Step) -> Any:
                result = await ask(step)
                if isinstance(step, ReadHistory) and not asked:
                    asked.append(step)
                    await room.send(1)
                    await room.session._restoration.caught_up()  # the message was read
                return result

            recovery._ask = answer_late
            client = await room.join()
            await eventually_async(lambda: client.got == [1])
            await room.send(2)
            await eventually_async(lambda: client.got == [1, 2])

    asyncio.run(main())


def test_a_member_that_was_discarded_while_it_is_served_gets_nothing_as_it_comes(make_layer: Make) -> None:
    """A message from before comes ahead of the hint. What it gets when it is added again is there once."""

    async def main() -> None:
        async with opened(make_layer()) as room:
            other = await room.join()
            await room.send(0)
            client, channel = room.connect(is_open=False)
            await room.layer.group_add_async("g", channel, keep=50)
            await eventually_async(lambda: client.local in room.session._recovery._requests)
            send = _kept(1)
            (send.recorded,) = await room.layer.run_async([room.layer.planner.record(send)])
            await room.layer.run_async([Leave("g", room.session.inbox, [client.local])])  # the hint is late
            client.is_open = True
            room.session.opened(client)
            await room.session._writer.ask(ReadHistory("g", 0, 0))  # behind that of the client
            await room.layer.run_async(room.layer.planner.pushes([send], {}))
            await eventually_async(lambda: other.got == [0, 1])
            assert client.got == []
            await room.layer.group_add_async("g", channel, after=EVERYTHING, keep=50)
            await room.send(2)
            await eventually_async(lambda: client.got == [0, 1, 2])

    asyncio.run(main())


def test_adding_a_member_again_changes_nothing(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client, channel = room.connect()
            await room.layer.group_add_async("g", channel, keep=50)
            await room.send(1)
            for after in (None, EVERYTHING, "1-1"):
                await room.layer.group_add_async("g", channel, after=after, keep=50)
            await room.send(2)
            await eventually_async(lambda: client.got == [1, 2])

    asyncio.run(main())


def test_a_plain_member_that_is_added_again_with_recovery_gets_nothing_twice(make_layer: Make) -> None:
    """Also once the owner asks for the members again, because it lost a hint."""

    async def main() -> None:
        async with opened(make_layer()) as room:
            client, channel = room.connect()
            await room.layer.group_add_async("g", channel)
            await room.send(1)
            await eventually_async(lambda: client.got == [1])
            await room.layer.group_add_async("g", channel, keep=50)
            await room.layer.group_add_async("g", channel, who="7", keep=50, after=EVERYTHING)
            await room.send(2, 3)
            await eventually_async(lambda: client.got[-1:] == [3])
            room.session.registry.groups.doubt_all()
            await room.send(4)
            await eventually_async(lambda: client.got[-1:] == [4])
            await asyncio.sleep(0.1)
            assert client.got == [1, 2, 3, 4]

    asyncio.run(main())


def test_a_group_that_keeps_one_message_gives_the_last_one_and_knows_no_gap(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            await room.send(1, 2, keep=1)
            first, stale = await room.join(keep=1), await room.join("1-1", keep=1)
            await eventually_async(lambda: (first.got, stale.got) == ([2], [2]))
            await room.leave(first)
            await room.send(3, 4, keep=1)
            again = await room.join(first.cursor, keep=1)
            current = await room.join(again.cursor or None, keep=1)
            await eventually_async(lambda: (again.got, current.got[-1:]) == ([4], [4]))
            current = await room.join(again.cursor, keep=1)
            await room.send(5, keep=1)
            await eventually_async(lambda: current.got == [5])

    asyncio.run(main())


def test_a_client_that_joins_where_one_message_is_kept_while_others_come_gets_the_last_one(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            first = await room.join(keep=1)
            await room.send(1, keep=1)
            await eventually_async(lambda: first.got == [1])
            recovery = room.session._recovery
            ask = recovery._ask
            asked: list[Step] = []

            async def answer_late(step: Step) -> Any:
                result = await ask(step)
                if isinstance(step, ReadHistory) and step.member and not asked:
                    asked.append(step)
                    await room.send(2, 3, keep=1)
                    await room.session._restoration.caught_up()
                return result

            recovery._ask = answer_late
            client = await room.join(keep=1)
            await eventually_async(lambda: client.got == [1, 3])
            await room.send(4, keep=1)
            await eventually_async(lambda: client.got == [1, 3, 4])
            assert room.layer.losses.as_dict() == {}

    asyncio.run(main())


def test_the_last_member_may_leave_while_the_next_one_is_served(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            first = await room.join()
            await room.send(1)
            await eventually_async(lambda: first.got == [1])
            recovery = room.session._recovery
            ask = recovery._ask
            asked: list[Step] = []

            async def answer_late(step: Step) -> Any:
                result = await ask(step)
                if isinstance(step, ReadHistory) and step.member and not asked:
                    asked.append(step)
                    await room.send(2)
                    await room.session._restoration.caught_up()
                    await room.leave(first)
                return result

            recovery._ask = answer_late
            client = await room.join()
            await eventually_async(lambda: client.got == [2])
            await room.leave(client)
            assert not recovery.is_used

    asyncio.run(main())


def test_an_entry_that_is_lost_is_read_before_the_next_one(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client = await room.join()
            await eventually_async(lambda: client.cursor)
            await room.send(1)
            await eventually_async(lambda: client.got == [1])
            for n in range(2, 5):
                await lose_one(room, n)
            await room.send(5)
            await eventually_async(lambda: client.got == [1, 2, 3, 4, 5])

    async def lose_one(room: Room, n: int) -> None:
        """Send a message whose entry in the inbox is lost."""
        await room.layer.run_async([room.layer.planner.record(_kept(n))])

    asyncio.run(main())


def _kept(n: int) -> Outgoing:
    return Outgoing("g", {"n": n}, group=True, retention=Retention(50, 60.0))


def test_what_expired_in_the_inbox_or_was_not_written_there_does_not_wait_for_the_next_message(
    make_layer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an interface server is suspended its entries expire, and once it counts as dead none are written."""

    async def main() -> None:
        async with opened(make_layer()) as room:
            client = await room.join()
            await room.send(0)
            await eventually_async(lambda: client.got == [0])
            planner, expired, unwritten = room.layer.planner, _kept(1), _kept(2)
            (expired.recorded,) = await room.layer.run_async([planner.record(expired)])
            (push,) = planner.pushes([expired], {})
            await room.layer.run_async([push._replace(entries=[replace(entry, ttl=0.0) for entry in push.entries])])
            await eventually_async(lambda: client.got == [0, 1])
            await room.layer.run_async([planner.record(unwritten)])
            monkeypatch.setattr(session_module, "TAKEN_FOR_DEAD", 0.0)
            await eventually_async(lambda: client.got == [0, 1, 2])

    asyncio.run(main())


def test_a_heartbeat_that_catches_up_while_messages_come_gives_nothing_twice(make_layer: Make) -> None:
    """An answer to it may be older than a message that came meanwhile: also the last value stays the last one."""

    async def main() -> None:
        async with opened(make_layer()) as room:
            client, last = await room.join(), await room.join()
            channel = room.session.inbox + last.local
            await room.layer.group_add_async("value", channel, keep=1)
            await room.send(0)
            await eventually_async(lambda: client.got == [0])
            done = asyncio.Event()

            async def catch_up() -> None:
                while not done.is_set():
                    room.session._recovery.doubt_all()
                    await room.session._recovery.catch_up()

            work = asyncio.create_task(catch_up())
            for n in range(1, 100):
                await room.send(n)
                await room.layer.send_group_async("value", {"n": -n}, keep=1)
            await eventually_async(lambda: last.got[-1] == -99)
            done.set()
            await work
            values = [n for n in last.got if n < 0]
            assert client.got == list(range(100))
            assert values == sorted(set(values), reverse=True)

    asyncio.run(main())


def test_a_kept_message_that_something_else_has_written_costs_itself_only(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client = await room.join()
            await room.send(0)
            await eventually_async(lambda: client.got == [0])
            hostile = (b"\x01", b"\x92\x01\xa0", b"\x92\x80\x01", b"\x81\x80\x80", b"\xc1", b"")
            steps = [Record("g", payload, 50, 60.0) for payload in hostile]
            await room.layer.run_async(steps)
            await room.send(1)
            await eventually_async(lambda: client.got == [0, 1])
            later = await room.join(EVERYTHING)
            await room.send(2)
            await eventually_async(lambda: (client.got, later.got) == ([0, 1, 2], [0, 1, 2]))
            assert room.layer.losses.as_dict() == {"undecodable": 2 * len(hostile)}

    asyncio.run(main())


def test_what_a_shard_refuses_to_give_is_delivered_with_the_next_heartbeat(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client = await room.join()
            await room.send(1)
            await eventually_async(lambda: client.got == [1])
            await room.layer.run_async([room.layer.planner.record(_kept(2))])  # its entry is lost
            recovery = room.session._recovery
            recovery._ask = refused_once(recovery._ask, ReadHistory)
            await room.send(3)
            await eventually_async(lambda: client.got == [1, 2, 3])
            room.session.registry.groups.doubt_all()
            reader: Any = room.session._reader
            reader._members = refused_once(reader._members)
            await room.send(4)
            await eventually_async(lambda: client.got == [1, 2, 3, 4])

    def refused_once(ask: Callable[[Any], Any], kind: type = object) -> Callable[[Any], Any]:
        refused: list[Any] = []

        async def refuse(step: Any) -> Any:
            if isinstance(step, kind) and not refused:
                refused.append(step)
                raise StepRefused("a shard", "it is down")
            return await ask(step)

        return refuse

    asyncio.run(main())


def test_an_answer_without_members_that_is_older_than_a_join_does_not_undo_it(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            first = await room.join()
            await room.send(1)
            await eventually_async(lambda: first.got == [1])
            recovery = room.session._recovery
            ask = recovery._ask
            client, channel = room.connect(is_open=False)
            asked: list[Step] = []

            async def answer_late(step: Step) -> Any:
                result = await ask(step)
                if isinstance(step, Members) and not asked:
                    asked.append(step)
                    await room.layer.group_add_async("g", channel, after=EVERYTHING, keep=50)
                    await room.session._restoration.caught_up()
                return result

            await room.layer.run_async([Leave("g", room.session.inbox, [first.local])])  # the hint is lost
            recovery._ask = answer_late
            recovery.doubt("g")
            await recovery.catch_up()
            assert asked
            client.is_open = True
            room.session.opened(client)
            await eventually_async(lambda: client.got == [1])

    asyncio.run(main())


def test_entries_that_change_places_are_delivered_in_order(make_layer: Make) -> None:
    async def main() -> None:
        async with opened(make_layer()) as room:
            client = await room.join()
            await room.send(0)
            await eventually_async(lambda: client.got == [0])
            planner = room.layer.planner
            sends = [_kept(n) for n in range(1, 6)]
            for send in sends:
                (found,) = await room.layer.run_async([planner.record(send)])
                send.recorded = found
            random.Random(7).shuffle(sends)
            for send in sends:
                await room.layer.run_async(planner.pushes([send], {}))
            await room.send(6)
            await eventually_async(lambda: client.got == [0, 1, 2, 3, 4, 5, 6])

    asyncio.run(main())


def test_a_loss_of_all_data_is_a_gap_at_once() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        async with opened(layer) as room:
            client = await room.join()
            await room.send(1)
            await eventually_async(lambda: client.got == [1])
            layer.store.__init__(layer.group_expiry)  # type: ignore[misc]  # all data is lost
            await eventually_async(lambda: client.got == [1, "gap"], 10)
            await room.send(2)
            await eventually_async(lambda: client.got == [1, "gap", 2])

    asyncio.run(main())


@pytest.mark.timeout(120)
def test_clients_that_come_and_go_while_many_send_get_everything_once_and_in_order(make_layer: Make) -> None:
    """On two interface servers, with senders that overtake one another."""

    async def send(room: Room, numbers: range) -> None:
        for n in numbers:
            await room.layer.send_group_async("g", {"n": n}, keep=1000)
            await asyncio.sleep(0.001)

    async def roam(rooms: list[Room], seed: int, done: asyncio.Event) -> list[Any]:
        dice, cursor = random.Random(seed), EVERYTHING
        got: list[Any] = []
        while not done.is_set():
            room = dice.choice(rooms)
            client = await room.join(cursor, keep=1000)
            await asyncio.sleep(dice.uniform(0, 0.05))
            await room.leave(client)
            got += client.got
            cursor = client.cursor or cursor
        last = await rooms[0].join(cursor, keep=1000)
        await eventually_async(lambda: len(got) + len(last.got) >= 400, 10)
        return got + last.got

    async def main() -> None:
        async with opened(make_layer()) as one, opened(make_layer()) as other:
            done = asyncio.Event()
            roamers = [asyncio.create_task(roam([one, other], seed, done)) for seed in range(20)]
            await asyncio.gather(*(send(one, range(start, start + 100)) for start in range(0, 400, 100)))
            done.set()
            results = await asyncio.gather(*roamers)
            assert len({tuple(result) for result in results}) == 1, "the same, in the same order"
            assert sorted(results[0]) == list(range(400))
            assert one.layer.losses.as_dict() == {}

    asyncio.run(main())


def test_nothing_is_asked_of_the_layer_where_nothing_is_kept() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        async with opened(layer) as room:
            client, channel = room.connect()
            await layer.group_add_async("g", channel)
            await layer.send_group_async("g", {"n": 1})
            await eventually_async(lambda: client.got == [1])
            assert not room.session._recovery.is_used
            assert layer.store.memberships.histories._groups == {}

    asyncio.run(main())


def test_the_envelope_is_the_same_where_nothing_is_kept() -> None:
    layer = ChannelLayer()
    inbox = new_inbox()
    layer.run([Heartbeat(inbox)])
    layer.group_add("g", f"{inbox}a")
    layer.send_group("g", {"n": 1})
    (taken,) = layer.run([Take([inbox], 10)])
    assert [len(decode(item.payload)) for item in taken.items if decode(item.payload)[0] == EntryKind.GROUP] == [4]
