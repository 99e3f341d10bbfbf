"""Real worker processes on a Redis of their own database: `start` runs them, `redis` is the layer they work on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from channels_classic.layers.redis import RedisChannelLayer
from tests.support.processes import Process
from tests.worker.harness import drain

Start = Callable[..., Process]

ROOT = Path(__file__).parent.parent.parent

TIMEOUT = 30.0

LISTENS = r"Listening on channels|Worker process \d+ listens"
"""The line of the log that says that a process began to work."""


@pytest.fixture
def redis(redis_url: str) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[redis_url], capacity=100_000)
    yield layer
    layer.close()


@pytest.fixture
def start(redis_url: str) -> Iterator[Start]:
    """Gives a function that starts `runworker` with options and returns when it listens."""
    with ExitStack() as stack:

        def start(*options: str, listening: int = 1, **environment: str) -> Process:
            return stack.enter_context(running_worker(redis_url, *options, listening=listening, **environment))

        yield start


@contextmanager
def running_worker(redis_url: str, *options: str, listening: int = 1, **environment: str) -> Iterator[Process]:
    """`runworker` with options, as soon as this many processes listen."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.projects.worker.settings", "REDIS_URL": redis_url}
    command = [sys.executable, "-m", "django", "runworker", *options]
    with Process(command, cwd=ROOT, env={**settings, **environment}) as process:
        process.wait_for_line(LISTENS, occurrences=listening)
        yield process


def begun(process: Process) -> int:
    """Return the number of processes that have begun to work."""
    return len(re.findall(LISTENS, process.output))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def answering_pids(layer: RedisChannelLayer, count: int) -> set[int]:
    """The processes that answered `count` messages, sent now."""
    for number in range(count):
        layer.send("work", {"number": number, "seconds": 0.2, "answer": "answers"})
    return {answer["pid"] for answer in drain(layer, "answers", count, TIMEOUT)}
