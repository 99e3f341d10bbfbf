"""Commands in strings of Python code, and uses of the version of Channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_plan import findings, project

DAPHNE = (
    "This command of Daphne has a form that is not rewritten: write channels-classic interface. See docs/migrate.md"
)
INSTALL = (
    "Require channels-classic instead of channels and asgi_redis or asgi_ipc, and drop daphne. See docs/migrate.md"
)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("run('daphne -p 80 mysite.asgi:channel_layer')", f"1: {DAPHNE}"),
        ("run(f'{env}/bin/daphne {site}:channel_layer')", f"1: {DAPHNE}"),
        ("Popen(['daphne', '-p', port, 'mysite.asgi:channel_layer'])", f"1: {DAPHNE}"),
        ("UNIT = '''\nExecStart=daphne \\\\\n\nExecStart=daphne asgi:channel_layer\n'''", f"4: {DAPHNE}"),
        ("run('pip install channels==1.1.8')", f"1: {INSTALL}"),
        ("run(['pip', 'install', 'channels==1.1.8'])", f"1: {INSTALL}"),
        ("COMMANDS = [\n    'pip install channels==1.1.8',\n]", f"2: {INSTALL}"),
        ("x = 1\nrun('set -e\\npip install channels==1.1.8')", f"2: {INSTALL}"),
    ],
)
def test_commands_in_code_are_found(tmp_path: Path, code: str, wanted: str) -> None:
    (found,) = findings(project(tmp_path, {"fabfile.py": code + "\n"}))
    assert found.startswith(f"fabfile.py:{wanted}")


@pytest.mark.parametrize(
    "code",
    [
        "run('daphne mysite.asgi:application')",
        "x = 'asgi:channel_layer'",
        "run('pip install channels==4.3')",
        "x = b'pip'",
    ],
)
def test_other_commands_are_not(tmp_path: Path, code: str) -> None:
    assert findings(project(tmp_path, {"fabfile.py": code + "\n"})) == []


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("import channels\nchannels.__version__", "2: `channels.__version__` is the number of this package here"),
        ("import channels as c\nc.__version__", "2: `channels.__version__` is the number of this package here"),
        ("import channels.log\nchannels.__version__", "2: `channels.__version__` is the number of this package here"),
        ("from channels import Group, __version__", "1: `channels.__version__` is the number of this package here"),
        ("version('channels')", "1: Ask for the version of 'channels-classic'"),
        ("importlib.metadata.version('channels')", "1: Ask for the version of 'channels-classic'"),
        ("pkg_resources.get_distribution('channels').version", "1: Ask for the version of 'channels-classic'"),
    ],
)
def test_uses_of_the_version_are_found(tmp_path: Path, code: str, wanted: str) -> None:
    folder = project(tmp_path, {"app.py": code + "\n"})
    (found,) = findings(folder)
    assert found.startswith(f"app.py:{wanted}")


@pytest.mark.parametrize("code", ["channels.__version__", "version('channels')", "from channels import __version__"])
def test_uses_of_the_version_of_channels_4_are_not(tmp_path: Path, code: str) -> None:
    assert findings(project(tmp_path, {"app.py": code + "\n", "b.py": "import channels.layers\n"})) == []


@pytest.mark.parametrize("code", ["channels.__version__", "version('django')", "from .channels import __version__"])
def test_other_versions_are_not(tmp_path: Path, code: str) -> None:
    assert findings(project(tmp_path, {"app.py": code + "\n"})) == []
