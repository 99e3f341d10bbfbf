"""The benchmarks, in the smallest form: one scenario of ours from end to end, so that they do not rot."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.limits import more_descriptors
from benchmarks.report import figures_table, goals_table
from benchmarks.results import Comparison, Measurement, Results, read
from benchmarks.rounds import Course
from benchmarks.scenarios import SCENARIOS
from tests.support.processes import Process
from tests.support.waiting import scaled

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SCENARIOS_BY_KEY = {scenario.key: scenario for scenario in SCENARIOS}
ECHO = SCENARIOS_BY_KEY["echo"]


def test_a_scenario_is_measured_and_reported(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = ["--rounds", "1", "--seconds", "0.3", "--only", "echo-1", "--contenders", "redis"]
    with Process([sys.executable, "-m", "benchmarks", *options, "--results", path], cwd=ROOT) as benchmarks:
        assert benchmarks.wait() == 0, benchmarks.output
    measured = {found["contender"]: found["figures"] for found in json.loads(path.read_text())["measurements"]}
    assert set(measured) == {"redis"}
    assert all(figures["messages/s"] > 0 and figures["wrong"] == 0 for figures in measured.values())
    results = read(path)
    assert goals_table(results) in benchmarks.output
    assert figures_table(results) in benchmarks.output


def test_a_small_storm_fails_nobody_and_is_spread() -> None:
    more_descriptors()
    with Course(1.0, {"storm": "60", "drain": "3"}) as course:
        measured = course.measure(SCENARIOS_BY_KEY["storm"], "redis-drain", 0)
    assert not measured.failure
    names = ("failed attempts", "lost", "twice", "missed", "delivered twice", "gaps")
    assert {name: measured.figures[name] for name in names} == dict.fromkeys(names, 0)
    assert measured.figures["handshakes in the busiest second"] < 60


def test_clients_that_lose_their_network_get_everything_once() -> None:
    with Course(1.0, {"drops": "20", "period": "3"}) as course:
        measured = course.measure(SCENARIOS_BY_KEY["drops"], "redis", 0)
    assert not measured.failure
    assert measured.figures.pop("messages") > 50
    assert measured.figures == {"losses of a network": 60, "% delivered": 100, "missed": 0, "twice": 0, "gaps": 0}


def test_slow_clients_are_not_cut_off_and_hold_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = ["--rounds", "1", "--seconds", "0.3", "--only", "slow-clients", "--contenders", "local-2"]
    with Process([sys.executable, "-m", "benchmarks", *options, "--results", path], cwd=ROOT) as benchmarks:
        assert benchmarks.wait(90) == 0, benchmarks.output
    (figures,) = (found["figures"] for found in json.loads(path.read_text())["measurements"])
    assert figures["wrong"] == 0
    assert figures["ms, slowest"] < scaled(5000)


def test_a_goal_is_against_the_best_of_the_peers_round_by_round() -> None:
    found = compared(0, {"redis": [30, 20, 40], "channels": [10, 10, 10], "channels-2": [20, 11, 10]})
    assert found.best == "channels-2"
    assert (found.ratio.low, found.ratio.value, found.ratio.high) == (1.5, 20 / 11, 4.0)
    assert found.verdict == "met"


@pytest.mark.parametrize(
    ("local", "verdict"), [((99, 101, 102), "met"), ((99, 98, 101), "even"), ((99, 98, 97), "missed")]
)
def test_who_is_slower_in_some_rounds_only_is_even(local: tuple[int, ...], verdict: str) -> None:
    parity = next(index for index, goal in enumerate(ECHO.goals) if goal.ratio == 1)
    assert compared(parity, {"redis": [100, 100, 100], "local": local}).verdict == verdict


def test_being_some_times_as_fast_is_not_reached_by_chance() -> None:
    assert compared(0, {"redis": [14, 14, 20], "channels": [10, 10, 10]}).verdict == "missed"


def compared(goal: int, rates: Mapping[str, Sequence[float]]) -> Comparison:
    """The comparison for one goal of `echo`, from rates by contender and round."""
    measurements = [
        Measurement("echo", key, number, {ECHO.goals[goal].figure: rate})
        for key, rounds in rates.items()
        for number, rate in enumerate(rounds)
    ]
    found = Results(1.0, measurements=measurements).compare(ECHO, ECHO.goals[goal])
    assert found is not None
    return found


def test_tables_name_only_what_there_is() -> None:
    for scenario in SCENARIOS:
        assert set(scenario.contenders) <= set(CONTENDERS)
        for goal in scenario.goals:
            assert {goal.ours, *goal.against} <= set(scenario.contenders)
