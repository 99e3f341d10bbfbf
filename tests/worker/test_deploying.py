"""Real worker processes that are replaced: by fresh code, or because they are worn out. Nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from channels_classic.layers.codec import Outcome
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.processes import Process
from tests.support.waiting import eventually
from tests.worker.harness import Inbox, drain
from tests.worker.programs import LISTENS, TIMEOUT, Start, alive, answering_pids, begun

KINDS = pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["alone", "supervised"])


def send_for(layer: RedisChannelLayer, seconds: float, first: int = 0) -> int:
    """Send numbers, evenly over some seconds → the first one that was not sent."""
    number = first
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        layer.send("echo", {"number": number, "answer": "answers"})
        number += 1
        time.sleep(0.001)
    return number


@KINDS
def test_a_hangup_replaces_all_processes_and_loses_nothing(
    start: Start, redis: RedisChannelLayer, options: tuple[str, ...]
) -> None:
    count = 2 if options else 1
    worker = start(*options, listening=count)
    before = answering_pids(redis, 4)
    sent = send_for(redis, 0.2)
    worker.send_signal(signal.SIGHUP)
    while begun(worker) < 2 * count:
        sent = send_for(redis, 0.1, sent)
    answers = drain(redis, "answers", sent, TIMEOUT)
    assert sorted(answer["number"] for answer in answers) == list(range(sent))
    if options:
        eventually(lambda: not any(alive(pid) for pid in before), TIMEOUT)
        assert not before & answering_pids(redis, 4)
    else:
        assert before == {worker.pid} == answering_pids(redis, 2)  # the process is the same, the program is new
    assert worker.stop() == 0, worker.output
    assert "Traceback" not in worker.output


def test_new_code_that_does_not_start_stops_nothing(start: Start, redis: RedisChannelLayer, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    supervisor = start("--processes", "2", listening=2, BROKEN=str(broken))
    before = answering_pids(redis, 4)
    broken.touch()
    supervisor.send_signal(signal.SIGHUP)
    supervisor.wait_for_line("with the new code ended with status 1: the others keep running the old code")
    assert answering_pids(redis, 4) == before
    broken.unlink()
    supervisor.send_signal(signal.SIGHUP)
    eventually(lambda: not any(alive(pid) for pid in before), TIMEOUT)
    assert not before & answering_pids(redis, 4)


@KINDS
def test_a_process_is_replaced_after_its_number_of_messages_and_loses_nothing(
    start: Start, redis: RedisChannelLayer, options: tuple[str, ...]
) -> None:
    count = 2 if options else 1
    worker = start(*options, "--max-messages", "50", listening=count)
    sent = 0

    def replaced() -> int:
        return len(re.findall(r"for a replacement of this .*: it has consumed \d+ messages", worker.output))

    for turn in (1, 2):
        # No more than that: what waits would be consumed by ever more processes.
        while replaced() < turn:
            sent = send_for(redis, 0.02, sent)
        worker.wait_for_line(LISTENS, occurrences=count + turn)
    answers = drain(redis, "answers", sent, TIMEOUT)
    assert sorted(answer["number"] for answer in answers) == list(range(sent))
    # What waited may have worn out one more; while a process begins again, a signal ends it as any other program.
    eventually(lambda: len(re.findall(LISTENS, worker.output)) >= count + replaced(), TIMEOUT)
    assert worker.stop() == 0, worker.output


def test_a_worker_that_is_asked_for_statistics_while_it_begins_again_lives(start: Start) -> None:
    worker = start()
    worker.send_signal(signal.SIGHUP)
    worker.wait_for_line("Restarting")
    worker.send_signal(signal.SIGUSR1)
    worker.wait_for_line(LISTENS, occurrences=2)
    assert worker.stop() == 0


def test_who_waits_is_told_when_a_process_was_killed(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--processes", "2", listening=2)
    inbox = Inbox(redis)
    inbox.post("work", {"number": 1, "seconds": 60, "answer": "answers"})
    supervisor.wait_for_line("working")
    victim = children(supervisor)
    for pid in victim:
        os.kill(pid, signal.SIGKILL)
    assert inbox.wait(1, TIMEOUT) == [("client", Outcome.DIED)]
    supervisor.wait_for_line(r"died holding 1 message\(s\): 1 of work")


def test_a_worker_begins_again_when_a_file_changes_and_finishes_what_it_took(
    start: Start, redis: RedisChannelLayer, tmp_path: Path
) -> None:
    module = tmp_path / "watched.py"
    module.write_text("")
    worker = start("--reload", PYTHONPATH=str(tmp_path), WATCHED="watched")
    redis.send("work", {"number": 1, "seconds": 2, "answer": "answers"})
    worker.wait_for_line("working")
    deadline = time.monotonic() + TIMEOUT
    while "finishing the messages taken so far" not in worker.output and time.monotonic() < deadline:
        os.utime(module, (time.time() + 10, time.time() + 10))
        time.sleep(0.1)
    worker.wait_for_line(LISTENS, occurrences=2)
    assert [answer["number"] for answer in drain(redis, "answers", 1)] == [1]
    assert answering_pids(redis, 1)


def children(supervisor: Process) -> list[int]:
    """The processes that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()]
