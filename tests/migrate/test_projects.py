"""Six projects in the style of 2016 to 2018: migrated by the command, both ways, their own tests pass on this library.

What Django's age needs is done by django-upgrade, and by the few lines of a patch that lies beside each project.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.site import ROOT

PROJECTS = ROOT / "tests" / "projects" / "migration"
NAMES = sorted(path.name for path in PROJECTS.iterdir() if path.is_dir())

MIGRATE = [sys.executable, "-W", "error", "-c", "from channels_classic.management.cli import main; main()", "migrate"]

WAYS = {"rewritten": [], "alias": ["--alias"]}

OLD_NAMES = ["ignore:channels_classic.tests:DeprecationWarning", "ignore:HttpClient:DeprecationWarning"]
"""Warnings of 1.x projects under the alias line, as they came with Channels 1.1.8."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # each case runs several programs


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command writes; fail with it if the command fails."""
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(params=NAMES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a project."""
    copy = tmp_path / str(request.param)
    shutil.copytree(PROJECTS / str(request.param), copy)
    return copy


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("way", WAYS)
def test_its_own_tests_pass_after_the_migration(project: Path, way: str) -> None:
    output = run(*MIGRATE, ".", "--write", *WAYS[way], cwd=project)
    assert " changed." in output
    after = contents(project)
    assert run(*MIGRATE, ".", "--write", *WAYS[way], cwd=project).startswith("Nothing to change.")
    assert contents(project) == after

    assert ("django-upgrade" in output) == (project.name not in ("dashboard", "pinned"))
    python_files = [path for path in project.rglob("*.py") if "scripts" not in path.parts]
    run(
        sys.executable,
        "-m",
        "django_upgrade",
        "--target-version",
        "5.2",
        "--exit-zero-even-if-changed",
        *python_files,
        cwd=project,
    )
    patch = PROJECTS / f"{project.name}.patch"
    if patch.exists():
        run("git", "apply", patch, cwd=project)

    warnings = [part for text in (OLD_NAMES if way == "alias" else []) for part in ("-W", text)]
    manage = [sys.executable, "-W", "error", *warnings, "manage.py"]
    assert "no issues" in run(*manage, "check", cwd=project)
    tests = run(*manage, "test", "--shuffle", cwd=project)
    found = re.search(r"Ran (\d+) tests", tests)
    assert found is not None and int(found[1]) == _count_of_tests(project) and "\nOK" in tests


def _count_of_tests(project: Path) -> int:
    return sum(len(re.findall(r"^    def test_", path.read_text(), re.M)) for path in project.rglob("test*.py"))
