"""The methods of every layer on the steps of one, by threads, event loops and child processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from channels_classic.layers.base import BLOCK, BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.steps import AsyncConnection, Connection
from tests.layers.hosts import HostThread, folder
from tests.support.processes import Process
from tests.support.waiting import eventually, eventually_async


class Counting(LocalChannelLayer):
    """Counts the connections that are opened."""

    opened = 0

    def connect(self) -> Connection:
        self.opened += 1
        return super().connect()

    async def connect_async(self) -> AsyncConnection:
        self.opened += 1
        return await super().connect_async()


@pytest.fixture
def host() -> Iterator[HostThread]:
    with folder() as name:
        host = HostThread(f"{name}/layer.sock")
        yield host
        host.stop()


@pytest.fixture
def client(host: HostThread) -> Iterator[Counting]:
    client = Counting(host.layer.path)
    yield client
    client.close()


def connections(host: HostThread) -> int:
    assert host.layer.host is not None
    return len(host.layer.host.sessions)


def test_one_thread_uses_one_connection_again_and_again(client: Counting) -> None:
    for _ in range(5):
        client.send("chat", {})
        client.receive(["chat"])
    assert client.opened == 1


def test_threads_share_connections_but_never_at_once(client: Counting) -> None:
    def work(number: int) -> None:
        for _ in range(20):
            client.send(f"own.{number}", {"number": number})
            assert client.receive([f"own.{number}"]) == (f"own.{number}", {"number": number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert 1 <= client.opened <= 4


def test_closing_lets_go_of_all_and_the_layer_works_on(host: HostThread, client: Counting) -> None:
    client.send("chat", {})
    client.close()
    eventually(lambda: connections(host) == 0)
    assert client.receive(["chat"]) == ("chat", {})


def test_an_error_in_what_is_sent_costs_no_connection(client: Counting) -> None:
    client.send("chat", {})
    with pytest.raises(TypeError):
        client.send("chat", {"value": object()})
    client.receive(["chat"])
    assert client.opened == 1


def test_coroutines_that_begin_together_share_one_connection(host: HostThread, client: Counting) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(client.send_async(f"chat.{number}", {}) for number in range(10)))
        await eventually_async(lambda: connections(host) == 1)
        await client.close_async()

    asyncio.run(scenario())
    eventually(lambda: connections(host) == 0)


def test_each_event_loop_has_a_connection_of_its_own(host: HostThread, client: Counting) -> None:
    async def scenario() -> None:
        await client.send_async("chat", {})
        await client.close_async()

    for _ in range(3):
        asyncio.run(scenario())
    assert client.opened == 3
    eventually(lambda: connections(host) == 0)


def test_a_reader_on_an_event_loop_holds_nobody_up(client: Counting) -> None:
    async def scenario() -> Any:
        reading = asyncio.ensure_future(client.receive_async(["quiet"]))
        await asyncio.wait_for(client.send_async("other", {}), BLOCK - 1)
        await client.send_async("quiet", {"value": 1})
        received = await asyncio.wait_for(reading, BLOCK - 1)
        await client.close_async()
        return received

    assert asyncio.run(scenario()) == ("quiet", {"value": 1})


def test_a_child_does_not_use_the_connections_of_its_parent(layer: BaseChannelLayer) -> None:
    if isinstance(layer, ChannelLayer):
        pytest.skip("the memory layer ends at the process")
    layer.send("chat", {"value": "before"})
    layer.receive(["chat"])
    program = f"""
import os
from {type(layer).__module__} import {type(layer).__name__} as Layer
layer = Layer(**{_config(layer)!r})
layer.send("warm.up", {{}})
child = os.fork()
for number in range(200):
    layer.send("parent" if child else "child", {{"number": number}})
    assert layer.receive(["parent" if child else "child"])[1] == {{"number": number}}
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
else:
    os._exit(0)
"""
    with Process([sys.executable, "-c", program]) as process:
        assert process.wait() == 0, process.output


def _config(layer: BaseChannelLayer) -> dict[str, Any]:
    if isinstance(layer, LocalChannelLayer):
        return {"path": layer.path}
    return {"hosts": layer.hosts}  # type: ignore[attr-defined]  # the Redis layer
