"""Processor time of a message: the share of each station in the interface server and in the worker.

`python -m benchmarks.stations [SCENARIO [redis|local]]`, for the scenarios with an interface server and a worker.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.rounds import NAMES, Course
from benchmarks.scenarios import SCENARIOS

SECONDS = 8.0
LARGEST = 12

# The innermost function that one of these patterns fits says which station a sample belongs to.
STATIONS: tuple[tuple[str, str], ...] = (
    (r"hiredis|connection_async:data_received|redis\.connection:_re(ad|ply)", "Redis: read and parse replies"),
    (r"connection_async:ask|redis\.connection:_?write|redis\.protocol:packed", "Redis: make and write commands"),
    (r"channels_classic\.layers\.redis", "Redis: steps to commands, replies to results"),
    (r"channels_classic\.layers\.local", "local: the socket between processes"),
    (r"channels_classic\.layers\.codec|msgpack", "encode and decode messages"),
    (r"channels_classic\.layers", "plan pushes, open what was taken"),
    (r"websocket_protocol:write_frame|server\.(frames|write_flow):", "write frames to clients"),
    (r"websocket_(protocol|reader|handshake|keep_alive):", "WebSocket: handshake, read frames"),
    (r"http_protocol:|httptools_impl:(send|on_|data_)", "HTTP: parse and write"),
    (r"interface_server\.(websocket\.(gate|inbound)|layer\.timers)", "gate and order"),
    (r"interface_server\.(layer\.(reader|registry)|replies|websocket\.send_queue)", "hand replies to clients"),
    (r"interface_server\.layer\.(writer|reconnecting|session)", "collect what is written in a tick"),
    (r"channels_classic\.interface_server", "clients: requests and sockets"),
    (r"asyncio\.", "event loop, its queues"),
    (r"django\.(db|utils\.connection)|channels_classic\.signals", "check database connections"),
    (r"channels_classic\.handler|django\.(core|http|urls|dispatch|utils)", "Django: request, view, response"),
    (r"channels_classic\.routing", "find the consumer"),
    (r"worker\.connection", "write, settle, take"),
    (r"channels_classic\.worker", "loop, batch, statistics around a consumer"),
    (r"benchmarks\.project|channels_classic\.(channel|message|_pending)", "the consumer and what it sends"),
)


def stations(path: Path) -> Counter[str]:
    """Return the number of samples by station."""
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        found[_station(stack)] += int(count)
    return found


def _station(stack: str) -> str:
    for function in reversed(stack.split(";")):
        for pattern, name in STATIONS:
            if re.search(pattern, function):
                return name
    return "other"


def functions(path: Path) -> Counter[str]:
    """Return the samples by function, without the functions that it calls."""
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        found[stack.rpartition(";")[2]] += int(count)
    return found


def sample(scenario_key: str, contender_key: str) -> Iterator[str]:
    """Lines of a report."""
    scenario = next(one for one in SCENARIOS if one.key == scenario_key)
    contender = CONTENDERS[contender_key]
    with tempfile.TemporaryDirectory(prefix="stations-") as folder:
        files = [Path(folder, str(number)) for number, _ in enumerate(contender.programs)]
        programs = [
            ("benchmarks.sampled", str(file), *words) for file, words in zip(files, contender.programs, strict=True)
        ]
        with Course(SECONDS) as course:
            figures = course.figures(scenario, replace(contender, programs=tuple(programs)), signal.SIGTERM)
        yield f"{scenario.title}, {contender.name}: " + "; ".join(
            f"{name} {value:.3g}" for name, value in figures.items()
        )
        for file, words in zip(files, contender.programs, strict=True):
            yield f"\n{NAMES[words[1]]}"
            for found in (stations(file), functions(file)):
                yield from _shares(found)
                yield ""


def _shares(found: Counter[str]) -> Iterator[str]:
    total = max(found.total(), 1)
    for name, count in found.most_common(LARGEST):
        yield f"  {count / total:4.0%}  {name}"


def main(scenario: str = "echo", contender: str = "redis") -> None:
    """Print the report."""
    for line in sample(scenario, contender):
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
