"""Shows what runs on a channel layer, for `manage.py channels` and `channels-classic status`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TextIO

from django.core.management.base import CommandError

from channels_classic._options import check_numbers, option
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.diagnosis import as_dict, problems
from channels_classic.layers.status import Status, read
from channels_classic.management.checks import Condition
from channels_classic.management.status_tables import tables, text

CHECK_FAILED = 1
UNKNOWN = 2
"""Exit statuses."""

Show = Callable[[Status], object]


@dataclass(frozen=True, slots=True)
class StatusConfig:
    """The options of `channels` and of `channels-classic status`."""

    watch: bool = option(False, "Show the status again and again, until Ctrl-C.")
    json: bool = option(False, "Write JSON, one object per line.")
    interval: float = option(1.0, "Seconds between two readings, from which rates are calculated.", above=0)
    check: tuple[str, ...] = option(
        (),
        "A condition such as workers>=2 or oldest<5. Exit status 1 if one does not hold, 2 if the layer cannot be "
        "asked. May be given several times.",
    )

    def __post_init__(self) -> None:
        check_numbers(self)


def run(layer: BaseChannelLayer, config: StatusConfig, out: TextIO) -> None:
    """Show the status of a layer. Raise `CommandError`, with the exit status, for a failed check or a lost layer."""
    if config.check:
        check(layer, config, out)
    elif config.watch:
        with _display(config, out) as show:
            _watch(layer, config, show)
    else:
        earlier = _read(layer)
        time.sleep(config.interval)
        _writer(config, out)(_read(layer).since(earlier))


def check(layer: BaseChannelLayer, config: StatusConfig, out: TextIO) -> None:
    """Check the conditions. Raise `CommandError` if one does not hold."""
    try:
        conditions = [Condition.parse(condition) for condition in config.check]
    except ValueError as error:
        raise CommandError(str(error), returncode=UNKNOWN) from error
    status = _read(layer)
    failures = [failure for condition in conditions if (failure := condition.failure(status))]
    if config.json:
        out.write(as_json(status))
    if failures:
        raise CommandError(" ".join(failures), returncode=CHECK_FAILED)


def _read(layer: BaseChannelLayer) -> Status:
    try:
        return read(layer)
    except (LayerUnavailable, StepRefused) as error:
        raise CommandError(str(error), returncode=UNKNOWN) from error


def _watch(layer: BaseChannelLayer, config: StatusConfig, show: Show) -> None:
    earlier = None
    try:
        while True:
            status = _read(layer)
            show(status.since(earlier) if earlier is not None else status)
            earlier = status
            time.sleep(config.interval)
    except KeyboardInterrupt:
        return


def as_json(status: Status) -> str:
    """Return a status as a line of JSON."""
    return json.dumps(as_dict(status)) + "\n"


def _writer(config: StatusConfig, out: TextIO) -> Show:
    make = as_json if config.json else text

    def write(status: Status) -> None:
        out.write(make(status))
        out.flush()

    return write


@contextmanager
def _display(config: StatusConfig, out: TextIO) -> Iterator[Show]:
    """Show on a whole screen where `rich` is installed and somebody looks, otherwise line by line."""
    if config.json or not out.isatty() or find_spec("rich") is None:
        yield _writer(config, out)
        return
    from rich.live import Live

    with Live(screen=True, auto_refresh=False) as live:
        yield lambda status: live.update(_screen(status), refresh=True)


def _screen(status: Status) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(problem, style="bold red") for problem in problems(status)]
    for table in tables(status):
        shown = Table(title=table.title, title_justify="left", title_style="bold", box=None)
        for column in table.columns:
            shown.add_column(column)
        for row in table.rows:
            shown.add_row(*row)
        parts.append(shown)
    return Group(*parts)
