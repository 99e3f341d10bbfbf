"""The results of the rounds, as kept in a file, and the comparison of figures: by rounds."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.scenarios import Goal, Scenario, is_rate

PROGRAMS = ("Django", "channels", "channels_redis", "daphne", "gunicorn", "uvicorn", "uvloop", "redis", "hiredis")


@dataclass(frozen=True)
class Measurement:
    """The result of one client for one contender in one round: figures, or the reason why there are none."""

    scenario: str
    contender: str
    round: int
    figures: dict[str, float]
    failure: str = ""


@dataclass(frozen=True)
class Middle:
    """The median over rounds, with the lowest and the highest."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Middle | None:
        """`None` when there are no values."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1]) if ordered else None


@dataclass(frozen=True)
class Comparison:
    """A goal and its figures: this project's, the best other contender's, and their ratio in each round."""

    goal: Goal
    ours: Middle
    best: str
    theirs: Middle
    ratio: Middle

    @property
    def verdict(self) -> str:
        """One of met, missed and even (neither was the faster in all rounds); empty where nothing is to be reached."""
        goal = self.goal.ratio
        if goal is None:
            return ""
        if self.ratio.value >= goal if self.goal.at_least else self.ratio.value <= goal:
            return "met"
        return "even" if goal == 1 and self.ratio.low <= 1 <= self.ratio.high else "missed"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} × {model or platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def _versions() -> dict[str, str]:
    found = {}
    for name in PROGRAMS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass
class Results:
    """All measurements of one run. `busy` is the share of the machine that others used, before each."""

    seconds: float
    taken: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC")
    machine: str = field(default_factory=_machine)
    versions: dict[str, str] = field(default_factory=_versions)
    busy: list[float] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def of(self, scenario: str, contender: str) -> list[Measurement]:
        return [found for found in self.measurements if found.scenario == scenario and found.contender == contender]

    def rounds(self, scenario: str, contender: str, figure: str) -> dict[int, float]:
        """A figure by the number of the round."""
        return {
            found.round: found.figures[figure]
            for found in self.of(scenario, contender)
            if not math.isnan(found.figures.get(figure, math.nan))
        }

    def middle(self, scenario: str, contender: str, figure: str) -> Middle | None:
        return Middle.of(self.rounds(scenario, contender, figure).values())

    def compare(self, scenario: Scenario, goal: Goal) -> Comparison | None:
        """`None` when one of the two was not measured."""
        ours = self.rounds(scenario.key, goal.ours, goal.figure)
        best, theirs = self._best(scenario, goal) if goal.against else ("", dict.fromkeys(ours, 1.0))
        ratio = Middle.of(ours[number] / theirs[number] for number in ours if theirs.get(number))
        our_middle, their_middle = Middle.of(ours.values()), Middle.of(theirs.values())
        if our_middle is None or their_middle is None or ratio is None:
            return None
        return Comparison(goal, our_middle, best, their_middle, ratio)

    def _best(self, scenario: Scenario, goal: Goal) -> tuple[str, Mapping[int, float]]:
        """Return the best of the contenders that a goal names, and its figures."""
        found = {key: self.rounds(scenario.key, key, goal.figure) for key in goal.against}
        medians = {key: statistics.median(values.values()) for key, values in found.items() if values}
        if not medians:
            return "", {}
        best = (max if is_rate(goal.figure) else min)(medians, key=medians.__getitem__)
        return best, found[best]


def read(path: Path) -> Results:
    """Results as `write` kept them."""
    content = json.loads(path.read_text())
    content["measurements"] = [Measurement(**found) for found in content["measurements"]]
    return Results(**content)


def write(results: Results, path: Path) -> None:
    """Keep results in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n")
