"""The local layer: its host, its clients, and what happens when either ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.codec import decode
from channels_classic.layers.local import LocalChannelLayer, wire
from channels_classic.layers.local import client as client_module
from channels_classic.layers.local.address import socket_address
from channels_classic.layers.local.claim import Claim, claim
from channels_classic.layers.local.client import SocketConnection
from channels_classic.layers.local.host import WRITE_BUFFER
from channels_classic.layers.local.wire import encode_step
from channels_classic.layers.losses import Losses
from channels_classic.layers.names import new_inbox
from channels_classic.layers.steps import Entry, Heartbeat, Join, Length, Publish, Push, Take
from tests.layers.hosts import HostThread, folder, host_process
from tests.support.processes import Process
from tests.support.waiting import eventually, scaled

SOON = scaled(1.0)
"""Seconds within which clients find a new host, or notice that the old one is gone."""


@pytest.fixture(params=["file", "abstract"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address of either kind that nobody hosts yet."""
    with folder() as name:
        yield f"{name}/layer.sock" if request.param == "file" else f"@{name}"


@pytest.fixture
def file_path() -> Iterator[str]:
    """The path of a file that nobody hosts yet."""
    with folder() as name:
        yield f"{name}/layer.sock"


@pytest.fixture
def host(path: str) -> Iterator[HostThread]:
    """A host in this process."""
    host = HostThread(path)
    yield host
    host.stop()


@pytest.fixture
def client(path: str) -> Iterator[LocalChannelLayer]:
    """The layer as another process has it."""
    client = LocalChannelLayer(path)
    yield client
    client.close()


