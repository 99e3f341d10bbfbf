"""The command `channels-classic migrate`: prints the diff and the report, or writes the changes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from channels_classic._log_escapes import escape

from .files import project_files
from .plan import plan, write
from .report import PAGE


def run(path: Path, *, write_changes: bool, alias: bool) -> None:
    """Print the migration of the project at `path`; carry it out with `write_changes`."""
    if not path.is_dir() and not list(project_files(path)):
        raise click.ClickException(
            f"{escape(str(path))} is no kind of file that migrate reads: change it by hand as {PAGE} says, or name the "
            f"folder of the project."
        )
    report = plan(path, alias=alias)
    if write_changes:
        try:
            write(path, report.changes)
        except OSError as error:
            raise click.ClickException(f"{error}. Files before it may have changed: run this command again.") from error
    else:
        # To a terminal nothing is written that controls it; a file gets the diff that `git apply` reads.
        shown = _escaped if sys.stdout.isatty() else str
        for line in report.diff():
            click.echo(shown(line), nl=False)
        if report.changes:
            click.echo()
    for line in report.summary(written=write_changes):
        click.echo(escape(line))


def _escaped(lines: str) -> str:
    return "\n".join(escape(line) for line in lines.split("\n"))
