"""Connections that idle while a consumer runs: closed by the server, killed, or forgotten by a firewall."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest

from channels_classic import Channel
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Connection, Length, Step
from channels_classic.message import Message
from channels_classic.worker import link
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import scaled
from tests.worker.harness import drain, make_worker, running
from tests.worker.programs import TIMEOUT, running_worker

IDLE = 1.2
"""Seconds for which a connection rests, longer than the firewall remembers it."""

KINDS = ["work", "work-async", "work-for-group", "work-for-recoverable-group"]


class Firewall:
    """Forwards connections to a port and forgets those that say nothing for `idle` seconds, silently."""

    def __init__(self, port: int, idle: float) -> None:
        self.port = free_port()
        self._idle = idle
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets: list[socket.socket] = []
        self._stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _accept(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            last = [time.monotonic()]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target, last), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, last: list[float]) -> None:
        try:
            while data := source.recv(65536):
                if time.monotonic() - last[0] > self._idle:
                    last[0] = float("-inf")  # forgotten: what comes now goes nowhere, and nobody is told
                    continue
                last[0] = time.monotonic()
                target.sendall(data)
            target.close()
        except OSError:
            return

    def close(self) -> None:
        self._stopped = True
        self._listener.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
def layer(own_redis: RedisServer) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    yield layer
    layer.close()


def send_work(layer: RedisChannelLayer, kind: str, seconds: float) -> None:
    layer.group_add("answers", "answers")
    layer.send(kind, {"number": 7, "seconds": seconds, "answer": "answers"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_arrives_though_the_server_closed_the_connection_of_its_worker(
    own_redis: RedisServer, layer: RedisChannelLayer, kind: str
) -> None:
    own_redis.command("CONFIG", "SET", "timeout", "1")
    with running_worker(own_redis.url) as worker:
        send_work(layer, kind, 4)
        assert drain(layer, "answers", 1, TIMEOUT)[0]["number"] == 7
        assert worker.stop() == 0
        assert "Retrying" not in worker.output, (
            f"the end of an idle connection was taken for an outage:\n{worker.output}"
        )


@pytest.mark.parametrize("seconds", [0.2, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_arrives_though_the_connection_of_its_worker_was_killed(
    own_redis: RedisServer, layer: RedisChannelLayer, kind: str, seconds: float
) -> None:
    with running_worker(own_redis.url) as worker:
        send_work(layer, kind, seconds)
        worker.wait_for_line("is working")
        own_redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert drain(layer, "answers", 1, TIMEOUT)[0]["number"] == 7
        assert worker.stop() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_arrives_though_a_firewall_forgot_the_connection_of_its_worker(
    own_redis: RedisServer, layer: RedisChannelLayer, kind: str
) -> None:
    firewall = Firewall(own_redis.port, idle=2)
    try:
        with running_worker(f"{firewall.url}?socket_timeout=1") as worker:
            send_work(layer, kind, 4)
            assert drain(layer, "answers", 1, TIMEOUT)[0]["number"] == 7
            worker.stop()
    finally:
        firewall.close()


SENDS: dict[str, Callable[[RedisChannelLayer], object]] = {
    "send": lambda layer: layer.send("jobs", {}),
    "group_add": lambda layer: layer.group_add("g", "jobs"),
    "send_group": lambda layer: layer.send_group("g", {}),
    "receive": lambda layer: layer.receive(["jobs"]),
}
SENDS_ASYNC: dict[str, Callable[[RedisChannelLayer], Awaitable[object]]] = {
    "send": lambda layer: layer.send_async("jobs", {}),
    "send_group": lambda layer: layer.send_group_async("g", {}),
    "receive": lambda layer: layer.receive_async(["jobs"]),
}


def test_what_a_program_sends_arrives_though_a_firewall_forgot_its_connection(
    own_redis: RedisServer, layer: RedisChannelLayer
) -> None:
    firewall = Firewall(own_redis.port, idle=0.8)
    users = {name: RedisChannelLayer(hosts=[f"{firewall.url}?socket_timeout=1"]) for name in SENDS}

    async def use_async() -> None:
        sharing = {name: RedisChannelLayer(hosts=[f"{firewall.url}?socket_timeout=1"]) for name in SENDS_ASYNC}
        for name, user in sharing.items():
            await SENDS_ASYNC[name](user)
        await asyncio.sleep(IDLE)
        for name, user in sharing.items():
            await SENDS_ASYNC[name](user)
            await user.close_async()

    try:
        for name, user in users.items():
            SENDS[name](user)
        time.sleep(IDLE)
        for name, user in users.items():
            SENDS[name](user)
        layer.flush()
        for _ in range(4):
            layer.send("jobs", {})
        asyncio.run(use_async())
    finally:
        for user in users.values():
            user.close()
        firewall.close()


def test_what_a_program_sends_arrives_though_a_firewall_forgot_its_connection_to_one_of_its_shards(
    own_redis: RedisServer,
) -> None:
    """The other shard is in use meanwhile, and has the group."""
    other = RedisServer()
    other.start()
    firewall = Firewall(other.port, idle=0.8)
    try:
        hosts = [own_redis.url, f"{firewall.url}?socket_timeout=1"]
        sync, on_loop = RedisChannelLayer(hosts=hosts), RedisChannelLayer(hosts=hosts)
        _, routes = sync._known()
        group = next(name for name in map(str, range(100)) if routes.pin(name) == 0)
        channel = next(name for name in (f"c?{number}" for number in range(100)) if routes.pin(name) == 1)
        sync.group_add(group, channel)

        async def main() -> None:
            for idle in (IDLE, 0.0):
                sync.send_group(group, {})
                await on_loop.send_group_async(group, {})
                end = time.monotonic() + idle
                while time.monotonic() < end:
                    assert sync.group_count(group) == await on_loop.group_count_async(group) == 1
                    time.sleep(0.1)
            await on_loop.close_async()

        asyncio.run(main())
        assert other.command("LLEN", f"asgi:{{1}}:queue:{channel}") == ":4"
        sync.close()
    finally:
        firewall.close()
        other.close()


def test_what_coroutines_send_arrives_though_their_busy_loop_did_not_see_the_end_of_their_connection(
    own_redis: RedisServer, layer: RedisChannelLayer
) -> None:
    async def main() -> None:
        for act in SENDS_ASYNC.values():
            for _ in range(2):
                layer.send("jobs", {})  # for the one that receives
            await act(layer)
            own_redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(0.05)  # the event loop is busy meanwhile
            await act(layer)
        await layer.close_async()

    asyncio.run(main())


class CountingLayer(ChannelLayer):
    """Counts the round trips that carry nothing."""

    probes = 0

    def connect(self) -> Connection:
        connection = super().connect()
        write = connection.write

        def count(steps: Sequence[Step]) -> None:
            self.probes += any(isinstance(step, Length) for step in steps)
            write(steps)

        connection.write = count  # type: ignore[method-assign]
        return connection


@pytest.mark.parametrize(("seconds", "probes"), [(0.0, 0), (0.05, 0), (scaled(1.2), 1)])
def test_only_a_long_pause_costs_a_round_trip(seconds: float, probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PROBE_AFTER", scaled(1.0))

    def consumer(message: Message) -> None:
        time.sleep(seconds)
        Channel("answers", channel_layer=message.channel_layer).send({})

    layer = CountingLayer()
    with running(make_worker(layer, {"test": consumer})):
        for _ in range(1 if probes else 10):
            layer.send("test", {})
            drain(layer, "answers", 1)
    assert layer.probes == probes