@pytest.fixture
def raw(host: HostThread, path: str) -> Iterator[socket.socket]:
    """A connection to the host that may write what no client writes."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(scaled(5))
        raw.connect(socket_address(path))
        yield raw


# Who hosts


def test_of_many_that_start_at_once_one_hosts(path: str, client: LocalChannelLayer) -> None:
    for _ in range(2):
        servers = [host_process(path) for _ in range(4)]
        said = [server.wait_for_line("hosts|is a client") for server in servers]
        assert sorted(said) == ["hosts", "is a client", "is a client", "is a client"]
        client.send("chat", {"value": 1})
        for server in servers:
            server.kill()


def test_a_second_interface_server_is_a_client_of_the_first(host: HostThread, path: str) -> None:
    second = HostThread(path)
    assert second.layer.host is None
    second.run(second.layer.send_async("chat", {"value": 1}))
    assert host.layer.receive(["chat"]) == ("chat", {"value": 1})
    second.stop()
    host.layer.send("chat", {"value": 2})
    assert host.layer.receive(["chat"]) == ("chat", {"value": 2}), "the client that stops takes nothing with it"


def test_starting_twice_is_starting_once(host: HostThread, client: LocalChannelLayer) -> None:
    client.send("chat", {"value": 1})
    host.run(host.layer.start())
    assert client.receive(["chat"]) == ("chat", {"value": 1})


def test_the_host_uses_the_store_without_a_socket(host: HostThread, client: LocalChannelLayer) -> None:
    host.layer.send("chat", {"value": 1})
    assert client.receive(["chat"]) == ("chat", {"value": 1})
    client.send("chat", {"value": 2})
    assert host.run(host.layer.receive_async(["chat"])) == ("chat", {"value": 2})
    assert len(host.layer.host.sessions) == 1  # type: ignore[union-attr]  # it hosts


def test_a_thread_of_the_host_wakes_a_client_that_waits(host: HostThread, client: LocalChannelLayer) -> None:
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(client.receive, ["chat"], True)
        eventually(lambda: host.layer.host.store._watches)  # type: ignore[union-attr]  # it hosts
        began = time.monotonic()
        host.layer.send("chat", {"value": 1})
        assert received.result(scaled(5)) == ("chat", {"value": 1})
        assert time.monotonic() - began < SOON


def test_what_a_dead_host_left_is_no_obstacle(path: str, client: LocalChannelLayer) -> None:
    with host_process(path) as first:
        first.wait_for_line("hosts")
        first.kill()
    with host_process(path) as second:
        second.wait_for_line("hosts")
        client.send("chat", {"value": 1})


def test_a_host_that_stops_leaves_its_place(path: str, client: LocalChannelLayer) -> None:
    first = HostThread(path)
    client.send("chat", {"value": "lost with the host"})
    first.stop()
    assert path.startswith("@") or not Path(path).exists()
    second = HostThread(path)
    assert second.layer.host is not None
    assert client.receive(["chat"]) == (None, None)
    second.stop()


def test_the_files_are_for_their_user_alone(file_path: str) -> None:
    host = HostThread(file_path)
    assert os.stat(file_path).st_mode & 0o077 == 0
    assert os.stat(f"{file_path}.lock").st_mode & 0o077 == 0
    host.stop()


def test_files_that_a_cleaner_removed_are_made_again(file_path: str) -> None:
    with host_process(file_path) as host:
        host.wait_for_line("hosts")
        client = LocalChannelLayer(file_path)
        client.send("chat", {"value": 1})
        os.unlink(file_path)
        os.unlink(f"{file_path}.lock")
        eventually(lambda: Path(file_path).exists() and Path(f"{file_path}.lock").exists(), timeout=10)
        with host_process(file_path) as second:
            second.wait_for_line("is a client")
        other = LocalChannelLayer(file_path)
        assert other.receive(["chat"]) == ("chat", {"value": 1}), "nothing was lost"
        other.close()
        client.close()


def test_a_host_whose_files_were_taken_over_becomes_a_client(file_path: str) -> None:
    first = HostThread(file_path)
    first_claim = claim_after_removal(file_path)
    eventually(lambda: first.layer.host is None, timeout=10)
    first_claim.release()
    first.stop()


def test_a_layer_that_is_stopped_while_it_gives_way_leaves_nothing_behind(file_path: str) -> None:
    async def main() -> None:
        layer = LocalChannelLayer(file_path)
        await layer.start()
        other_claim = claim_after_removal(file_path)
        while layer.host is not None:
            await asyncio.sleep(0)
        await layer.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        other_claim.release()

    asyncio.run(main())


def test_a_host_that_was_superseded_uses_the_store_of_its_successor(file_path: str) -> None:
    first = HostThread(file_path)
    kept = first.run(first.layer.connect_async())
    waiting = asyncio.run_coroutine_threadsafe(kept.run([Take(["chat"], 1, 60.0)]), first.loop)
    first.layer.send("kept", {})  # its pool has a connection now
    other_claim = claim_after_removal(file_path)
    eventually(lambda: first.layer.host is None, timeout=10)
    with pytest.raises(LayerUnavailable, match="another process hosts it"):
        waiting.result(scaled(10))
    assert not kept.usable()
    other_claim.release()
    with host_process(file_path) as successor:
        assert successor.wait_for_line("hosts|is a client") == "hosts"
        first.layer.send("chat", {"value": 1})
        client = LocalChannelLayer(file_path)
        assert client.receive(["chat"]) == ("chat", {"value": 1})
        client.close()
        first.stop()


def claim_after_removal(path: str) -> Claim:
    """Remove the files of a host and claim its path before it notices."""

    def attempt() -> Claim | None:
        for name in (path, f"{path}.lock"):
            with suppress(FileNotFoundError):
                os.unlink(name)
        return claim(path)

    taken = eventually(attempt)  # it may look between the two steps, and make its files again
    assert taken is not None
    return taken


def test_a_child_of_the_host_is_a_client_and_does_not_hold_its_place(path: str) -> None:
    program = """
import asyncio, os, sys, time
from channels_classic.layers.local import LocalChannelLayer

