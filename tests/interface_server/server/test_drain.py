"""The schedule of a drain, and what a server that drains does for those it serves."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from channels_classic.interface_server.server.drain import (
    MAX_BUSY,
    MAX_SLOWDOWN,
    MOST_WAITING,
    REASON,
    DrainSchedule,
    Pace,
)
from tests.interface_server.live import live
from tests.interface_server.server.test_limits import UPGRADE, open_socket, read_all, statuses
from tests.support.waiting import accepts_connections, eventually, scaled

SEED = 7


def always(_: int) -> bool:
    return True


def drained(
    schedule: DrainSchedule[int], until: float, is_idle: Callable[[int], bool] = always, tick: float = 0.05
) -> list[tuple[float, int]]:
    """Return when each socket was closed, up to a time."""
    found = []
    for turn in range(round(until / tick) + 1):
        found += [(turn * tick, socket) for socket in schedule.due(turn * tick, is_idle)]
    return found


def schedule_of(sockets: int, seconds: float) -> DrainSchedule[int]:
    schedule: DrainSchedule[int] = DrainSchedule(0.0, seconds, random.Random(SEED).shuffle)
    schedule.add(range(sockets))
    return schedule


@pytest.mark.parametrize(("sockets", "seconds"), [(1, 10.0), (3, 10.0), (100, 10.0), (5000, 30.0)])
def test_sockets_are_closed_evenly_over_the_time(sockets: int, seconds: float) -> None:
    found = drained(schedule_of(sockets, seconds), seconds)
    assert sorted(socket for _, socket in found) == list(range(sockets))
    gap = seconds / (sockets + 1)
    times = [when for when, _ in found]
    assert times[0] == pytest.approx(gap, abs=0.06)
    assert times[-1] == pytest.approx(seconds - gap, abs=0.06)
    assert all(later - earlier == pytest.approx(gap, abs=0.06) for earlier, later in pairwise(times))
    for second in range(int(seconds)):
        assert sum(second <= when < second + 1 for when in times) <= 1.2 * sockets / seconds + 1


def test_the_order_is_random() -> None:
    order = [socket for _, socket in drained(schedule_of(100, 1.0), 1.0)]
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)


def test_idle_sockets_are_closed_first() -> None:
    found = [socket for _, socket in drained(schedule_of(100, 10.0), 10.0, lambda socket: socket % 4 != 0)]
    assert len(found) == 100
    assert all(socket % 4 for socket in found[:75])


def test_a_socket_that_was_busy_is_closed_once_it_is_idle() -> None:
    schedule = schedule_of(4, 5.0)
    assert [socket for _, socket in drained(schedule, 1.0, lambda socket: socket == 2)] == [2]
    assert next(schedule.due(2.0, lambda socket: socket == 0)) == 0


def test_sockets_that_are_all_busy_are_closed_all_the_same_without_a_look_at_each() -> None:
    looks = 0

    def busy(_: int) -> bool:
        nonlocal looks
        looks += 1
        return False

    found = drained(schedule_of(5000, 30.0), 30.0, busy)
    assert len({socket for _, socket in found}) == 5000
    assert looks <= 5000 * MAX_BUSY


def test_sockets_that_are_added_later_share_the_time_that_is_left() -> None:
    schedule = schedule_of(10, 10.0)
    found = drained(schedule, 5.0)
    schedule.add([*range(10), 10, 11])
    found += drained(schedule, 10.0)
    assert sorted(socket for _, socket in found) == list(range(12))


def test_nothing_is_due_of_nothing() -> None:
    assert list(schedule_of(0, 1.0).due(100.0, always)) == []


def test_a_schedule_that_is_postponed_keeps_its_pace() -> None:
    schedule = schedule_of(99, 10.0)
    before = drained(schedule, 5.0)
    schedule.postpone(20.0)
    found = [when for when, _ in drained(schedule, schedule.end)]
    assert (len(before), len(found), schedule.end) == (50, 49, 30.0)
    assert found[0] == pytest.approx(25.1, abs=0.06)
    assert all(later - earlier == pytest.approx(0.1, abs=0.06) for earlier, later in pairwise(found))


def test_a_schedule_is_not_postponed_for_ever() -> None:
    schedule = schedule_of(10, 1.0)
    for _ in range(100):
        schedule.postpone(1.0)
    schedule.extend(100.0)
    assert schedule.end == MAX_SLOWDOWN


def test_a_schedule_is_extended_for_those_who_may_not_come_back_so_fast() -> None:
    schedule = schedule_of(99, 10.0)
    schedule.extend(5.0)
    assert schedule.end == 10.0
    schedule.extend(20.0)
    times = [when for when, _ in drained(schedule, 20.0)]
    assert len(times) == 99
    assert all(later - earlier == pytest.approx(0.2, abs=0.06) for earlier, later in pairwise(times))


def test_a_schedule_is_shortened_when_nobody_serves_those_that_wait() -> None:
    schedule = schedule_of(99, 10.0)
    schedule.postpone(20.0)  # while a successor served
    schedule.shorten(25.0)
    assert (schedule.end, len(drained(schedule, 25.0))) == (25.0, 99)
    schedule.shorten(30.0)
    assert schedule.end == 25.0


def test_a_schedule_whose_clients_all_come_back_is_soon_carried_out_as_planned() -> None:
    pace = Pace()
    postponed = sum(pace.turn(0.05, is_behind=False) for _ in range(600))
    assert 1.0 < postponed < 2.5


def test_a_pace_is_halved_once_for_all_clients_that_were_closed_at_it() -> None:
    pace = Pace()
    for _ in range(200):
        pace.turn(0.05, is_behind=False)
    assert [pace.turn(0.05, is_behind=True) for _ in range(25)] == [0.05] * 25
    assert pace.turn(0.05, is_behind=False) == pytest.approx(0.05 * (1 - 0.51))


@pytest.mark.parametrize(("sockets", "seconds", "cost"), [(5000, 30.0, 0.02), (200, 2.0, 0.05), (600, 60.0, 0.2)])
def test_clients_come_back_no_faster_than_workers_accept_them(sockets: int, seconds: float, cost: float) -> None:
    """Clients give up after four seconds. `cost` is the time of a worker for each."""
    schedule, pace, turns = schedule_of(sockets, seconds), Pace(), random.Random(SEED)
    back: list[float] = []
    free_at, longest = 0.0, 0.0
    for turn in range(round(MAX_SLOWDOWN * seconds / 0.05)):
        now = turn * 0.05
        waiting = max(0.0, free_at - now) / cost
        schedule.postpone(pace.turn(0.05, is_behind=waiting > MOST_WAITING))
        back += [now + turns.uniform(1, 1.5) for _ in schedule.due(now, always)]
        for come in sorted(when for when in back if when <= now):
            back.remove(come)
            free_at = max(free_at, come) + cost
            longest = max(longest, free_at - come)
    assert (schedule.waiting, back) == (0, [])
    assert longest < 4.0


def test_the_reason_fits_into_a_close_frame() -> None:
    assert len(REASON.encode()) <= 123


# A server that drains


def close_frame(code: int, reason: str) -> bytes:
    payload = struct.pack("!H", code) + reason.encode()
    return bytes([0x88, len(payload)]) + payload


def test_a_socket_is_closed_with_the_time_to_come_back() -> None:
    with live(drain=0.5) as server, server.raw() as client:
        open_socket(server, client)
        server.server.stop()
        assert client.recv(100) == close_frame(1012, "retry=1")
        client.close()
        assert server.consume("websocket.disconnect")["code"] == 1012


def test_a_client_that_has_connected_but_asked_for_nothing_yet_is_served() -> None:
    with live(drain=20.0) as server, server.raw() as client, server.raw() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.consume("http.request", {"status": 204})
        server.server.stop()
        eventually(lambda: not accepts_connections(server.port))
        assert statuses(read_all(idle)) == [204]  # a connection that waits for its next request ends
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.consume("http.request", {"status": 200})
        assert statuses(read_all(client)) == [200]


def test_a_handshake_under_way_is_decided_and_the_socket_closed_in_its_turn() -> None:
    with live(drain=2.0) as server, server.raw() as client:
        client.sendall(UPGRADE)
        delivery = server.take("websocket.connect")
        server.server.stop()
        eventually(lambda: not accepts_connections(server.port))
        server.layer.send(str(delivery.reply_channel), {"accept": True})
        server.report(delivery)
        received = read_all(client)
        assert received.startswith(b"HTTP/1.1 101 ")
        assert received.endswith(close_frame(1012, "retry=1"))


def test_server_sent_events_end_in_their_turn_and_downloads_are_finished() -> None:
    with live(drain=4.0) as server, server.raw() as events, server.raw() as download:
        for kind, client in ((b"text/event-stream; charset=utf-8", events), (b"application/octet-stream", download)):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            part = {"status": 200, "headers": [(b"content-type", kind)], "content": b"data", "more_content": True}
            delivery = server.take("http.request")
            server.layer.send(str(delivery.reply_channel), part)
            received = b""
            while b"data" not in received:
                received += client.recv(1000)
        server.server.stop()
        begun = time.monotonic()
        read_all(events)
        assert time.monotonic() - begun < scaled(3.9)
        server.take("http.disconnect")
        server.layer.send(str(delivery.reply_channel), {"content": b"rest"})
        assert b"rest" in read_all(download)


def test_a_server_without_clients_stops_at_once() -> None:
    with live(drain=60.0) as server:
        server.server.stop()
        eventually(lambda: not accepts_connections(server.port))
