"""The distribution as users get it: built from a checkout, installed beside a project that has an app called worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from channels_classic import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"channels_classic": "", "worker": "channels_classic/", "interface_server": "channels_classic/"}
LINKS = ["channels_classic/worker", "channels_classic/interface_server"]
NOT_IN_A_CLONE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "*.sqlite3")

USER_PROJECT = {
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
""",
    "site_settings.py": """
SECRET_KEY = "a key for tests, and for nothing else"
INSTALLED_APPS = ["django.contrib.contenttypes", "channels_classic", "worker"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "site_urls"
CHANNEL_LAYERS = {"default": {"ROUTING": "site_urls.channel_routing"}}
""",
    "site_urls.py": "urlpatterns = []\nchannel_routing = {}\n",
    "worker/__init__.py": "",
    "worker/loop.py": "OWNER = 'the user'\n",
    "worker/models.py": """
from django.db import models
class Worker(models.Model):
    name = models.CharField(max_length=50)
""",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
]  # it builds twice and fills an environment, on a machine that may be busy


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, without what git ignores."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "source", symlinks=True, ignore=NOT_IN_A_CLONE)


@pytest.fixture(scope="module")
def distributions(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution of the clone and the wheel made from that."""
    folder = tmp_path_factory.mktemp("distributions")
    _run(sys.executable, "-m", "build", "--outdir", folder, clone)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    return next(distributions.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a clean environment that holds the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    _run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return folder / "bin"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project with an app called worker."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in USER_PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_wheel_has_one_top_level_package(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert top == {"channels_classic", f"channels_classic-{__version__}.dist-info"}


def test_the_wheel_holds_every_file_of_the_three_packages_once(clone: Path, wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    files = _files_to_install(clone)
    assert set(files) - set(names) == set(), "not installed: add the package or the kind of file to setup.cfg"
    assert set(names) - set(files) == set(), "installed, but from where?"
    assert len(names) == len(set(names))


def test_a_clone_without_links_gives_the_same_wheel(clone: Path, wheel: Path, tmp_path: Path) -> None:
    plain = shutil.copytree(clone, tmp_path / "source", symlinks=True)
    for link in LINKS:
        (plain / link).unlink()
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, plain)
    assert _contents(next(tmp_path.glob("*.whl"))) == _contents(wheel)


def test_the_source_distribution_holds_the_programs_once(distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as source:
        names = [name.partition("/")[2] for name in source.getnames()]
    assert {"worker/__init__.py", "interface_server/__init__.py"} <= set(names)
    assert [name for name in names if name.startswith(tuple(LINKS))] == []


@pytest.mark.parametrize(
    "command",
    [
        ["python", "manage.py", "check"],
        ["python", "manage.py", "runworker", "--help"],
        ["python", "manage.py", "runinterface", "--help"],
        ["channels-classic", "--help"],
        ["channels-classic", "interface", "--help"],
        ["channels-classic", "worker", "--help"],
    ],
    ids=" ".join,
)
def test_the_commands_run_beside_an_app_called_worker(command: list[str], programs: Path, project: Path) -> None:
    assert _run(programs / command[0], *command[1:], folder=project) != ""


def test_the_programs_and_the_app_called_worker_do_not_meet(programs: Path, project: Path) -> None:
    look = (
        "import channels_classic.worker, channels_classic.interface_server, worker.loop as theirs;"
        "print(channels_classic.worker.__file__, channels_classic.interface_server.__file__, theirs.OWNER, sep='\\n')"
    )
    ours, server, owner = _run(programs / "python", "-c", look, folder=project).splitlines()
    assert ours.endswith("site-packages/channels_classic/worker/__init__.py")
    assert server.endswith("site-packages/channels_classic/interface_server/__init__.py")
    assert owner == "the user"


def _files_to_install(clone: Path) -> list[str]:
    files = (path for package in PACKAGES for path in (clone / package).rglob("*"))
    names = (path.relative_to(clone).as_posix() for path in files if path.is_file())
    return [PACKAGES[name.split("/")[0]] + name for name in names if not name.startswith(tuple(LINKS))]


def _contents(wheel: Path) -> Mapping[str, int]:
    return {entry.filename: entry.CRC for entry in zipfile.ZipFile(wheel).infolist()}


def _run(*command: str | Path, folder: Path | None = None) -> str:
    """Return what a command prints; fail with everything it said when it fails."""
    ours = ("PYTHON", "DJANGO_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout
