"""`channels-classic` outside of a project, and in one that lacks the app: each time the missing part is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import run_command

SETTINGS = 'SECRET_KEY = "x"\nINSTALLED_APPS = []\nDATABASES = {}\nCHANNEL_LAYERS = {"default": {"ROUTING": []}}\n'


def refused(folder: Path, *arguments: str) -> str:
    """Return the output of the program, which must end with an error."""
    program = run_command(["channels-classic", *arguments], folder, {"DJANGO_SETTINGS_MODULE": None})
    assert program.status != 0
    assert "Traceback" not in program.output
    return program.output


@pytest.mark.parametrize(
    ("apps", "sentence"),
    [
        (["channels_classic", "people"], "No module named 'nosuchlib' (people/models.py, line 2)"),
        (
            ["channels", "channels.delay"],
            "No module named 'channels'. It is a name of Channels 1.x: run `channels-classic migrate`",
        ),
    ],
)
def test_an_import_that_fails_is_told_with_its_place_or_the_next_step(
    tmp_path: Path, apps: list[str], sentence: str
) -> None:
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "__init__.py").touch()
    (tmp_path / "people" / "models.py").write_text("import sys\nimport nosuchlib\n")
    (tmp_path / "site_settings.py").write_text(f"INSTALLED_APPS = {apps}\nSECRET_KEY = 'x'\n")
    command = ["channels-classic", "worker", "--settings", "site_settings"]
    found = run_command(command, tmp_path, {"DJANGO_SETTINGS_MODULE": None})
    assert found.status == 1
    assert sentence in found.output
    assert "Traceback" not in found.output


@pytest.mark.parametrize("program", [["channels-classic", "worker", "--settings"], ["manage.py", "check"]])
def test_a_local_layer_without_a_secret_key_is_refused_before_anything_starts(
    tmp_path: Path, program: list[str]
) -> None:
    text = """
INSTALLED_APPS = ["channels_classic"]
CHANNEL_LAYERS = {"default": {"ROUTING": []}}
"""
    (tmp_path / "site_settings.py").write_text(text)
    (tmp_path / "manage.py").write_text(
        "import os, sys\nfrom django.core.management import execute_from_command_line\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'site_settings'\nexecute_from_command_line(sys.argv)\n"
    )
    command = [*program, "site_settings"] if program[-1] == "--settings" else program
    found = run_command(command, tmp_path, {"DJANGO_SETTINGS_MODULE": None})
    assert found.status == 1
    assert "The local channel layer finds its address by SECRET_KEY, which is empty." in found.output
    assert "Traceback" not in found.output


@pytest.mark.parametrize("command", ["worker", "interface"])
def test_without_settings_the_option_is_named(tmp_path: Path, command: str) -> None:
    assert "--settings, such as mysite.settings" in refused(tmp_path, command)


@pytest.mark.parametrize("command", ["worker", "interface"])
def test_settings_that_are_not_there_name_the_folder_in_which_they_were_looked_for(
    tmp_path: Path, command: str
) -> None:
    output = refused(tmp_path, command, "--settings", "mysite.settings")
    assert f"There are no settings 'mysite.settings' in {tmp_path}" in output
    assert "Run it in the folder of manage.py" in output


def test_settings_that_import_what_is_missing_name_that(tmp_path: Path) -> None:
    (tmp_path / "settings_of_mine.py").write_text("import nothing_of_that_name\n")
    output = refused(tmp_path, "worker", "--settings", "settings_of_mine")
    assert "No module named 'nothing_of_that_name'" in output
    assert "There are no settings" not in output


def test_a_project_without_the_app_is_told_to_add_it(tmp_path: Path) -> None:
    (tmp_path / "settings_of_mine.py").write_text(SETTINGS)
    output = refused(tmp_path, "worker", "--settings", "settings_of_mine")
    assert "'channels_classic' is not in INSTALLED_APPS of settings_of_mine" in output


LONELY = SETTINGS.replace("[]", '["channels_classic"]', 1).replace('"ROUTING": []', '"ROUTING": "routing_of_mine.all"')
MISTAKEN = """
from channels_classic import route

def consumer(): ...

all = [route("chat", consumer)]
"""


def test_a_worker_checks_the_project_as_manage_py_does(tmp_path: Path) -> None:
    (tmp_path / "settings_of_mine.py").write_text(LONELY)
    (tmp_path / "routing_of_mine.py").write_text("all = [1]\n")
    output = refused(tmp_path, "worker", "--settings", "settings_of_mine")
    assert "SystemCheckError: System check identified some issues" in output
    assert "(channels_classic.E005)" in output
    assert "HINT: " in output


@pytest.mark.parametrize(("options", "warned"), [((), True), (("--skip-checks",), False)])
def test_a_worker_that_is_to_skip_the_checks_does(tmp_path: Path, options: tuple[str, ...], warned: bool) -> None:
    (tmp_path / "settings_of_mine.py").write_text(LONELY)
    (tmp_path / "routing_of_mine.py").write_text(MISTAKEN)
    output = refused(tmp_path, "worker", "--settings", "settings_of_mine", "--only-channels", "nothing", *options)
    assert "No channel to listen on" in output
    assert ("(channels_classic.W010)" in output) is warned
