"""Runs the tests with every Python that is found here and every Django that goes with it: `make test-all`.

Each pair has an environment of its own below `.nox`. With `--tags ci` only those run that `make test` leaves out where
time is short: the Python of this environment with the older Djangos, and the newest Python with the newest Django.
What follows `--` is for pytest.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")

OLDEST_PYTHON = {"5.2": "3.10", "6.0": "3.12", "6.1": "3.12"}
"""The Djangos, and the oldest Python that each runs on."""

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def _pyenv_folders() -> list[str]:
    """Where pyenv keeps the newest interpreter of each version, which the links it makes may not lead to."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [sorted(root.glob(f"{python}.*"), key=lambda folder: _version(folder.name)) for python in PYTHONS]
    return [str(folders[-1] / "bin") for folders in found if folders]


def _pairs() -> list[tuple[str, str]]:
    return [
        (python, django)
        for python in PYTHONS
        for django, oldest in OLDEST_PYTHON.items()
        if _version(python) >= _version(oldest)
    ]


def _is_for_ci(python: str, django: str) -> bool:
    newest = next(reversed([other for other in PYTHONS if shutil.which(f"python{other}")]), OWN)
    latest_for_own = [other for own, other in _pairs() if own == OWN][-1:]
    return (python, django) == (newest, list(OLDEST_PYTHON)[-1]) or (python == OWN and [django] != latest_for_own)


os.environ["PATH"] = os.pathsep.join([*_pyenv_folders(), os.environ["PATH"]])


@nox.session(venv_backend="venv")
@nox.parametrize(
    "python,django",
    [nox.param(*pair, id="-".join(pair), tags=["ci"] if _is_for_ci(*pair) else []) for pair in _pairs()],
)
def tests(session: nox.Session, django: str) -> None:
    """Run the test suite."""
    session.install("--quiet", f"django=={django}.*", "--editable", ".[test]")
    session.run("python", "-m", "pytest", "-n", "4", "--quiet", *session.posargs)
