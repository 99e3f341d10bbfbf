"""Shows what runs on a channel layer, for `manage.py channels` and `channels-classic status`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from django.core.management.base import CommandError

from channels_classic._log_escapes import escape
from channels_classic._options import check_values, option
from channels_classic.exceptions import ChannelsError, LayerUnavailable, StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.diagnosis import as_dict, problems
from channels_classic.layers.status import LayerStatus, read
from channels_classic.management.checks import Condition
from channels_classic.management.status_tables import NAMES, tables, text

if TYPE_CHECKING:
    from rich.live import Live

CHECK_FAILED = 1
UNKNOWN = 2
"""Exit statuses."""


LEAST_NAME = 16
"""Least width of the first column of a table on a screen."""


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
        check_values(self)
        if self.check and self.watch:
            raise ValueError("--check checks once and --watch repeats until it is stopped: give one of them.")


class Display(Protocol):
    """Shows statuses, or the reason why there is none."""

    def show(self, status: LayerStatus) -> None:
        """Show a status."""

    def fail(self, reason: str) -> None:
        """Show why the layer cannot be asked."""


def run(layer: BaseChannelLayer, config: StatusConfig, out: TextIO) -> None:
    """Show the status of a layer. Raise `CommandError`, with the exit status, for a failed check or a lost layer."""
    try:
        if config.check:
            check(layer, config, out)
        elif config.watch:
            with _display(config, out) as display:
                _watch(layer, config, display)
        else:
            earlier = read(layer)
            time.sleep(config.interval)
            _Lines(config, out).show(read(layer).since(earlier))
    except ChannelsError as error:
        raise CommandError(str(error), returncode=UNKNOWN) from error
    except BrokenPipeError:  # a program such as `head` has read what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check(layer: BaseChannelLayer, config: StatusConfig, out: TextIO) -> None:
    """Check the conditions. Raise `CommandError` if one does not hold."""
    try:
        conditions = [Condition.parse(condition) for condition in config.check]
    except ValueError as error:
        raise CommandError(str(error), returncode=UNKNOWN) from error
    status = read(layer)
    failures = [failure for condition in conditions if (failure := condition.failure(status))]
    if config.json:
        _Lines(config, out).show(status)
    if failures:
        raise CommandError(" ".join(failures), returncode=CHECK_FAILED)


def _watch(layer: BaseChannelLayer, config: StatusConfig, display: Display) -> None:
    """Show the status again and again. Whoever watches wants to see the end of an outage too."""
    earlier = None
    with suppress(KeyboardInterrupt):
        while True:
            try:
                status = read(layer)
            except (LayerUnavailable, StepRefused) as error:
                display.fail(str(error))
                earlier = None
            else:
                display.show(status.since(earlier) if earlier is not None else status)
                earlier = status
            time.sleep(config.interval)


class _Lines:
    """Writes text, or one object of JSON a line."""

    def __init__(self, config: StatusConfig, out: TextIO) -> None:
        self._json = config.json
        self._out = out

    def show(self, status: LayerStatus) -> None:
        self._write(json.dumps(as_dict(status)) if self._json else text(status))

    def fail(self, reason: str) -> None:
        self._write(json.dumps({"error": reason}) if self._json else f"! {reason}\n")

    def _write(self, content: str) -> None:
        self._out.write(f"{content}\n" if self._json else content)
        self._out.flush()


@contextmanager
def _display(config: StatusConfig, out: TextIO) -> Iterator[Display]:
    """Use the whole screen if `rich` is installed and the output is a terminal; otherwise write line by line."""
    if config.json or not out.isatty() or find_spec("rich") is None:
        yield _Lines(config, out)
        return
    from rich.live import Live

    with Live(screen=True, auto_refresh=False) as live, _interrupted_by_sigterm():
        yield _Screen(live)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do inside the block what Ctrl-C does: the terminal would stay on the other screen, without a cursor.

    In the main thread only; in other threads Python cannot set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Screen:
    """Draws a whole screen with rich."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, status: LayerStatus) -> None:
        from rich.table import Table
        from rich.text import Text

        parts = [*map(_warning, problems(status))]
        for table in tables(status):
            shown = Table(title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
            for column in table.columns:
                # On a narrow screen names are wrapped, and other cells end with an ellipsis.
                is_text = column in NAMES
                width = LEAST_NAME if column == table.columns[0] else None
                shown.add_column(
                    column, overflow="fold" if is_text else "ellipsis", no_wrap=not is_text, min_width=width
                )
            for row in table.rows:
                shown.add_row(*(Text(escape(cell)) for cell in row))  # plain: brackets in a name are not markup
            parts.append(shown)
        self._draw(parts)

    def fail(self, reason: str) -> None:
        self._draw([_warning(reason)])

    def _draw(self, parts: list[Any]) -> None:
        from rich.console import Group

        self._live.update(Group(*parts), refresh=True)


def _warning(sentence: str) -> Any:
    from rich.text import Text

    return Text(escape(sentence), style="bold red")
