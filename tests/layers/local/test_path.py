from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.test import override_settings

from channels_classic.exceptions import InvalidChannelLayerError
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.local.path import check_path, default_path


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_the_folder_is_one_of_the_users_own_for_temporary_files(runtime: Path) -> None:
    assert Path(default_path()).parent == runtime / f"channels-classic-{os.geteuid()}"


def test_a_process_without_a_login_finds_the_same_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    path = default_path()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert default_path() == path


def test_the_path_follows_from_the_folder_and_the_settings_of_the_project(tmp_path: Path) -> None:
    with override_settings(BASE_DIR=tmp_path):
        one = default_path()
        assert default_path() == one
    with override_settings(BASE_DIR=str(tmp_path)):
        assert default_path() == one
    with override_settings(BASE_DIR=tmp_path / "other"):
        assert default_path() != one


def test_every_process_of_a_project_finds_the_same_path_wherever_it_works(runtime: Path) -> None:
    look = "from channels_classic.layers.local.path import default_path; print(default_path())"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": os.getcwd()}
    found = {
        subprocess.run(
            [sys.executable, "-c", look], env=environment, cwd=cwd, capture_output=True, text=True, check=True
        ).stdout
        for cwd in (os.getcwd(), runtime)
    }
    assert len(found) == 1
    assert found.pop().startswith(str(runtime))


def test_without_settings_the_working_folder_is_the_project(tmp_path: Path) -> None:
    look = "from channels_classic.layers.local.path import default_path; print(default_path())"
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment["PYTHONPATH"] = os.getcwd()
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", look]
        done = subprocess.run(command, env=environment, cwd=tmp_path / name, capture_output=True, text=True, check=True)
        found.append(done.stdout)
    assert found[0] != found[1]


def test_the_path_that_is_given_is_taken() -> None:
    assert LocalChannelLayer(path="/run/site/layer.sock").path == "/run/site/layer.sock"


def test_a_missing_folder_is_made_for_the_user_alone(tmp_path: Path) -> None:
    check_path(str(tmp_path / "made/layer.sock"))
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(InvalidChannelLayerError, match="chmod 700") as caught:
        check_path(str(folder / "layer.sock"))
    assert caught.value.key == "path"


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(InvalidChannelLayerError, match="belongs to user"):
        check_path(str(folder / "layer.sock"))


def test_a_folder_that_cannot_be_made_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidChannelLayerError, match="cannot be made"):
        check_path(str(tmp_path / "file/folder/layer.sock"))


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(InvalidChannelLayerError):
        check_path(str(tmp_path / "link/layer.sock"))


def test_a_path_too_long_for_a_socket_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidChannelLayerError, match="shorter `path`"):
        check_path(str(tmp_path / ("x" * 100) / "layer.sock"))


def test_a_layer_in_a_folder_of_others_says_so_on_first_use(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(InvalidChannelLayerError):
        LocalChannelLayer(path=str(tmp_path / "layer.sock")).send("chat", {})
