"""Runs the scenarios in rounds: in each every scenario, in each of those every contender, one after another.

So what disturbs the machine meanwhile disturbs all of them. Each measurement has fresh programs and an empty Redis.
"""

from __future__ import annotations

import compileall
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Contender, Words
from benchmarks.programs import descendants
from benchmarks.results import Measurement
from benchmarks.scenarios import FULL_SIZES, Scenario
from tests.support.processes import Process
from tests.support.redis_server import RedisServer, free_port

HOST = "127.0.0.1"
ROOT = Path(__file__).parent.parent
NAMES = {"runinterface": "interface server", "runworker": "worker"}
TIMEOUT = 180.0
"""Seconds that a client may take, besides those for which it measures."""


class Course:
    """Shared by all measurements: a Redis, a folder, a database with a user. Use it in a `with` statement."""

    def __init__(self, seconds: float, sizes: Mapping[str, str] = FULL_SIZES) -> None:
        self._seconds = seconds
        self._sizes = sizes
        self._redis = RedisServer()
        self._stack = ExitStack()
        self._cookie = ""

    def __enter__(self) -> Course:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))
            stack.callback(self._redis.close)
            self._redis.start()
            _compile()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, scenario: Scenario, key: str, number: int) -> Measurement:
        """Start the contender, run the client, stop everything."""
        try:
            figures = self.figures(scenario, CONTENDERS[key])
        except (AssertionError, subprocess.SubprocessError) as error:
            details = getattr(error, "stderr", None) or str(error)
            return Measurement(scenario.key, key, number, {}, details.strip()[-2000:])
        return Measurement(scenario.key, key, number, figures)

    def figures(
        self, scenario: Scenario, contender: Contender, end: signal.Signals = signal.SIGKILL
    ) -> dict[str, float]:
        """Return the client's result. Programs are ended with a signal that leaves them no time for their clients."""
        self._redis.flush()
        port, since = free_port(), time.monotonic()
        environment = self._environment(scenario, contender, port)
        with ExitStack() as stack:
            programs = [
                Process([sys.executable, "-m", *_fill(words, port=str(port), **self._sizes)], cwd=ROOT, env=environment)
                for words in contender.programs
            ]
            for program in programs:
                stack.callback(_end, program, end)
            if programs and not scenario.cold:
                _wait(contender, programs, port)
            words = _fill(
                contender.client or scenario.client,
                http=f"http://{HOST}:{port}",
                ws=f"ws://{HOST}:{port}{contender.prefix}",
                programs=",".join(f"{name}={pid}" for name, pid in self._programs(programs)),
                cookie=self._cookie,
                since=repr(since),
                **self._sizes,
            )
            output = subprocess.run(
                [sys.executable, "-m", *words, "--seconds", str(self._seconds)],
                cwd=ROOT,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=True,
                timeout=self._seconds + TIMEOUT,
            ).stdout
        figures: dict[str, float] = json.loads(output)
        return figures

    def _programs(self, programs: Sequence[Process]) -> Iterator[tuple[str, int]]:
        """Those whose memory and time is measured, by what they are called in the tables."""
        for program in programs:
            yield next((name for word, name in NAMES.items() if word in program.argv), "server"), program.pid
        yield "Redis", self._redis.pid

    def _environment(self, scenario: Scenario, contender: Contender, port: int) -> dict[str, str]:
        environment = {
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "REDIS_URL": self._redis.url,
            "LAYER_PATH": str(self._folder / f"layer-{port}"),
            "DATABASE": str(self._folder / "database"),
        }
        environment.update(contender.environment)
        if contender.layer:
            environment["LAYER"] = contender.layer
        if scenario.pages:
            environment["PAGES"] = "1"
            self._cookie = self._cookie or _cookie(environment)
        return environment


def _compile() -> None:
    """Write the bytecode of this project, as pip does for the packages of the peers: this one is installed editable.

    Otherwise each start compiles it where PYTHONDONTWRITEBYTECODE is set.
    """
    for folder in ("channels_classic", "interface_server", "worker", "benchmarks"):
        compileall.compile_dir(ROOT / folder, quiet=2)


def _fill(words: Words, **values: str) -> list[str]:
    """The words with values in the place of their names."""
    return [word.format(**values) if "{" in word else word for word in words]


def _cookie(environment: dict[str, str]) -> str:
    """Make the database; who sends this cookie is logged in."""
    command = [sys.executable, "-m", "benchmarks.project.users"]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def _wait(contender: Contender, programs: Sequence[Process], port: int) -> None:
    """Return when all of the contender's processes serve."""
    pattern, times = contender.ready
    programs[0].wait_for_port(port)
    programs[-1].wait_for_line(pattern, occurrences=times)


def _end(program: Process, number: signal.Signals) -> None:
    """End a program, and what it started in sessions of their own: it must not take part in the next measurement."""
    started = descendants(program.pid)
    program.stop(number)
    for process in started:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def plan(scenarios: Sequence[Scenario], only: Container[str], rounds: int) -> Iterator[tuple[int, Scenario, str]]:
    """The measurements in their order: who comes first changes from round to round."""
    for number in range(rounds):
        for scenario in scenarios:
            keys = [key for key in scenario.contenders if key in only and CONTENDERS[key].is_available]
            first = number % max(len(keys), 1)
            for key in keys[first:] + keys[:first]:
                yield number, scenario, key


def busy(seconds: float = 0.2) -> float:
    """The share of the processors' time that others use, while we do nothing: 0.0 is a quiet machine."""
    before = _processors()
    time.sleep(seconds)
    total, waiting = (after - earlier for after, earlier in zip(_processors(), before, strict=True))
    return 1 - waiting / total if total else 0.0


def _processors() -> tuple[int, int]:
    """Return the busy and the idle time of all processors since the system started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]
