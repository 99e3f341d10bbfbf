"""Many threads in one real worker process: what waits, waits side by side, and threads without work cost nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Take
from tests.support.waiting import eventually
from tests.worker.harness import drain
from tests.worker.programs import TIMEOUT, Start

THREADS = 50


def processor_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_fifty_consumers_that_wait_do_so_side_by_side(start: Start, redis: RedisChannelLayer) -> None:
    worker = start("--threads", str(THREADS))
    for number in range(THREADS):
        redis.send("work", {"number": number, "seconds": 0.5, "answer": "answers"})
    answers = drain(redis, "answers", THREADS, TIMEOUT)
    assert {answer["pid"] for answer in answers} == {worker.pid}
    assert sorted(answer["number"] for answer in answers) == list(range(THREADS))
    times = [answer["time"] for answer in answers]
    assert max(times) - min(times) < 10  # one after another they would take 25


def test_fifty_threads_without_work_cost_next_to_nothing(start: Start, redis: RedisChannelLayer) -> None:
    worker = start("--threads", str(THREADS))

    def cost() -> float:
        before, began = processor_seconds(worker.pid), time.monotonic()
        assert redis.run([Take(["answers"], 1, 1.0)]) == [None]
        return (processor_seconds(worker.pid) - before) / (time.monotonic() - began)

    eventually(lambda: cost() < 0.02, 10)  # of a processor, once all threads have begun
