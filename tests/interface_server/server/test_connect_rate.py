"""The limit on handshakes per second: the turns, and real handshakes beyond it."""

from __future__ import annotations

import re
import time

import pytest

from channels_classic.interface_server.server.connect_rate import MAX_WAIT, TOLERANCE, ConnectRate
from tests.interface_server.live import live
from tests.interface_server.server.test_limits import UPGRADE, read_all, statuses
from tests.support.waiting import eventually


@pytest.mark.parametrize("rate", [0.7, 5.0, 100.0])
def test_no_second_has_more_turns_than_the_rate_allows(rate: float) -> None:
    limit = ConnectRate(rate)
    turns = []
    for step in range(10_000):  # ten seconds of a herd
        now = step / 1000
        delay = limit.reserve(now)
        if delay is not None:
            assert 0 <= delay <= MAX_WAIT
            turns.append(now + delay)
    assert turns == sorted(turns)
    for begin in turns:
        assert sum(begin <= turn < begin + 1 for turn in turns) <= rate * (1 + TOLERANCE) + 1
    assert limit.refused == 10_000 - len(turns) > 0


def test_handshakes_below_the_rate_do_not_wait() -> None:
    limit = ConnectRate(10.0)
    assert [limit.reserve(number / 9) for number in range(100)] == [0.0] * 100
    assert (limit.waited, limit.refused) == (0, 0)


def test_a_rate_that_was_not_used_is_not_saved_up() -> None:
    limit = ConnectRate(10.0)
    assert limit.reserve(0.0) == 0.0
    delays = [limit.reserve(1000.0) for _ in range(20)]
    assert delays.count(0.0) <= 10 * TOLERANCE + 1


def test_handshakes_wait_for_their_turn_and_further_ones_get_503(caplog: pytest.LogCaptureFixture) -> None:
    # Two turns: now, and two seconds later. A third is there only for a client that comes another two seconds later.
    with live(limits={"connect_rate": 0.5}) as server:
        begun = time.monotonic()
        clients = [server.raw() for _ in range(12)]
        for client in clients:
            client.sendall(UPGRADE)
        for _ in range(2):
            server.consume("websocket.connect", {"accept": False})
        assert time.monotonic() - begun > 1.5
        answers = [read_all(client) for client in clients]
        assert sorted(statuses(answer)[0] for answer in answers) == [403] * 2 + [503] * 10
        assert all(b"\r\nretry-after: 5\r\n" in answer for answer in answers if b" 503 " in answer)
        for client in clients:
            client.close()
        assert server.has_none("websocket.connect")
    assert len(re.findall("A handshake was refused with 503: more than 0.5 a second", caplog.text)) == 1


def test_a_client_that_leaves_while_it_waits_costs_no_consumer() -> None:
    with live(limits={"connect_rate": 1.0}) as server:
        first, second = server.raw(), server.raw()
        first.sendall(UPGRADE)
        server.take("websocket.connect")
        second.sendall(UPGRADE)
        connections = server.connections
        eventually(lambda: len(connections) == 2)
        second.close()
        eventually(lambda: len(connections) == 1)
        third = server.raw()
        third.sendall(UPGRADE)
        assert server.consume("websocket.connect", {"accept": False})["client"][1] == third.getsockname()[1]
        first.close()
        third.close()


def test_handshakes_of_one_turn_of_a_busy_loop_do_not_wait_for_each_other() -> None:
    limit = ConnectRate(100.0)
    assert [limit.reserve(50.0) for _ in range(9)] == [0.0] * 9
    delays = [limit.reserve(50.0) for _ in range(9)]
    assert delays[-1] == pytest.approx(0.07)


def test_clients_that_a_server_sends_away_leave_half_of_the_rate_to_others() -> None:
    assert ConnectRate(100).seconds_for(500) == 10.0
