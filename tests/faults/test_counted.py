"""Faults at a known moment, with numbered messages: what is lost is exactly what `docs/delivery.md` says.

`test_server.py` has the same faults in full flight, where only a bound can be told.
"""

from __future__ import annotations

import time

from tests.faults.conftest import Make
from tests.faults.test_server import READERS, SENDERS, waiting
from tests.faults.traffic import BATCH, TOTAL, Traffic
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

PILE = TOTAL // 5
"""Messages that wait when the fault comes, at least."""


def freeze(server: RedisServer) -> int:
    """Let everybody's next send and take stand before the server, and not be carried out; gives how many wait."""
    server.command("CLIENT", "PAUSE", "60000", "WRITE")
    eventually(lambda: int(server.info("clients")["blocked_clients"]) == READERS + SENDERS)
    return waiting(server)


def test_a_killed_server_loses_exactly_what_waited_in_it(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        held = traffic.pile_up(PILE)
        assert waiting(server) == held
        server.stop()
        server.start()
        traffic.go_on()
    traffic.check_exactly(missing=held)


def test_a_server_killed_before_it_did_what_was_asked_loses_what_waited_and_each_of_these_sends(
    server: RedisServer, make_layer: Make
) -> None:
    with Traffic(make_layer).running() as traffic:
        held = freeze(server)
        assert len(traffic.missing) == held
        server.stop()
        server.start()
    traffic.check_exactly(missing=held, unknown=SENDERS)
    assert not traffic.unknown & set(traffic.received)


def test_connections_cut_before_the_server_did_what_was_asked_cost_each_of_these_sends_and_no_more(
    server: RedisServer, make_layer: Make
) -> None:
    with Traffic(make_layer).running() as traffic:
        freeze(server)
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        server.command("CLIENT", "UNPAUSE")
    traffic.check_exactly(missing=0, unknown=SENDERS)
    assert not traffic.unknown & set(traffic.received)


def test_a_server_that_goes_on_when_nobody_listens_does_what_was_asked_and_that_costs_a_batch_for_each_reader(
    server: RedisServer, make_layer: Make
) -> None:
    with Traffic(make_layer).running() as traffic:
        traffic.pile_up(READERS * BATCH)
        server.pause()
        traffic.go_on()
        eventually(lambda: len(traffic.unknown) == SENDERS and len(traffic.cut_off) == READERS, 10)
        server.resume()
    # The answers to a take and to a send of everybody found nobody: what was taken is lost, what was sent is not.
    traffic.check_exactly(missing=READERS * BATCH, unknown=SENDERS)
    assert traffic.unknown <= set(traffic.received)


def test_a_flush_loses_exactly_what_waited(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        held = traffic.pile_up(PILE)
        server.flush()
        traffic.go_on()
    traffic.check_exactly(missing=held)


def test_a_restart_from_a_snapshot_loses_what_waited_and_fences_what_the_snapshot_held(
    server: RedisServer, make_layer: Make
) -> None:
    with Traffic(make_layer).running() as traffic:
        stored = traffic.pile_up(PILE)
        in_snapshot = traffic.missing
        server.command("SAVE")
        traffic.go_on()
        eventually(lambda: in_snapshot <= set(traffic.received))
        held = traffic.pile_up(PILE // 2)
        server.stop()
        server.start()
        assert waiting(server) == stored
        traffic.go_on()
    traffic.check_exactly(missing=held, fenced=stored)


def test_messages_that_nobody_takes_in_time_are_counted_one_by_one(server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        lasting = traffic.pile_up(1)
        traffic.set_expiry(0.2)
        held = traffic.pile_up(lasting + PILE)
        traffic.set_expiry(60.0)
        server.command("PERSIST", "asgi:{0}:queue:jobs")  # otherwise it goes as a whole, however slow this machine is
        time.sleep(0.25)  # the expiry
        traffic.go_on()
    traffic.check_exactly(missing=held - lasting, expired=held - lasting)
