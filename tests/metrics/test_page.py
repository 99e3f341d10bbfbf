"""The page about metrics, the Grafana dashboard and the metrics that there are: held to one another."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from channels_classic._metrics.catalogue import BOTH, INTERFACE, LAYER, METRICS, PREFIX, WORKER, Metric, MetricKind
from channels_classic.management.checks import VALUES

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "deploy" / "grafana.json").read_text())
SECTIONS = {"Interface servers": INTERFACE, "Workers": WORKER, "Both": BOTH, "The layer": LAYER}


def rows(section: str) -> list[list[str]]:
    text = PAGE.partition(f"### {section}\n")[2].partition("\n#")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_metric_is_on_the_page_with_its_labels_and_what_to_do(section: str) -> None:
    found = rows(section)
    wanted = [[f"`{metric.name}`", ", ".join(f"`{label}`" for label in metric.labels)] for metric in SECTIONS[section]]
    assert [row[:2] for row in found] == wanted
    assert all(row[2].startswith("If this") or ": " in row[2] or row[2].startswith("If ") for row in found)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: str(metric.name))
def test_names_and_units_are_those_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z_]+", metric.full_name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert not re.search(r"_(ms|milliseconds|kb|mib|count|sum|bucket)(_|$)", metric.name)
    if metric.kind is MetricKind.HISTOGRAM:
        assert metric.name.endswith("_seconds")


def test_every_value_of_a_check_is_on_the_page() -> None:
    named = {name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert set(VALUES) <= named


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def known() -> set[str]:
    found = set()
    for metric in METRICS.values():
        found.add(metric.full_name)
        if metric.kind is MetricKind.HISTOGRAM:
            found |= {f"{metric.full_name}_{part}" for part in ("bucket", "count", "sum")}
    return found


def test_every_expression_of_the_dashboard_and_of_the_alerts_uses_metrics_that_exist() -> None:
    for expression in [*expressions(), *re.findall(r"expr: (.*)", PAGE)]:
        names = re.findall(rf"{PREFIX}\w+", expression)
        assert names and set(names) <= known(), expression
        for name in names:
            metric = METRICS[re.sub(r"_(bucket|count|sum)$", "", name).removeprefix(PREFIX)]
            cumulative = metric.kind is not MetricKind.GAUGE
            assert bool(re.search(rf"(rate|increase)\({name}[{{\[]", expression)) == cumulative, expression
            for label in re.findall(r"by \(([^)]*)\)", expression):
                assert set(re.split(r",\s*", label)) <= {*metric.labels, "le", "job"}, expression


def test_the_dashboard_shows_every_metric() -> None:
    text = " ".join(expressions())
    assert [metric.name for metric in METRICS.values() if metric.full_name not in text] == []


def test_the_parentheses_of_every_expression_are_closed_and_no_panel_covers_another() -> None:
    for expression in expressions():
        assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}")
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(x, place["y"]) for place in places for x in range(place["x"], place["x"] + place["w"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
