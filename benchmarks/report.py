"""Tables and pictures of results, for the terminal, for `docs/performance.md` and for `docs/figures.md`.

`python -m benchmarks.report RESULTS.json` writes them into the documentation: tables between the two marker lines,
and a picture.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.picture import picture
from benchmarks.results import Comparison, Middle, Results, read
from benchmarks.scenarios import SCENARIOS, Scenario

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance.md"
FIGURES = DOCS / "figures.md"
PICTURE = DOCS / "performance.svg"
BEGIN, END = "<!-- results: written by benchmarks.report -->", "<!-- end of results -->"

NOISY = 0.05
"""From this share of the machine on, what others did is worth a word."""

SIGNS = {True: "≥", False: "≤"}


def heading(results: Results) -> str:
    """Return the place and time of the measurement in two sentences, with a warning when the machine was busy."""
    rounds = 1 + max((found.round for found in results.measurements), default=-1)
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    lines = [
        f"Taken {results.taken}, {rounds} round{'s' * (rounds != 1)} of {results.seconds:g} s each on "
        f"{results.machine}, shared by client, servers and Redis; {versions}."
    ]
    others = statistics.fmean(results.busy or [0.0])
    if others > NOISY:
        lines.append(f"**The machine was not quiet**: others used {others:.0%} of it between measurements.")
    return " ".join(lines)


def goals_table(results: Results) -> str:
    """Each goal, and how it was reached."""
    rows = []
    for scenario in SCENARIOS:
        for goal in scenario.goals:
            found = results.compare(scenario, goal)
            if found is not None:
                rows.append(_goal_row(scenario, found))
    return _table(("what", "figure", "here", "against", "there", "ratio", "goal", ""), rows)


def _goal_row(scenario: Scenario, found: Comparison) -> tuple[str, ...]:
    goal = found.goal
    ours = CONTENDERS[goal.ours].name.removeprefix("channels_classic, ")
    sign = SIGNS[goal.at_least]
    return (
        scenario.title,
        goal.figure,
        f"{number(found.ours.value)} ({ours})",
        CONTENDERS[found.best].name if found.best else "",
        number(found.theirs.value) if found.best else "",
        spread(found.ratio) if found.best else "",
        f"{sign} {number(goal.ratio)}" if goal.ratio is not None else "",
        found.verdict.replace("missed", "**missed**"),
    )


def figures_table(results: Results) -> str:
    """Every figure of everyone: the median over rounds, with the lowest and the highest."""
    rows = []
    for scenario in SCENARIOS:
        for key in scenario.contenders:
            measurements = results.of(scenario.key, key)
            found_names = dict.fromkeys(name for found in measurements for name in found.figures)
            names = [name for name in found_names if not name.startswith(COST)]
            figures = [
                f"{name} {spread(middle)}"
                for name in names
                if (middle := results.middle(scenario.key, key, name)) and not (name in FLAWS and middle.high == 0)
            ]
            failures = sum(bool(found.failure) for found in measurements)
            if failures:
                figures.append(f"**failed** in {failures} of {len(measurements)}")
            if measurements:
                rows.append((scenario.title, CONTENDERS[key].name, "; ".join(figures)))
    return _table(("what", "who", "figures"), rows)


def costs_table(results: Results) -> str:
    """Return the processor time of a message in µs by station, which noise on the machine hardly changes."""
    rows = []
    for scenario in SCENARIOS:
        for key in scenario.contenders:
            costs = [results.middle(scenario.key, key, f"{COST}{name}") for name in STATIONS]
            if any(costs):
                together = sum(cost.value for cost in costs if cost)
                cells = [number(cost.value) if cost else "" for cost in costs]
                rows.append((scenario.title, CONTENDERS[key].name, *cells, number(together)))
    return _table(("what", "who", *STATIONS, "together"), rows)


def flaws(results: Results) -> list[str]:
    """A sentence for each measurement in which this project answered wrongly, or lost something."""
    return [
        f"{found.scenario}, {found.contender}, round {found.round + 1}: {found.figures[name]:g} {name}"
        for found in results.measurements
        for name in FLAWS
        if CONTENDERS[found.contender].name.startswith("channels_classic") and found.figures.get(name)
    ]


COST = "µs of "
STATIONS = ("server", "interface server", "worker", "Redis", "client")

FLAWS = ("wrong", "lost", "twice")
"""Figures that are only worth a word when they are not zero."""


def spread(middle: Middle) -> str:
    """The median, and in brackets the lowest and the highest when they differ from it."""
    text, low, high = number(middle.value), number(middle.low), number(middle.high)
    return text if low == high else f"{text} ({low}–{high})"


def number(value: float) -> str:
    """A number with as many digits as it is worth."""
    for limit, digits in ((100, 0), (10, 1), (0.1, 2)):
        if abs(value) >= limit or value == 0:
            text = f"{value:,.{digits}f}"
            return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns stand under one another in a terminal as well."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    cells = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    cells.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in cells)


def main(path: str) -> None:
    """Write the results into the documentation."""
    results = read(Path(path))
    _put(PAGE, heading(results), goals_table(results))
    titles = ("## Processor time of a message, µs", "## Everything else")
    _put(FIGURES, heading(results), titles[0], costs_table(results), titles[1], figures_table(results))
    PICTURE.write_text(picture(results))


def _put(page: Path, *parts: str) -> None:
    """Replace what is between the marker lines of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n" + "\n\n".join(parts) + f"\n{END}{after}")


if __name__ == "__main__":
    main(*sys.argv[1:])
