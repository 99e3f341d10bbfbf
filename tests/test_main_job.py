"""The whole path with real processes: sockets survive their workers, broadcasts arrive whole, frames stay in order."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from itertools import count

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually, scaled

pytestmark = pytest.mark.timeout(120)

TIMEOUT = 30.0


@pytest.fixture(scope="module", params=["local", "redis"])
def shared_site(request: pytest.FixtureRequest) -> Iterator[RunningSite]:
    url = request.getfixturevalue("module_redis").url if request.param == "redis" else None
    with RunningSite(url) as site:
        yield site


@pytest.fixture
def site(shared_site: RunningSite) -> RunningSite:
    """The site that the tests share, with two workers whatever the test before did to them."""
    if [worker.running for worker in shared_site.workers] != [True, True]:
        for worker in shared_site.workers:
            worker.stop()
        shared_site.start_workers(2)
    return shared_site


async def texts(sockets: list[ClientConnection], timeout: float = TIMEOUT) -> list[object]:
    """The next frame of each socket."""
    return await asyncio.wait_for(asyncio.gather(*(socket.recv() for socket in sockets)), timeout)


def test_sockets_stay_open_while_all_workers_are_replaced(site: RunningSite) -> None:
    async def scenario() -> None:
        async with site.sockets(200) as sockets:
            await asyncio.to_thread(site.stop_workers)
            await asyncio.to_thread(site.start_workers, 2)
            with site.layer() as layer:
                await asyncio.to_thread(layer.send_group, "room", {"text": "still here"})
            assert await texts(sockets) == ["still here"] * 200
            for number, socket in enumerate(sockets):
                await socket.send(str(number))
            assert await texts(sockets) == [str(number) for number in range(200)]

    asyncio.run(scenario())


def test_sockets_stay_open_when_a_busy_worker_is_killed(site: RunningSite) -> None:
    async def scenario() -> None:
        async with site.sockets(200) as sockets, site.socket("/sleep") as busy:
            await busy.send("60")
            assert await busy.recv() == "started"
            for worker in site.workers:
                worker.kill()
            await asyncio.to_thread(site.start_workers, 1)
            with site.layer() as layer:
                await asyncio.to_thread(layer.send_group, "room", {"text": "still here"})
            assert await texts(sockets) == ["still here"] * 200
            assert busy.close_code is None

    asyncio.run(scenario())


def test_frames_sent_while_no_worker_runs_are_consumed_when_one_comes(site: RunningSite) -> None:
    async def scenario() -> None:
        async with site.sockets(20) as sockets:
            await asyncio.to_thread(site.stop_workers)
            for socket in sockets:
                for number in range(5):
                    await socket.send(str(number))
            await asyncio.to_thread(site.start_workers, 2)
            for number in range(5):
                assert await texts(sockets) == [str(number)] * 20

    asyncio.run(scenario())


def test_ten_broadcasts_in_a_row_reach_all_of_a_thousand_sockets(site: RunningSite) -> None:
    async def scenario() -> None:
        with site.layer() as layer:
            async with site.sockets(1000) as sockets:
                assert len(await asyncio.to_thread(layer.group_channels, "room")) == 1000
                for number in range(10):
                    await asyncio.to_thread(layer.send_group, "room", {"text": str(number)})
                for number in range(10):
                    assert await texts(sockets) == [str(number)] * 1000
            assert layer.losses.as_dict() == {}
            eventually(lambda: not layer.group_channels("room"), timeout=TIMEOUT)

    asyncio.run(scenario())


def test_a_thousand_frames_sent_at_once_are_consumed_in_order_by_two_workers(site: RunningSite) -> None:
    async def scenario() -> None:
        async with site.socket() as socket:
            for number in range(1000):
                await socket.send(str(number))
            received = [await asyncio.wait_for(socket.recv(), TIMEOUT) for _ in range(1000)]
            assert received == [str(number) for number in range(1000)]

    asyncio.run(scenario())


def test_a_view_that_raises_is_answered_with_500(site: RunningSite) -> None:
    assert site.get("/broken")[0] == 500
    eventually(lambda: "this view is broken" in site.output)


def test_a_request_consumer_that_raises_is_answered_with_500_at_once(site: RunningSite) -> None:
    begun = time.monotonic()
    assert site.get("/broken-consumer")[0] == 500
    assert time.monotonic() - begun < scaled(10)
    eventually(lambda: "http_broken" in site.output and "this request consumer is broken" in site.output)


def test_a_connect_consumer_that_raises_denies_the_handshake_at_once(site: RunningSite) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidStatus, match="403"):
            await site.socket("/connect-broken")

    asyncio.run(scenario())
    eventually(lambda: "connect_broken" in site.output and "this connect consumer is broken" in site.output)


def test_a_receive_consumer_that_raises_leaves_the_socket_open(site: RunningSite) -> None:
    async def scenario() -> None:
        async with site.socket("/receive-broken") as socket:
            await socket.send("x")
            await asyncio.to_thread(eventually, lambda: "this receive consumer is broken" in site.output)
            await asyncio.wait_for(await socket.ping(), TIMEOUT)

    asyncio.run(scenario())


def test_a_connect_consumer_that_accepts_nothing_is_named_and_ends_at_the_timeout(redis_url: str) -> None:
    async def scenario(site: RunningSite) -> None:
        with pytest.raises(InvalidStatus, match="403"):
            await site.socket("/connect-silent")

    with RunningSite(redis_url, workers=1, options=("--websocket-connect-timeout", "1")) as site:
        asyncio.run(scenario(site))
        eventually(lambda: "connect_silent" in site.output)


def test_without_any_worker_the_client_gets_an_answer_and_the_log_says_where_to_look() -> None:
    async def scenario(site: RunningSite) -> None:
        with pytest.raises(InvalidStatus):
            await site.socket("/")

    options = ("--http-timeout", "1", "--websocket-connect-timeout", "1")
    with RunningSite(workers=0, options=options) as site:
        assert site.get("/")[0] == 503
        asyncio.run(scenario(site))
        eventually(lambda: "runworker" in site.output)


def test_redis_may_be_away_for_five_seconds_and_come_back_empty(own_redis: RedisServer) -> None:
    async def load(socket: ClientConnection, stop: asyncio.Event) -> None:
        """Echo without a pause; frames that the broker took with it are answered by nobody."""
        for number in count():
            await socket.send(str(number))
            try:
                await asyncio.wait_for(socket.recv(), 1)
            except asyncio.TimeoutError:
                if stop.is_set():
                    return
            if stop.is_set():
                return

    async def scenario(site: RunningSite) -> None:
        stop = asyncio.Event()
        async with site.sockets(50) as members, site.sockets(20, "/") as busy:
            loads = [asyncio.create_task(load(socket, stop)) for socket in busy]
            await asyncio.sleep(1)  # the load is what is tested
            await asyncio.to_thread(own_redis.stop)
            away = time.monotonic()
            await asyncio.to_thread(eventually, lambda: "cannot be reached" in site.interface.output)
            assert (await asyncio.to_thread(site.get, "/"))[0] == 503
            await asyncio.sleep(max(0.0, 5 - (time.monotonic() - away)))
            await asyncio.to_thread(own_redis.start)
            with site.layer() as layer:
                await asyncio.to_thread(eventually, lambda: len(layer.group_channels("room")) == 50, TIMEOUT)
                layer.send_group("room", {"text": "we are back"})
            assert await texts(members) == ["we are back"] * 50
            stop.set()
            await asyncio.gather(*loads)
            assert [socket.close_code for socket in (*members, *busy)] == [None] * 70
            await asyncio.to_thread(eventually, lambda: site.get("/")[0] == 200)
        for program in (site.interface, *site.workers):
            outages = re.findall(r"^ *The channel layer at .* cannot be reached", program.output, re.MULTILINE)
            assert len(outages) == 1, program.output
            assert "Traceback" not in program.output, program.output

    with RunningSite(own_redis.url) as site:
        asyncio.run(scenario(site))


def test_a_worker_finishes_what_it_took_when_it_is_told_to_stop(site: RunningSite) -> None:
    async def scenario() -> None:
        async with site.socket("/sleep") as socket:
            await socket.send("1.5")
            assert await socket.recv() == "started"
            for worker in site.workers:
                os.kill(worker.pid, signal.SIGTERM)
            assert await asyncio.wait_for(socket.recv(), TIMEOUT) == "done"
            assert [await asyncio.to_thread(worker.wait) for worker in site.workers] == [0, 0]

    asyncio.run(scenario())
