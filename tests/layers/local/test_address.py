"""The address of a local layer: the same for all processes of a project, and for no other."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from channels_classic.exceptions import InvalidChannelLayerError
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.local.address import check_address, default_address

LOOK = "from channels_classic.layers.local.address import default_address; print(default_address())"


def address_of_a_process(cwd: Path, **environment: str) -> str:
    """The address that a process with this working folder and environment finds."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(cwd), os.getcwd()]), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
def test_the_address_lies_in_no_folder() -> None:
    assert default_address().startswith(f"@channels-classic-{os.geteuid()}-")


def test_the_address_follows_from_the_key_of_the_project(settings: Any) -> None:
    one = default_address()
    settings.BASE_DIR = "/somewhere/else"
    assert default_address() == one
    settings.SECRET_KEY = "the key of another project"
    assert default_address() != one
    assert settings.SECRET_KEY not in default_address()


def test_deployments_of_one_project_can_be_told_apart() -> None:
    assert len({default_address(), default_address("staging"), default_address("production")}) == 3


def test_processes_of_a_project_meet_whatever_their_environment(tmp_path: Path) -> None:
    for release, module in (("releases/1", "settings_web"), ("releases/2", "settings_worker")):
        folder = tmp_path / release
        folder.mkdir(parents=True)
        (folder / f"{module}.py").write_text(f"SECRET_KEY = 'the same'\nBASE_DIR = {str(folder)!r}\n")
    one = address_of_a_process(tmp_path / "releases/1", DJANGO_SETTINGS_MODULE="settings_web", TMPDIR="/var/tmp")
    two = address_of_a_process(
        tmp_path / "releases/2", DJANGO_SETTINGS_MODULE="settings_worker", XDG_RUNTIME_DIR="/run/user/1"
    )
    assert one == two


def test_without_settings_the_working_folder_is_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert address_of_a_process(tmp_path / "one") != address_of_a_process(tmp_path / "two")


def test_the_path_that_is_given_is_taken() -> None:
    assert LocalChannelLayer(path="/run/site/layer.sock").path == "/run/site/layer.sock"


def test_a_missing_folder_is_made_for_the_user_alone(tmp_path: Path) -> None:
    check_address(str(tmp_path / "made/layer.sock"))
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(InvalidChannelLayerError, match="chmod 700") as caught:
        check_address(str(folder / "layer.sock"))
    assert caught.value.key == "path"


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(InvalidChannelLayerError, match="belongs to user"):
        check_address(str(folder / "layer.sock"))


def test_a_folder_that_cannot_be_made_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidChannelLayerError, match="cannot be made"):
        check_address(str(tmp_path / "file/folder/layer.sock"))


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(InvalidChannelLayerError):
        check_address(str(tmp_path / "link/layer.sock"))


def test_a_path_too_long_for_a_socket_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long for a socket: expected fewer than 100 bytes"):
        LocalChannelLayer(path=str(tmp_path / ("x" * 100) / "layer.sock"))


def test_a_folder_is_no_socket(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a folder: expected the path of a file in it"):
        LocalChannelLayer(path=str(tmp_path))


def test_a_file_that_is_no_socket_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    layer = LocalChannelLayer(path=str(path))
    path.write_text("precious")
    with pytest.raises(ValueError, match="a file that is not a socket: expected a path at which there is nothing"):
        LocalChannelLayer(path=str(path))
    with pytest.raises(InvalidChannelLayerError, match=r"cannot listen at .*: a file that is not a socket is there"):
        asyncio.run(layer.start())  # made before the file
    assert path.read_text() == "precious"


def test_a_layer_in_a_folder_of_others_says_so_on_first_use(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(InvalidChannelLayerError):
        LocalChannelLayer(path=str(tmp_path / "layer.sock")).send("chat", {})
