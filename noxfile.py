"""Tests in other environments than the one for development: `make test-all`, `make newest`.

Each session has an environment of its own below `.nox`. `tests` has a session for each supported pair of Python and
Django; a Python that is not installed here is left out, unless `CI` is set. With `--tags ci` only the newest of both
that is installed is tried. What follows `--` on the command line is for pytest.
"""

from __future__ import annotations

import shutil

import nox

PYTHONS = {"5.2": range(10, 15), "6.0": range(12, 16), "6.1": range(12, 16)}
"""The supported releases of Django, and the minor versions of Python to try each with.

Python 3.10 has reached its end; it stays for as long as Django 5.2, which runs on it: until April 2028.
"""

NEWEST_PYTHON = max((minor for minor in PYTHONS["6.1"] if shutil.which(f"python3.{minor}")), default=12)
"""The newest that is installed here."""

PAIRS = [(f"3.{minor}", django) for django, minors in PYTHONS.items() for minor in minors]

REQUIREMENTS = ("django", "redis[hiredis]", "uvicorn", "websockets", "httptools", "msgpack", "click", "uvloop")
"""The packages that `newest` installs, whatever upper bounds setup.cfg has."""

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"


@nox.session
@nox.parametrize(
    "python,django",
    [
        nox.param(*pair, id="-".join(pair), tags=["ci"] if pair == (f"3.{NEWEST_PYTHON}", "6.1") else [])
        for pair in PAIRS
    ],
)
def tests(session: nox.Session, django: str) -> None:
    """Run the tests with one pair of Python and Django."""
    session.install("--quiet", "--constraint", "constraints.txt", f"django=={django}.*", "--editable", ".[test]")
    _pytest(session)


@nox.session(python=f"3.{NEWEST_PYTHON}")
def newest(session: nox.Session) -> None:
    """Run the tests with the newest releases, also of what setup.cfg has an upper bound for."""
    session.install("--quiet", "--editable", ".[test]")
    session.install("--quiet", "--upgrade", *REQUIREMENTS)
    session.run("python", "-m", "pip", "list")
    _pytest(session)


def _pytest(session: nox.Session) -> None:
    """Run pytest; without coverage tests wait even more than they compute, so more of them run at once."""
    session.run("python", "-m", "pytest", "-n", "8", "--quiet", *session.posargs)
