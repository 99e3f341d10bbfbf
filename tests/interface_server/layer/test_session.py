"""The layer goes and comes back: what clients notice, and what is said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from channels_classic.exceptions import StepRefused
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer import restoration, session
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.codec import EntryKind, Outcome, encode
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import Item, PushStatus
from channels_classic.layers.steps import AsyncConnection, Entry, Flush, Join, Leave, Push, PutBack, Restore, Step
from tests.interface_server.live import TIMEOUT, Live, live
from tests.support.client import FakeClient
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, eventually_async, scaled

LOST, BACK = "Sockets stay open", "The channel layer is back"


def get(server: Live) -> int:
    connection = server.http()
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    return status


def is_away(server: Live) -> bool:
    return get(server) == 503


def test_the_reason_that_it_meets_when_it_connects_again_is_logged_too(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with live(RedisChannelLayer(hosts=[own_redis.url])), caplog.at_level(logging.INFO):
        with own_redis.with_new_password():
            eventually(lambda: "NOAUTH" in caplog.text)
        eventually(lambda: BACK in caplog.text)
    assert caplog.text.count("Check that the server runs") == caplog.text.count("Give the password in `hosts`") == 1


def test_redis_goes_and_comes_back_empty_and_no_socket_notices(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url], expiry=5)
    with live(layer) as server, ExitStack() as stack, caplog.at_level(logging.INFO):
        clients = [stack.enter_context(server.websocket()) for _ in range(5)]
        for client in clients:
            client.send("join")
            delivery = server.take("websocket.receive")
            layer.group_add("g", str(delivery.reply_channel))
            server.report(delivery)
        layer.send_group("g", {"text": "here"})
        assert [client.recv(TIMEOUT) for client in clients] == ["here"] * 5  # by now the server knows who joined
        own_redis.stop()
        eventually(lambda: LOST in caplog.text, TIMEOUT)  # a request before that would be lost with the server
        eventually(lambda: is_away(server))
        for number, client in enumerate(clients):
            client.send(f"meanwhile {number}")
        own_redis.start()
        eventually(lambda: BACK in caplog.text, TIMEOUT)
        eventually(lambda: len(layer.group_channels("g")) == 5, TIMEOUT)
        layer.send_group("g", {"text": "again"})
        assert [client.recv(TIMEOUT) for client in clients] == ["again"] * 5
        texts = {server.consume("websocket.receive")["text"] for _ in clients}
        assert texts == {f"meanwhile {number}" for number in range(5)}
    assert caplog.text.count(LOST) == 1
    assert caplog.text.count(BACK) == 1


def test_without_a_layer_http_gets_503_and_handshakes_wait_for_it(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    with live(layer, websocket_connect_timeout=scaled(1.0)) as server:
        own_redis.stop()
        eventually(lambda: LOST in caplog.text, TIMEOUT)  # a request before that would be lost with the server
        eventually(lambda: is_away(server))
        with pytest.raises(InvalidStatus) as caught:
            server.handshake()
        assert caught.value.response.status_code == 503
        own_redis.start()
        eventually(lambda: BACK in caplog.text, TIMEOUT)
        with server.websocket():
            pass
    assert "ASGI callable" not in caplog.text


def test_a_server_starts_without_its_layer_and_finds_it_later(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "START_TIMEOUT", 0.3)
    own_redis.stop()
    layer = RedisChannelLayer(hosts=[own_redis.url])
    with live(layer) as server:
        assert get(server) == 503
        own_redis.start()
        eventually(lambda: BACK in caplog.text, TIMEOUT)
        with server.websocket():
            pass
    assert caplog.text.count(LOST) == 1


class SlowLayer(ChannelLayer):
    """A layer to which the first connection takes longer than the second."""

    is_first = True

    async def connect_async(self) -> AsyncConnection:
        is_first, self.is_first = self.is_first, False
        if is_first:
            await asyncio.sleep(0.2)
        return await super().connect_async()


def test_a_server_serves_once_both_of_its_connections_are_made() -> None:
    """Before that it would answer 503."""

    async def main() -> None:
        session = await started(SlowLayer())
        assert session.available
        await stop(session)

    asyncio.run(main())


async def started(layer: ChannelLayer) -> LayerSession:
    session = LayerSession(layer, InterfaceConfig())
    await session.start()
    return session


async def stop(session: LayerSession) -> None:
    """Stop a session whose clients have nothing to wait for."""
    for client in session.registry.everybody():
        session.remove(client)
    await session.stop()


def test_the_inbox_lives_from_the_start_and_is_retired_at_the_stop() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        entry = Entry(encode(EntryKind.FORGET), 60)
        assert await layer.run_async([Push(session.inbox, [entry], alive=True)]) == [[PushStatus.ACCEPTED]]
        await stop(session)
        assert await layer.run_async([Push(session.inbox, [entry], alive=True)]) == [[PushStatus.DEAD]]

    asyncio.run(main())


def test_memberships_are_written_again_when_the_layer_forgot_the_inbox() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        channels = [session.add(FakeClient(str(number))) for number in range(250)]
        for channel in channels:
            await layer.group_add_async("g", channel)
        await eventually_async(lambda: len(session.registry.groups.members("g")) == 250)
        # What a Redis that lost everything would know.
        layer.store.memberships.groups.clear()
        layer.store.memberships.owners.clear()
        layer.store.memberships.epoch += 1
        assert layer.group_channels("g") == []
        session._wake_heartbeat.set()
        await eventually_async(lambda: len(layer.group_channels("g")) == 250)
        await stop(session)

    asyncio.run(main())


def test_what_changed_while_hints_were_lost_is_noticed_by_the_next_message() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        first, second = FakeClient("a"), FakeClient("b")
        await layer.group_add_async("g", session.add(first))
        session.add(second)
        await eventually_async(lambda: session.registry.groups.members("g"))
        # Others discard one, and add one; nobody tells the owner.
        layer.run([Leave("g", session.inbox, ["a"]), Join("g", session.inbox, ["b"])])
        layer.send_group("g", {"text": "x"})
        await eventually_async(lambda: second.got)
        assert first.got == []
        await stop(session)

    asyncio.run(main())


def test_a_flush_makes_the_owner_forget_its_memberships() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        channel = session.add(FakeClient("a"))
        await layer.group_add_async("g", channel)
        await eventually_async(session.registry.groups.groups)
        layer.flush()
        await eventually_async(lambda: not session.registry.groups.groups())
        await stop(session)

    asyncio.run(main())


def test_members_that_are_gone_are_pruned_by_the_first_message() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        here = FakeClient("here")
        session.add(here)
        layer.group_add("g", session.inbox + "gone")
        layer.group_add("g", session.inbox + "here")
        layer.send_group("g", {"text": "x"})
        await eventually_async(lambda: here.got)
        await eventually_async(lambda: layer.group_channels("g") == [session.inbox + "here"])
        await stop(session)

    asyncio.run(main())


def test_entries_of_later_releases_are_counted_and_do_no_harm() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        client = FakeClient("a")
        channel = session.add(client)
        entries = [Entry(payload, 60) for payload in (encode(99, "new"), b"\xc1", b"\x01", encode(EntryKind.GROUP))]  # type: ignore[arg-type]
        layer.run([Push(session.inbox, entries)])
        layer.send(channel, {"text": "x"})
        await eventually_async(lambda: client.got)
        assert layer.losses.as_dict() == {"undecodable": 4}
        await stop(session)

    asyncio.run(main())


def test_reports_and_replies_to_frames_that_expired_still_hold_and_are_no_lost_messages() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        client = FakeClient("a")
        session.add(client)
        payloads = [
            encode(EntryKind.REPORT, "a", "1", int(Outcome.CONSUMED)),
            encode(EntryKind.MESSAGE, {"text": "reply"}, None, "a", "2", int(Outcome.RAISED)),
            encode(EntryKind.MESSAGE, {"text": "x"}, None, "a"),
        ]
        past = layer.store.clock() - 1
        layer.run([PutBack(session.inbox, [Item(payload, (past, "a")) for payload in payloads])])
        await eventually_async(lambda: layer.losses.as_dict() == {"expired": 1})
        assert client.reports == [("1", Outcome.CONSUMED), ("2", Outcome.RAISED)]
        assert client.got == [{"text": "reply"}]
        await stop(session)

    asyncio.run(main())


def test_a_client_that_is_removed_holds_nothing_any_more() -> None:
    class Holder(FakeClient):
        """A client for which bytes are held."""

        buffered = 10**6

        def cut_off(self) -> None:
            pass

    async def main() -> None:
        session = LayerSession(ChannelLayer(), InterfaceConfig())
        client = Holder("a")
        session.add(client)
        session.budget.note(client, client.buffered)
        session.remove(client)
        assert session.budget.total == 0

    asyncio.run(main())


def heartbeats(test: Callable[[LayerSession, list[str]], Awaitable[None]]) -> None:
    """Run a test of single heartbeats; the list is of what they do about a long silence."""

    async def main() -> None:
        session = LayerSession(ChannelLayer(), InterfaceConfig())
        done: list[str] = []
        session.registry.restore_all_identities = lambda: done.append("restored")  # type: ignore[method-assign]
        writing = asyncio.create_task(session._writer.run())
        try:
            await session._heartbeat()
            await test(session, done)
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    asyncio.run(main())


def test_a_silence_counts_from_the_moment_at_which_the_last_heartbeat_may_have_arrived() -> None:
    """Its answer may have been read much later, because the process was suspended."""

    async def test(session: LayerSession, done: list[str]) -> None:
        now, ask = session.clock(), session._writer.ask
        is_late = True

        async def answer_late(step: Step) -> Any:
            nonlocal now, is_late
            result = await ask(step)
            now, is_late = now + 100 * is_late, False
            return result

        session.clock = lambda: now
        session._writer.ask = answer_late  # type: ignore[method-assign]
        await session._heartbeat()
        done.clear()
        await session._heartbeat()
        assert done == ["restored"]
        await session._heartbeat()
        assert done == ["restored"]

    heartbeats(test)


def test_a_silence_is_kept_until_it_was_dealt_with() -> None:
    async def test(session: LayerSession, done: list[str]) -> None:
        now, restore = session.clock() + 100, session._restoration.restore

        async def fail(epoch: int, is_partial: bool) -> None:
            session._restoration.restore = restore  # type: ignore[method-assign]
            raise StepRefused("here", "no room")

        session.clock = lambda: now
        session._restored = (1,)
        session._restoration.restore = fail  # type: ignore[method-assign]
        with pytest.raises(StepRefused):
            await session._heartbeat()
        assert done == []
        await session._heartbeat()
        assert done == ["restored"]

    heartbeats(test)


@pytest.mark.parametrize("error", [None, StepRefused("here", "no room")])
def test_what_was_lost_while_ghosts_were_removed_is_looked_for_again(error: Exception | None) -> None:
    async def test(session: LayerSession, _: list[str]) -> None:
        async def remove() -> None:
            session._may_have_ghosts = error is None  # the other connection broke
            if error is not None:
                raise error

        session._may_have_ghosts = True
        session._restoration.remove_ghosts = remove  # type: ignore[method-assign]
        with suppress(StepRefused):
            await session._heartbeat()
        assert session._may_have_ghosts

    heartbeats(test)


def test_a_mark_that_is_not_read_in_time_or_not_written_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(session: LayerSession, _: list[str]) -> None:
        await session._restoration.caught_up()  # nobody reads here
        assert session.registry._marks == {}

        async def refuse(step: Step) -> Any:
            raise StepRefused("here", "no room")

        session._writer.ask = refuse  # type: ignore[method-assign]
        with pytest.raises(StepRefused):
            await session._restoration.caught_up()
        assert session.registry._marks == {}

    monkeypatch.setattr(restoration, "CATCH_UP_TIMEOUT", 0.1)
    heartbeats(test)


def test_one_read_takes_about_a_megabyte() -> None:
    async def main() -> None:
        layer = ChannelLayer(capacity=1000)
        session = await started(layer)
        client = FakeClient("a")
        channel = session.add(client)
        for _ in range(40):
            layer.send(channel, {"bytes": b"x" * 300_000})
        await eventually_async(lambda: len(client.got) == 40)
        assert session._reader._count < 20
        await stop(session)

    asyncio.run(main())


def test_flushing_names_the_inbox_of_a_living_server() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = await started(layer)
        assert await layer.run_async([Flush()]) == [[session.inbox]]
        await stop(session)

    asyncio.run(main())


def test_a_stop_at_any_moment_ends_every_part(redis_url: str) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[redis_url])
        for turns in range(40):
            session = LayerSession(layer, InterfaceConfig())
            await session.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(session.stop(), TIMEOUT)
            assert all(work.done() for work in session._tasks)

    asyncio.run(main())


def test_members_that_the_layer_refuses_to_restore_stay_in_the_index() -> None:
    class Refusing(ChannelLayer):
        """A layer that has no room for what it lost."""

        async def connect_async(self) -> AsyncConnection:
            connection = await super().connect_async()
            run = connection.run

            async def refuse(steps: Sequence[Step]) -> list[Any]:
                results = await run([step for step in steps if not isinstance(step, Restore)])
                return [StepRefused("here", "no room") if isinstance(s, Restore) else results.pop(0) for s in steps]

            connection.run = refuse  # type: ignore[method-assign]
            return connection

    async def main() -> None:
        layer = Refusing()
        session = await started(layer)
        first, second = FakeClient("a"), FakeClient("b")
        await layer.group_add_async("g", session.add(first))
        await eventually_async(lambda: session.registry.groups.members("g"))
        layer.store.memberships.groups.clear()
        layer.store.memberships.owners[session.inbox].restored = False
        await layer.group_add_async("g", session.add(second))
        layer.send_group("g", {"text": "x"})
        await eventually_async(lambda: layer.losses.as_dict() == {"broker": 1})
        assert session.registry.groups.members("g") == [first, second]
        await stop(session)

    asyncio.run(main())
