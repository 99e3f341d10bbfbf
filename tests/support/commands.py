"""Commands that end by themselves, without the time that imports take: forked from a process that has made them.

Each is a process with its own arguments, folder, environment, settings and exit status. Only what all have in common,
Python, Django and this package, is imported before. `tests.support.processes` starts programs from nothing: for those
that serve, and wherever the start itself is tested.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.processes import TIMEOUT
from tests.support.waiting import scaled

IMPORTED = [
    "django.core.management",
    "django.db.models",
    "django.contrib.staticfiles",
    "channels_classic.interface_server.server.server",
    "channels_classic.layers.local",
    "channels_classic.layers.redis",
    "channels_classic.management.cli",
    "channels_classic.worker",
    "channels_classic.worker.supervisor",
]

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(IMPORTED)


class Ended:
    """A command that has ended."""

    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.output = output


def run_command(
    arguments: Sequence[str], folder: str | os.PathLike[str], environment: Mapping[str, str | None]
) -> Ended:
    """Run `manage.py` or `channels-classic` with arguments, and return when it has ended.

    `environment` is added to that of the tests; a value of `None` removes a name.
    """
    merged = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    with tempfile.NamedTemporaryFile("r", errors="replace") as output:
        process = _processes.Process(target=_run, args=(list(arguments), os.fspath(folder), merged, output.name))
        process.start()
        process.join(scaled(TIMEOUT))
        status = process.exitcode
        if status is None:
            process.kill()
            process.join()
        process.close()
        text = output.read()
    assert status is not None, f"{' '.join(arguments)} does not end within {scaled(TIMEOUT)} s. Its output:\n{text}"
    return Ended(status, text)


def _run(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Become the command, as `python manage.py …` in a shell would: in the process that was forked for it."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    sys.argv = arguments
    sys.path[:0] = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    program = Path(folder, arguments[0])
    if program.suffix == ".py":
        runpy.run_path(str(program), run_name="__main__")
    else:
        from channels_classic.management.cli import main

        main()