async def main():
    layer = LocalChannelLayer(sys.argv[1])
    await layer.start()
    await layer.send_async("before", {})
    if os.fork() == 0:
        # Another event loop than the parent's, as programs that fork have.
        assert layer.host is None
        layer.send("from.the.child", {"value": 1})
        time.sleep(30)
        os._exit(0)
    await layer.receive_async(["from.the.child"])
    print("took it", flush=True)
    await asyncio.sleep(30)

asyncio.run(main())
"""
    with Process([sys.executable, "-c", program, path]) as parent:
        parent.wait_for_line("took it")
        parent.send_signal(signal.SIGKILL)
        eventually(lambda: not parent.running)
        with pytest.raises(LayerUnavailable):
            LocalChannelLayer(path).send("chat", {})
        with host_process(path) as next_host:
            assert next_host.wait_for_line("hosts|is a client") == "hosts"


# Without a host


def test_a_send_without_a_host_says_how_to_start_one(client: LocalChannelLayer, path: str) -> None:
    with pytest.raises(LayerUnavailable, match="runinterface") as caught:
        client.send("chat", {})
    assert caught.value.where == path
    for act in (lambda: client.receive(["chat"]), lambda: client.group_add("g", "chat"), client.flush):
        with pytest.raises(LayerUnavailable):
            act()
    with pytest.raises(LayerUnavailable, match="runinterface") as caught:
        asyncio.run(client.send_async("chat", {}))
    assert not caught.value.written


def test_a_connection_whose_host_is_gone_says_that_nothing_was_written(path: str, client: LocalChannelLayer) -> None:
    async def scenario() -> None:
        await client.send_async("chat", {})
        first.stop()
        with pytest.raises(LayerUnavailable) as caught:
            await client.send_async("chat", {})
        assert not caught.value.written
        await client.close_async()

    first = HostThread(path)
    asyncio.run(scenario())


def test_a_group_send_reaches_the_clients_of_a_host_that_does_not_know_its_step(
    host: HostThread, client: LocalChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host of an earlier release: interface servers run for months."""
    code, _ = wire._SHAPES[Publish]
    monkeypatch.delitem(wire._KINDS, code)
    inbox = new_inbox()
    client.run([Heartbeat(inbox), Join("room", inbox, ["me"])])
    client.send_group("room", {"text": "x"})
    (taken,) = client.run([Take([inbox], 9)])
    assert [decode(item.payload)[3] for item in taken.items] == [{"text": "x"}]


def test_a_group_send_without_a_host_reaches_nobody(
    client: LocalChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    client.send_group("readers", {"value": 1})
    asyncio.run(client.send_group_async("readers", {"value": 1}))
    assert [record.levelno for record in caplog.records] == [logging.WARNING], "once per interval"
    assert "readers" in caplog.text and "runinterface" in caplog.text
    assert client.losses.as_dict() == {"unhosted": 2}


def test_a_name_that_is_none_is_refused_with_or_without_a_host(client: LocalChannelLayer) -> None:
    with pytest.raises(TypeError):
        client.send("not valid", {})
    with pytest.raises(TypeError):
        client.send_group("not valid", {})


# The host dies


def test_another_interface_server_takes_the_place_of_a_host_that_was_killed(path: str) -> None:
    with host_process(path) as first:
        first.wait_for_line("hosts")
        second = HostThread(path)
        assert second.layer.host is None
        second.run(second.layer.send_async("chat", {"value": "lost with the host"}))
        first.kill()
    eventually(lambda: _sent_in(second), timeout=5)
    client = LocalChannelLayer(path)
    assert client.receive(["chat"]) == ("chat", {"value": "new"})
    assert second.layer.host is not None
    client.close()
    second.stop()


def _sent_in(host: HostThread) -> bool:
    """Send on the event loop of an interface server that has to notice first that its host is gone."""
    try:
        host.run(host.layer.send_async("chat", {"value": "new"}))
    except LayerUnavailable:
        return False
    return True


def test_a_thread_of_an_interface_server_has_it_take_the_place_too(path: str) -> None:
    first, second = HostThread(path), HostThread(path)
    first.stop()
    second.layer.send("chat", {"value": "new"})
    assert second.layer.host is not None
    second.stop()


def test_a_stranger_at_the_address_is_not_believed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = HostThread(path)
    monkeypatch.setattr(client_module, "user_of_peer", lambda connection: 12345)
    with pytest.raises(LayerUnavailable, match="a process of user 12345 listens there"):
        LocalChannelLayer(path).send("chat", {})
    host.stop()


def test_clients_notice_at_once_that_the_host_was_killed_and_find_the_next(
    path: str, client: LocalChannelLayer
) -> None:
    with host_process(path) as first:
        first.wait_for_line("hosts")
        client.send("chat", {"value": "lost with the host"})
        client.receive(["chat"])
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.receive, ["chat"], True)
            other = LocalChannelLayer(path)
            eventually(lambda: other.run([Length("chat")]) == [0])
            first.kill()
            began = time.monotonic()
            with pytest.raises(LayerUnavailable):
                waiting.result(scaled(5))
            assert time.monotonic() - began < SOON
    with pytest.raises(LayerUnavailable):
        other.send("chat", {})
    with host_process(path) as second:
        second.wait_for_line("hosts")
        began = time.monotonic()
        for layer in (client, other):
            layer.send("chat", {"value": "new"})
            assert layer.receive(["chat"]) == ("chat", {"value": "new"})
        assert time.monotonic() - began < SOON
    other.close()


