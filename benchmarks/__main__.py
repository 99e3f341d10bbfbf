"""`make bench`: runs the rounds, shows how far they are, prints the tables and keeps the results as JSON."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from benchmarks.contenders import CONTENDERS
from benchmarks.limits import more_descriptors
from benchmarks.report import costs_table, figures_table, flaws, goals_table, heading
from benchmarks.results import Results, write
from benchmarks.rounds import Course, busy, plan
from benchmarks.scenarios import FULL_SIZES, QUICK_SIZES, SCENARIOS

RESULTS = Path(__file__).parent / "results"


class Bar(Protocol):
    def __call__(self, what: str) -> None:
        """The next measurement is this."""


@contextmanager
def bar(total: int) -> Iterator[Bar]:
    """A progress bar on a terminal where `rich` is installed, otherwise a line for each measurement."""
    if find_spec("rich") is None or not sys.stdout.isatty():
        since = time.monotonic()
        yield lambda what: print(f"{time.monotonic() - since:.0f} s: {what}", flush=True)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}")) as progress:
        shown = progress.add_task("", total=total)
        begun = False

        def say(what: str) -> None:
            nonlocal begun
            progress.update(shown, advance=int(begun), description=what)
            begun = True

        yield say
        progress.update(shown, completed=total, description="")


def run(options: argparse.Namespace) -> Results:
    """Do all measurements; each is kept in the file as soon as it was made."""
    keys = options.only or [one.key for one in SCENARIOS if one.is_quick or not options.quick]
    scenarios = [one for one in SCENARIOS if one.key in keys]
    for contender in CONTENDERS.values():
        if not contender.is_available:
            print(f"{contender.name} is left out: {contender.needs} is not installed.", flush=True)
    measurements = list(plan(scenarios, options.contenders or CONTENDERS, options.rounds))
    results = Results(options.seconds)
    with Course(options.seconds, QUICK_SIZES if options.quick else FULL_SIZES) as course, bar(len(measurements)) as say:
        for number, scenario, key in measurements:
            say(f"round {number + 1} of {options.rounds}: {scenario.title}, {CONTENDERS[key].name}")
            results.busy.append(busy())
            results.measurements.append(course.measure(scenario, key, number))
            write(results, options.results)
    return results


def main() -> int:
    """The status of the program: 1 when something could not be measured, or this project answered wrongly."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of half a second each, for a first look")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--seconds", type=float, help="for which each client measures; default: 2")
    parser.add_argument("--only", nargs="*", choices=[scenario.key for scenario in SCENARIOS])
    parser.add_argument("--contenders", nargs="*", choices=CONTENDERS)
    parser.add_argument("--results", type=Path, default=RESULTS / f"{time.strftime('%Y-%m-%d-%H%M')}.json")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    more_descriptors()
    results = run(options)
    tables = (goals_table(results), costs_table(results), figures_table(results))
    print("\n\n".join((heading(results), *tables, f"Kept in {options.results}")))
    failed = [found for found in results.measurements if found.failure]
    for found in failed:
        print(f"\n{found.scenario}, {found.contender}, round {found.round + 1}:\n{found.failure}", file=sys.stderr)
    flawed = flaws(results)
    for flaw in flawed:
        print(flaw, file=sys.stderr)
    return int(bool(failed or flawed))


if __name__ == "__main__":
    sys.exit(main())
