"""Real worker processes: how they stop, and what is lost then (nothing)."""

from __future__ import annotations

import os
import signal
import time

import pytest

from channels_classic.layers.base import BLOCK
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Length
from tests.support.waiting import eventually
from tests.worker.harness import drain
from tests.worker.programs import LISTENS, TIMEOUT, Start, alive, answering_pids


@pytest.mark.parametrize(("number", "threads"), [(signal.SIGTERM, "3"), (signal.SIGINT, "1")])
def test_an_idle_worker_stops_at_once(start: Start, number: signal.Signals, threads: str) -> None:
    worker = start("--threads", threads)
    worker.send_signal(number)
    assert worker.wait(BLOCK - 1) == 0  # it does not wait for the end of its take
    assert "Traceback" not in worker.output


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_busy_worker_finishes_what_it_took_and_delivers_it(
    start: Start, redis: RedisChannelLayer, threads: str
) -> None:
    worker = start("--threads", threads)
    redis.send("work", {"number": 1, "seconds": 0.4, "answer": "answers"})
    worker.wait_for_line("working")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert [answer["number"] for answer in drain(redis, "answers", 1)] == [1]
    assert "SIGTERM: finishing the messages taken so far" in worker.output


def test_the_second_signal_ends_a_worker_at_once(start: Start, redis: RedisChannelLayer) -> None:
    worker = start()
    redis.send("work", {"number": 1, "seconds": 60, "answer": "answers"})
    worker.wait_for_line("working")
    worker.send_signal(signal.SIGTERM)
    worker.wait_for_line("SIGTERM: finishing")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize(("processes", "text"), [("1", "SIGQUIT: ending the"), ("2", "SIGQUIT: killing the worker")])
def test_sigquit_ends_a_worker_at_once_and_is_logged(start: Start, processes: str, text: str) -> None:
    worker = start("--processes", processes)
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait() == 128 + signal.SIGQUIT
    assert text in worker.output


def test_a_consumer_that_does_not_end_is_given_up_after_the_time_of_grace(
    start: Start, redis: RedisChannelLayer
) -> None:
    worker = start("--grace", "0.5")
    redis.send("work", {"number": 1, "seconds": 60, "answer": "answers"})
    worker.wait_for_line("working")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 1
    assert "Consumers are still running after the grace period of 0.5 s" in worker.output


def test_nothing_is_lost_when_workers_are_stopped_again_and_again_under_load(
    start: Start, redis: RedisChannelLayer
) -> None:
    sent = 0
    for _ in range(3):
        worker = start("--threads", "2")
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            redis.send("echo", {"number": sent, "answer": "answers"})
            sent += 1
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
    (left, answered) = redis.run([Length("echo"), Length("answers")])
    assert left + answered == sent
    numbers = [answer["number"] for answer in drain(redis, "answers", answered, TIMEOUT)]
    numbers += [message["number"] for message in drain(redis, "echo", left, TIMEOUT)]
    assert sorted(numbers) == list(range(sent))


# Several processes


def test_several_processes_share_the_work_and_stop_together(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--processes", "2", listening=2)
    pids = answering_pids(redis, 4)
    assert len(pids) == 2 and supervisor.pid not in pids
    redis.send("work", {"number": 9, "seconds": 0.5, "answer": "answers"})
    supervisor.wait_for_line("working", occurrences=5)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    assert [answer["number"] for answer in drain(redis, "answers", 1)] == [9]
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ends_is_replaced(start: Start, redis: RedisChannelLayer, number: signal.Signals) -> None:
    supervisor = start("--processes", "1", "--processes", "2", listening=2)
    victim = answering_pids(redis, 2).pop()
    os.kill(victim, number)
    supervisor.wait_for_line(f"Worker process {victim} ended")
    supervisor.wait_for_line(LISTENS, occurrences=3)
    assert victim not in answering_pids(redis, 4)


def test_a_process_that_dies_at_once_is_replaced_more_and_more_slowly(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--consumer-timeout", "60")  # one process, and a parent
    for number, delay in enumerate(("0.5", "1.0"), 1):
        redis.send("crash", {})
        supervisor.wait_for_line(rf"ended with status 3; it is replaced in {delay} s\.")
        supervisor.wait_for_line(LISTENS, occurrences=1 + number)
    assert answering_pids(redis, 1)


def test_the_second_signal_kills_all_processes(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--processes", "2", listening=2)
    pids = answering_pids(redis, 4)
    for _ in range(2):
        redis.send("work", {"number": 1, "seconds": 60, "answer": "answers"})
    supervisor.wait_for_line("working", occurrences=6)
    supervisor.send_signal(signal.SIGINT)
    supervisor.wait_for_line("SIGINT: stopping the worker processes")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait() == 128 + signal.SIGINT
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_processes_end_when_their_supervisor_is_killed(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--processes", "2", listening=2)
    pids = answering_pids(redis, 4)
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in pids), TIMEOUT)


def test_a_process_that_is_told_twice_to_stop_by_others_still_finishes(start: Start, redis: RedisChannelLayer) -> None:
    """As an init system does that signals every process of a service, while the supervisor stops its children too."""
    supervisor = start("--processes", "2", listening=2)
    pids = answering_pids(redis, 4)
    for number in range(2):
        redis.send("work", {"number": number, "seconds": 1, "answer": "answers"})
    supervisor.wait_for_line("working", occurrences=6)
    for pid in [supervisor.pid, *pids]:
        os.kill(pid, signal.SIGTERM)
    assert supervisor.wait() == 0
    assert len(drain(redis, "answers", 2)) == 2