def test_a_client_that_was_idle_does_not_notice_that_the_host_changed(path: str, client: LocalChannelLayer) -> None:
    async def scenario() -> None:
        await client.send_async("chat", {"value": 1})
        first.stop()
        second = HostThread(path)
        try:
            await asyncio.sleep(0)
            client.send("chat", {"value": 2})
            await client.send_async("chat", {"value": 3})
        finally:
            await client.close_async()
            second.stop()

    first = HostThread(path)
    client.send("chat", {"value": 1})
    asyncio.run(scenario())


def test_a_host_that_does_not_answer_is_given_up(
    path: str, client: LocalChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_classic.layers.local.client.ANSWER_TIMEOUT", 0.2)
    with host_process(path) as stuck:
        stuck.wait_for_line("hosts")
        stuck.send_signal(signal.SIGSTOP)
        with pytest.raises(LayerUnavailable, match="has not answered"):
            client.send("chat", {})
        with pytest.raises(LayerUnavailable, match="has not answered"):
            asyncio.run(client.send_async("chat", {}))
        stuck.send_signal(signal.SIGCONT)


# Clients that misbehave


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01",
        b"\x91\xa1x",
        b"\x94\x01\xa4chat\x91\x94\xa1x\xcb\x40\x4e\x00\x00\x00\x00\x00\x00\xa0\xc0\xc2",
    ],
    ids=["no msgpack", "http", "no list", "no code", "an entry of text"],
)
def test_a_client_that_writes_nonsense_is_dropped_and_others_are_not(
    data: bytes, raw: socket.socket, client: LocalChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    client.send("chat", {"value": 1})
    raw.sendall(data)
    assert _read_all(raw) == b""
    eventually(lambda: "wrote an invalid step" in caplog.text)
    assert client.receive(["chat"]) == ("chat", {"value": 1})


def test_a_step_of_a_later_release_is_refused_in_its_place(host: HostThread, path: str) -> None:
    connection = SocketConnection(path, Losses())
    connection.write([Length("chat")])
    connection._socket.sendall(b"\x92\x63\xa4chat")  # step 99
    connection._unread.append(Length("chat"))
    connection.write([Length("chat")])
    assert connection.read() == 0
    assert isinstance(connection.read(), StepRefused)
    assert connection.read() == 0
    connection.close()


def test_a_process_of_another_user_is_refused(
    host: HostThread, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(scaled(5))
        stranger.connect(socket_address(path))
        assert _read_all(stranger) == b""
    assert "another user" in caplog.text


def test_a_client_that_does_not_read_stops_only_itself(
    host: HostThread, raw: socket.socket, client: LocalChannelLayer
) -> None:
    number, size = 100, WRITE_BUFFER // 10
    client.run([Push("large", [Entry(b"x" * size, 60.0) for _ in range(number)])])
    raw.sendall(encode_step(Take(["large"], 1)) * number)
    left = eventually(lambda: _settled(lambda: client.run([Length("large")])[0]))
    assert 0 < left < number, "what it does not read stays in the store"
    client.send("chat", {"value": 1})
    assert client.receive(["chat"]) == ("chat", {"value": 1})
    got = 0
    while got < number * size:
        got += len(raw.recv(1024 * 1024))
    assert client.run([Length("large")]) == [0]


def test_a_client_that_ends_while_it_waits_takes_nothing_with_it(
    host: HostThread, raw: socket.socket, client: LocalChannelLayer
) -> None:
    store = host.layer.host.store  # type: ignore[union-attr]  # it hosts
    raw.sendall(encode_step(Take(["chat"], 1, 30.0)))
    eventually(lambda: "chat" in store._watches)
    raw.close()
    eventually(lambda: "chat" not in store._watches)
    client.send("chat", {"value": 1})
    assert client.receive(["chat"]) == ("chat", {"value": 1})


# Many processes


def test_readers_in_many_processes_get_each_message_exactly_once(host: HostThread, path: str) -> None:
    program = """
import sys
from channels_classic.layers.local import LocalChannelLayer

layer = LocalChannelLayer(sys.argv[1])
print("reads", flush=True)
while True:
    channel, message = layer.receive(["work", "stop"], True)
    if channel == "stop":
        break
    if message is not None:
        print("took", message["number"], flush=True)
"""
    readers = [Process([sys.executable, "-c", program, path]) for _ in range(3)]
    for reader in readers:
        reader.wait_for_line("reads")

    def write(first: int) -> None:
        layer = LocalChannelLayer(path, capacity=1000)
        for number in range(first, first + 100):
            layer.send("work", {"number": number})
        layer.close()

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    eventually(lambda: sum(reader.output.count("took") for reader in readers) == 300)
    for _ in readers:
        host.layer.send("stop", {})
    assert [reader.wait() for reader in readers] == [0, 0, 0]
    took = [int(line.split()[1]) for reader in readers for line in reader.output.splitlines() if "took" in line]
    assert sorted(took) == list(range(300))


def _read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    try:
        while part := connection.recv(4096):
            data += part
    except ConnectionResetError:
        pass
    return data


def _settled(look: Any) -> Any:
    """Return the value of `look` once it has stayed the same for a while."""
    seen = [look()]
    for _ in range(10):
        time.sleep(0.01)
        seen.append(look())
    return seen[-1] if len(set(seen)) == 1 else None


def test_a_second_interface_server_on_uvloop_is_a_client_too(host: HostThread, path: str) -> None:
    second = HostThread(path, uvloop.new_event_loop)
    assert second.layer.host is None
    large = {"body": b"x" * 3_000_000}
    second.run(second.layer.send_async("chat", large))
    assert second.run(second.layer.receive_async(["chat"])) == ("chat", large)
    second.stop()


def test_a_client_that_waits_learns_at_once_that_another_process_hosts(
    host: HostThread, client: LocalChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    connection = client.connect()
    connection.write([Take(["jobs"], 1, 30.0)])
    other = client.connect()
    other.write([Length("jobs")])
    assert other.read() == 0
    assert host.layer.host is not None
    host.loop.call_soon_threadsafe(host.layer.host.store.end, LayerUnavailable("here", "it ended", "Go on."))
    began = time.monotonic()
    with pytest.raises(LayerUnavailable):
        connection.read()
    assert time.monotonic() - began < SOON
    assert "Exception in callback" not in caplog.text
    other.close()
