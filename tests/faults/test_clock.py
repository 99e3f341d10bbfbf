"""Clocks that are two minutes off, or jump by as much: the server's, its clients'."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Make
from tests.faults.test_counted import PILE
from tests.faults.traffic import Traffic
from tests.support.redis_server import PROGRAM, RedisServer

SOURCE = Path(__file__).with_name("clock.c")
OFF = 120
"""Seconds; twice what a message may wait."""


class Clock:
    """The clock of a server."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "clock.so"
        self._shift = folder / "shift"
        self.set(0)
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("There is no C compiler here to give a server a clock of its own.")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", self._library, SOURCE], check=True)

    def set(self, seconds: int) -> None:
        """Make it this many seconds fast, or slow."""
        with self._shift.open("r+b" if self._shift.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))

    def program(self) -> str:
        """A program that is the server with this clock."""
        path = self._library.with_name("server")
        path.write_text(f'#!/bin/sh\nLD_PRELOAD={self._library} CLOCK_SHIFT={self._shift} exec {PROGRAM} "$@"\n')
        path.chmod(0o755)
        return str(path)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def server(clock: Clock) -> Iterator[RedisServer]:
    server = RedisServer(program=clock.program())
    try:
        server.start()
        yield server
    finally:
        server.close()


def offset(server: RedisServer) -> float:
    return int(server.command_list("TIME")[0]) - time.time()


@pytest.mark.parametrize("seconds", [OFF, -OFF])
def test_a_server_whose_clock_is_off_loses_nothing(
    clock: Clock, server: RedisServer, make_layer: Make, seconds: int
) -> None:
    clock.set(seconds)
    assert abs(offset(server) - seconds) < 2
    with Traffic(make_layer).running() as traffic:
        traffic.pile_up(PILE)
        traffic.go_on()
    traffic.check_exactly(missing=0)


def test_a_server_whose_clock_is_set_back_loses_nothing(clock: Clock, server: RedisServer, make_layer: Make) -> None:
    with Traffic(make_layer).running() as traffic:
        traffic.pile_up(PILE)
        clock.set(-OFF)
        traffic.go_on()
    traffic.check_exactly(missing=0)


def test_a_server_whose_clock_is_set_forward_loses_exactly_what_waited(
    clock: Clock, server: RedisServer, make_layer: Make
) -> None:
    with Traffic(make_layer).running() as traffic:
        held = traffic.pile_up(PILE)
        clock.set(OFF)
        traffic.go_on()
    traffic.check_exactly(missing=held)


@pytest.mark.parametrize("seconds", [OFF, -OFF])
def test_a_client_whose_clock_jumps_loses_nothing(
    make_layer: Make, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    real = time.time
    with Traffic(make_layer).running() as traffic:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)
    traffic.check_exactly(missing=0)


def test_after_a_flush_with_the_clock_set_back_messages_are_fenced_until_a_client_connects_again(
    clock: Clock, server: RedisServer, make_layer: Make
) -> None:
    """The first number of an epoch is a time, and clients know a later one."""
    sender, reader = make_layer(), make_layer()
    sender.send("jobs", {"number": 1})
    assert reader.receive(["jobs"]) == ("jobs", {"number": 1})
    clock.set(-OFF)
    server.flush()
    sender.send("jobs", {"number": 2})
    assert reader.receive(["jobs"]) == (None, None)
    assert reader.losses.as_dict() == {"fenced": 1}
    sender.close()
    sender.send("jobs", {"number": 3})
    assert reader.receive(["jobs"]) == ("jobs", {"number": 3})
    for layer in (sender, reader):
        layer.close()
