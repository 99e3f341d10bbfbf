"""Supervised processes that hang: when that is noticed, reported, and ended."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from channels_classic._health import Health
from channels_classic._supervisor import link, process, supervisor
from channels_classic._supervisor.link import SupervisorLink
from channels_classic._supervisor.process import Process
from channels_classic._supervisor.signal_pipe import SignalPipe
from channels_classic._supervisor.supervisor import Supervisor
from channels_classic.worker.inflight import InFlightTable
from channels_classic.worker.supervisor import WorkerSupervisor
from tests.support.waiting import eventually, scaled

PROGRAM = """
import os, time
from channels_classic._supervisor import link
link.BEAT_INTERVAL = 0.05
supervisor = link.SupervisorLink.of_this_process()
supervisor.call_at_end(lambda: os._exit(0))
supervisor.is_ready()
while True:
    time.sleep(supervisor.beat())
"""


class Parent(Supervisor[Process]):
    """A supervisor of `PROGRAM`, whose clock a test may set forward."""

    ahead = 0.0
    kills = True

    def __init__(self, processes: int) -> None:
        command = [sys.executable, "-c", PROGRAM]
        super().__init__(logging.getLogger("tests"), processes, 1.0, command, lambda: time.monotonic() + self.ahead)

    def _start(self, *, is_successor: bool = False) -> Process:
        return Process(self._command, [], self._clock)

    def _may_kill(self, process: Process) -> bool:
        return self.kills

    @property
    def pids(self) -> list[int]:
        return [slot.process.pid for slot in self._slots if slot.process is not None and slot.process.is_ready]

    @property
    def silences(self) -> list[float]:
        """The seconds since each process last showed that it runs."""
        return [slot.process.silence for slot in self._slots if slot.process is not None]

    @property
    def looked_at(self) -> float:
        """The time of its last look at its processes, by its own clock."""
        return self._looked_at

    def stop(self) -> None:
        self._signal_pipe.notify(signal.SIGTERM)

    def close(self) -> None:
        self._signal_pipe.close()

    def value(self, name: str, *labels: str) -> object:
        return self.samples().values[name][labels]


@contextmanager
def running(processes: int) -> Iterator[Parent]:
    parent = Parent(processes)
    thread = threading.Thread(target=parent.run)
    thread.start()
    try:
        eventually(lambda: len(parent.pids) == processes, timeout=20)
        yield parent
    finally:
        parent.stop()
        thread.join()
        parent.close()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BEAT_INTERVAL", 0.05)
    for module in (process, supervisor):
        monkeypatch.setattr(module, "STUCK_AFTER", scaled(1.0))
    monkeypatch.setattr(supervisor, "REPLACE_AFTER", scaled(2.0))


def suspend(pid: int) -> Callable[[], None]:
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def test_a_process_that_stands_still_is_replaced_while_the_others_count_as_ready() -> None:
    with running(2) as parent:
        first, second = parent.pids
        suspend(first)
        eventually(lambda: parent.value("stuck_processes") == 1)
        assert parent.health is Health.READY
        eventually(lambda: len(parent.pids) == 2 and first not in parent.pids, timeout=20)
        assert second in parent.pids
        assert parent.value("process_restarts_total", "stuck") == 1
        assert parent.value("process_restarts_total", "died") == 0


def test_a_program_is_stuck_when_all_of_its_processes_are() -> None:
    with running(1) as parent:
        suspend(parent.pids[0])
        eventually(lambda: parent.health is Health.STUCK)
        eventually(lambda: parent.health is Health.READY, timeout=20)


def test_a_process_that_runs_again_in_time_stays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(1) as parent:
        parent.kills = False
        (pid,) = parent.pids
        resume = suspend(pid)
        eventually(lambda: any("killing" not in text and f"{pid} hangs" in text for text in caplog.messages))
        resume()
        eventually(lambda: f"Process {pid} runs again." in caplog.messages)
        assert parent.pids == [pid]


def test_a_process_that_must_not_be_killed_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    with running(1) as parent:
        parent.kills = False
        (pid,) = parent.pids
        resume = suspend(pid)
        eventually(lambda: min(parent.silences) > 2 * supervisor.REPLACE_AFTER, timeout=20)
        assert len([text for text in caplog.messages if f"{pid} hangs" in text]) == 1
        assert parent.pids == [pid]
        resume()


def test_a_supervisor_that_stood_still_itself_blames_nobody() -> None:
    with running(2) as parent:
        before = parent.pids
        looked_at = parent.looked_at
        parent.ahead = 100.0
        eventually(lambda: parent.looked_at > looked_at + 101.0)
        assert parent.pids == before
        assert parent.value("stuck_processes") == 0


def test_a_process_with_more_than_a_thousand_descriptors_is_still_notified() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    others: list[int] = []
    try:
        while not others or others[-1] < 1024:
            others.append(os.dup(0))
        signal_pipe = SignalPipe()
        assert signal_pipe.fileno() > 1023
        assert signal_pipe.wait(0) is None
        signal_pipe.notify(signal.SIGTERM)
        assert signal_pipe.wait(scaled(5)) == signal.SIGTERM
        signal_pipe.close()
    finally:
        for number in others:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_signals_that_a_shell_left_ignored_are_caught() -> None:
    """As `nohup` leaves SIGHUP, and a script SIGQUIT for what it starts in the background."""
    signal_pipe, numbers = SignalPipe(), [signal.SIGHUP, signal.SIGQUIT]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        with signal_pipe.catching(numbers):
            for number in numbers:
                os.kill(os.getpid(), number)
                assert signal_pipe.wait(scaled(5)) == number
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal_pipe.close()


def test_a_worker_whose_consumer_runs_may_stand_still_until_its_timeout() -> None:
    """A consumer that computes in C code keeps its process from showing that it runs."""

    class Busy:
        table = InFlightTable.make(1)

    for busy in (True, False):
        Busy.table.beat(busy)
        assert WorkerSupervisor._may_kill(None, Busy) is not busy  # type: ignore[arg-type]
    Busy.table.close()


def test_a_process_never_waits_for_a_supervisor_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BEAT_INTERVAL", 0.0)
    ours, theirs = socket.socketpair()
    with ours:
        child = SupervisorLink(theirs.detach(), [])
        child.is_ready()
        for _ in range(10_000):
            child.beat()
        child.is_not_ready()  # finds the socket full
        child.ask_for_replacement()
        ours.settimeout(10)
        while len(ours.recv(65536)) == 65536:
            pass
        child.beat()
        assert ours.recv(100).endswith(link.NOT_READY + link.REPLACE + link.BEAT)
        child._link.close()
