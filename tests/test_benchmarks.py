"""The benchmarks, in the smallest form: one scenario of ours from end to end, so that they do not rot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.report import figures_table, goals_table
from benchmarks.results import Measurement, Results, read
from benchmarks.scenarios import SCENARIOS
from tests.processes import Process

ROOT = Path(__file__).parent.parent


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


def test_a_goal_is_against_the_best_of_the_peers_round_by_round() -> None:
    scenario = next(one for one in SCENARIOS if one.key == "echo")
    goal = scenario.goals[0]
    rounds = {"redis": [30, 20, 40], "channels": [10, 10, 10], "channels-2": [20, 11, 10]}
    measurements = [
        Measurement("echo", key, number, {goal.figure: rate})
        for key, rates in rounds.items()
        for number, rate in enumerate(rates)
    ]
    found = Results(1.0, measurements=measurements).compare(scenario, goal)
    assert found is not None
    assert found.best == "channels-2"
    assert (found.ratio.low, found.ratio.value, found.ratio.high) == (1.5, 20 / 11, 4.0)
    assert found.met


def test_tables_name_only_what_there_is() -> None:
    for scenario in SCENARIOS:
        assert set(scenario.contenders) <= set(CONTENDERS)
        for goal in scenario.goals:
            assert {goal.ours, *goal.against} <= set(scenario.contenders)
