"""One Redis under faults, with numbered messages: nothing twice, nothing lost that `docs/delivery.md` does not name."""

from __future__ import annotations

import time

import pytest

from channels_classic.exceptions import StepRefused
from channels_classic.layers.names import new_inbox
from channels_classic.layers.steps import Heartbeat, Join, Leave, Length, Lookup, MemberCount
from tests.faults.conftest import Make
from tests.faults.traffic import BATCH, LONG, TOTAL, Traffic
from tests.support.redis_server import RedisServer

KILLS = 40 if LONG else 15
READERS, SENDERS = 2, 2


def waiting(server: RedisServer) -> int:
    return int(server.command("LLEN", "asgi:{0}:queue:jobs")[1:])


def test_a_killed_server_loses_what_it_held_and_no_more(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        before = set(traffic.accepted)
        server.stop()
        server.start()
        back = time.monotonic()
        traffic.works_again(back)
    # What waited is the end of what was accepted; of what came before, each reader may have had a batch on its way.
    assert max(traffic.missing, default=0) <= max(before) + SENDERS
    last = max(before & set(traffic.received)) - SENDERS
    assert sum(number < last for number in traffic.missing) <= READERS * BATCH
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS)


def test_a_stopped_server_costs_only_what_was_under_way(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        server.pause()
        time.sleep(2.5)  # longer than the layers' timeouts
        server.resume()
        traffic.works_again(time.monotonic())
    # Each broken connection may have had a take or a send that the server carries out when it goes on.
    traffic.check(most_missing=READERS * BATCH * 4, most_unknown=SENDERS * 4)


def test_a_flush_loses_what_waited(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        for _ in range(5):
            server.flush()
            traffic.works_again(time.monotonic())
    traffic.check(most_missing=TOTAL // 3, most_unknown=0)


def test_cut_connections_cost_one_batch_or_one_send_each(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        for _ in range(KILLS):
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(0.01)  # so that some meet a send or a take in the middle
        traffic.works_again(time.monotonic())
    traffic.check(most_missing=KILLS * READERS * BATCH, most_unknown=KILLS * SENDERS)


def test_a_server_without_memory_refuses_sends_and_loses_nothing(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        server.command("CONFIG", "SET", "maxmemory", "1")
        sender = make_layer()
        with pytest.raises(StepRefused, match="Raise `maxmemory`") as refused:
            sender.send("jobs", {"number": -1})
        assert not refused.value.foreign
        sender.close()
        server.command("CONFIG", "SET", "maxmemory", "0")
        traffic.works_again(time.monotonic())
    traffic.check()


def test_a_server_without_memory_hands_out_what_waits_and_keeps_inboxes_alive(
    server: RedisServer, make_layer: Make
) -> None:
    """Otherwise a full server could not become empty, and groups would forget their members."""
    layer = make_layer()
    layer.send("jobs", {"number": 1})
    layer.run([Join("room", "web!", ["web!a", "web!b"])])
    server.command("CONFIG", "SET", "maxmemory", "1")
    newcomer = make_layer()
    assert newcomer.receive(["jobs"])[1] == {"number": 1}
    (epochs,) = newcomer.run([Heartbeat("web!")])
    newcomer.run([Heartbeat("web!", epochs), Leave("room", "web!", ["web!a"])])
    number, audience = newcomer.run([MemberCount("room", "web!"), Lookup("room")])
    assert number == 1
    assert list(audience.inboxes) == ["web!"]
    for each in (layer, newcomer):
        each.close()


def test_a_server_without_memory_refuses_a_message_for_a_group_as_a_whole(
    server: RedisServer, make_layer: Make
) -> None:
    layer, inboxes = make_layer(), [new_inbox() for _ in range(3)]
    layer.run([step for inbox in inboxes for step in (Heartbeat(inbox), Join("room", inbox, ["client"]))])
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StepRefused, match="maxmemory"):
        layer.send_group("room", {"number": 1})
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert layer.run([Length(inbox) for inbox in inboxes]) == [0, 0, 0]
    layer.send_group("room", {"number": 2})
    assert layer.run([Length(inbox) for inbox in inboxes]) == [1, 1, 1]
    layer.close()


def test_scripts_that_are_flushed_again_and_again_lose_nothing(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        for _ in range(KILLS):
            server.command("SCRIPT", "FLUSH")
            time.sleep(0.01)  # so that they are loaded in between
    # A sender that meets a second flush while it loads them again is refused, and sends once more.
    traffic.check()


def test_a_restart_from_an_old_snapshot_delivers_nothing_again(server: RedisServer, make_layer: Make) -> None:
    traffic = Traffic(make_layer)
    parked = park(traffic, make_layer)
    server.command("SAVE")
    traffic.channels.append("parked")
    with traffic.running():
        server.stop()
        server.start()
        assert server.command("LLEN", "asgi:{0}:queue:parked") == f":{len(parked)}"
        traffic.works_again(time.monotonic())
        wait_until_drained(server, "parked")
    assert traffic.lost("fenced") >= len(parked)
    assert all(traffic.received[number] == 1 for number in parked)
    traffic.accepted -= parked
    for number in parked:
        del traffic.received[number]
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS)


def park(traffic: Traffic, make_layer: Make) -> set[int]:
    """Messages that are certain to be stored when the copy is made, and taken before it comes back."""
    layer = make_layer()
    numbers = set(range(1_000_000, 1_000_050))
    for number in numbers:
        assert traffic.send(layer, number, "parked")
    layer.close()
    return numbers


def wait_until_drained(server: RedisServer, channel: str) -> None:
    deadline = time.monotonic() + 10
    while server.command("EXISTS", f"asgi:{{0}}:queue:{channel}") != ":0":
        assert time.monotonic() < deadline
        time.sleep(0.02)
