"""The migration of whole folders: what is read, left alone, found and written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from channels_classic.migrate.plan import plan, write

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")\n'


def project(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files into a folder and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def findings(folder: Path, *, alias: bool = False) -> list[str]:
    return [str(finding) for finding in plan(folder, alias=alias).findings]


def test_code_of_channels_2_to_4_is_left_alone_and_named(tmp_path: Path) -> None:
    modern = "from channels.exceptions import DenyConnection\nfrom channels.layers import get_channel_layer\n"
    folder = project(tmp_path, {"new/views.py": modern, "old/views.py": "from channels import Group\n"})
    report = plan(folder)
    assert [change.path for change in report.changes] == ["old/views.py"]
    assert [str(each) for each in report.left_alone] == [
        "new/views.py: `channels.layers.get_channel_layer` in line 2 belongs to Channels 2 to 4."
    ]


def test_a_file_with_names_of_both_is_left_to_people(tmp_path: Path) -> None:
    code = "from channels import Group\nfrom channels.layers import get_channel_layer\n"
    report = plan(project(tmp_path, {"app.py": code}))
    assert report.changes == []
    assert report.left_alone[0].path == "app.py"
    assert [(finding.path, finding.line) for finding in report.findings] == [("app.py", 1)]


def test_names_that_both_have_are_rewritten_only_where_no_code_is_modern(tmp_path: Path) -> None:
    shared = "from channels.exceptions import DenyConnection\n"
    folder = project(tmp_path, {"a.py": shared})
    assert [change.path for change in plan(folder).changes] == ["a.py"]
    project(folder, {"b.py": "import channels.layers\n"})
    assert [each.path for each in plan(folder).left_alone] == ["a.py", "b.py"]
    project(folder, {"c/c.py": "from channels_classic import Group\nimport asgi_redis\n"})
    report = plan(folder)
    assert [change.path for change in report.changes] == ["c/c.py"]
    assert [(finding.path, finding.line) for finding in report.findings] == [("a.py", 1)]


@pytest.mark.parametrize(
    "code", ["INSTALLED_APPS.append('channels')", "apps.get_app_config('channels')", "INSTALLED = {'channels'}"]
)
def test_the_app_is_left_alone_in_a_project_for_channels_4(tmp_path: Path, code: str) -> None:
    folder = project(tmp_path, {"a.py": code + "\n"})
    assert len(plan(folder).changes) + len(plan(folder).findings) == 1
    report = plan(project(folder, {"b.py": "import channels.layers\n"}))
    assert (report.changes, report.findings) == ([], [])
    assert [each.path for each in report.left_alone] == ["a.py", "b.py"]


def test_python_2_is_reported_with_its_line(tmp_path: Path) -> None:
    folder = project(tmp_path, {"old.py": "import os\n\nprint 'x'\n", "also.py": "def f(async):\n    pass\n"})
    found = findings(folder)
    assert len(found) == 2
    assert found[1].startswith("old.py:3: Python 3 cannot parse this file here, so it was not read: `print 'x'`.")
    assert found[0].startswith("also.py:1: ")


def test_a_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    found = findings(project(tmp_path, {"a.py": b"x = 'caf\xe9'\n", "b.py": b"x = 1\0\n"}))
    assert [line.partition(":")[0] for line in found] == ["a.py", "b.py"]


def test_a_byte_order_mark_is_kept(tmp_path: Path) -> None:
    folder = project(tmp_path, {"a.py": "from channels import Group\n".encode("utf-8-sig")})
    assert plan(folder).changes[0].after == "from channels_classic import Group\n".encode("utf-8-sig")


@pytest.mark.parametrize("terms", [900, 3000])
def test_code_that_is_nested_too_deeply_does_not_stop_it(tmp_path: Path, terms: int) -> None:
    code = "import channels\nx = " + " + ".join(["1"] * terms) + "\n"
    folder = project(tmp_path, {"a.py": code, "b.py": "from channels import Group\n"})
    report = plan(folder)
    assert "b.py" in [change.path for change in report.changes]
    assert len(report.changes) + len(report.findings) == 2


@pytest.mark.parametrize("relevant", [True, False])
def test_an_expression_with_thousands_of_operands_does_not_end_it(tmp_path: Path, relevant: bool) -> None:
    code = f"{'import channels' if relevant else ''}\nx = {' or '.join(['y'] * 30_000)}\n"
    folder = project(tmp_path, {"a.py": code})
    program = (
        f"from pathlib import Path; from channels_classic.migrate.plan import plan; r = plan(Path({str(folder)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", f"{program}; print(len(r.findings))"], capture_output=True, check=True)
    assert done.stdout == (b"1\n" if relevant else b"0\n")


def test_invalid_escapes_do_not_warn(tmp_path: Path) -> None:
    code = "from channels import route\nr = route('http.request', 'app.view', path='^/(?P<pk>\\d+)$')\n"
    folder = project(tmp_path, {"a.py": code})
    assert plan(folder).changes[0].after.decode() == code.replace("from channels ", "from channels_classic ")


def test_a_project_for_channels_4_is_left_as_it_is(tmp_path: Path) -> None:
    files = {
        "manage.py": MANAGE,
        "mysite/asgi.py": "from channels.routing import ProtocolTypeRouter\n",
        "mysite/settings.py": "INSTALLED_APPS = ['daphne', 'channels']\nASGI_APPLICATION = 'mysite.asgi.application'\n",
        "chat/consumers.py": "from channels.generic.websocket import WebsocketConsumer\n",
        "Procfile": "web: daphne mysite.asgi:application\n",
        "requirements.txt": "channels[daphne]==4.3.1\nchannels_redis\n",
        "setup.py": "install_requires = ['channels', 'daphne']\n",
    }
    report = plan(project(tmp_path, files))
    assert (report.changes, report.findings) == ([], [])
    named = ["Procfile", "chat/consumers.py", "mysite/asgi.py", "mysite/settings.py", "requirements.txt", "setup.py"]
    assert sorted(each.path for each in report.left_alone) == named


def test_encodings_and_line_ends_are_kept(tmp_path: Path) -> None:
    content = "# -*- coding: latin-1 -*-\r\nfrom channels import Group  # größer\r\n".encode("latin-1")
    folder = project(tmp_path, {"a.py": content})
    report = plan(folder)
    assert report.changes[0].after == content.replace(b"from channels ", b"from channels_classic ")
    assert "größer" in "".join(report.diff())


@pytest.mark.parametrize("code", [b"asgi = 1\n\x0cx = 2\n", b"# asgi\rx = 1\r", b"asgi = 1\n   \n\t\n"])
def test_bytes_that_libcst_does_not_write_back_stay_in_a_file_without_changes(tmp_path: Path, code: bytes) -> None:
    assert plan(project(tmp_path, {"a.py": code})).changes == []


@pytest.mark.parametrize("code", [b"from channels import Group\n\x0cx = 2\n", b"from channels import Group\rx = 2\r"])
def test_bytes_that_libcst_does_not_write_back_stay_in_lines_without_changes(tmp_path: Path, code: bytes) -> None:
    (change,) = plan(project(tmp_path, {"a.py": code})).changes
    assert change.after == code.replace(b"channels", b"channels_classic")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_requirements_are_read_in_the_encodings_that_pip_reads(tmp_path: Path, encoding: str) -> None:
    before = "channels==1.1.8\r\nasgi_redis==1.4.3\r\nпакет # не pip\r\n"
    after = before.replace("channels==1.1.8", "channels-classic").replace("asgi_redis==1.4.3\r\n", "")
    report = plan(project(tmp_path, {"requirements.txt": before.encode(encoding)}))
    assert [change.after for change in report.changes] == [after.encode(encoding)]
    diff = "".join(report.diff())
    assert "+channels-classic\r\n" in diff.replace("\ufeff", "")
    assert " пакет # не pip\r\n" in diff


@pytest.mark.parametrize(
    ("current", "path"), [(".", "requirements"), (".", "requirements/base.txt"), ("requirements", ".")]
)
def test_a_folder_of_requirements_is_known_wherever_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: str, path: str
) -> None:
    folder = project(tmp_path, {"requirements/base.txt": "channels==1.1.8\n"})
    monkeypatch.chdir(folder / current)
    assert [change.path for change in plan(Path(path)).changes] == ["base.txt"]


def test_environments_and_hidden_folders_are_not_read(tmp_path: Path) -> None:
    code = "from channels import Group\n"
    names = ["env/lib/a.py", ".git/a.py", "node_modules/a.py", "x/site-packages/a.py"]
    folder = project(tmp_path, {**dict.fromkeys(names, code), "env/pyvenv.cfg": ""})
    assert plan(folder).changes == []


def test_links_and_files_that_cannot_be_read_do_not_stop_it(tmp_path: Path) -> None:
    outside = project(tmp_path / "outside", {"b.py": "from channels import Group\n"})
    folder = project(tmp_path / "project", {"a.py": "from channels import Group\n"})
    (folder / "b.py").symlink_to(outside / "b.py")
    (folder / "c.py").symlink_to(folder / "nothing")
    assert [change.path for change in plan(folder).changes] == ["a.py"]


def test_what_is_not_a_file_is_not_read(tmp_path: Path) -> None:
    folder = project(tmp_path, {"a.py": "from channels import Group\n"})
    for name in ("b.py", "Procfile", "requirements.txt"):
        os.mkfifo(folder / name)
    (folder / "c.py").mkdir()
    assert [change.path for change in plan(folder).changes] == ["a.py"]


@pytest.mark.parametrize(
    "coding", ["idna", "hex", "rot13", "undefined", "utf-7", "utf-16", "unicode_escape", "nothing"]
)
def test_no_declared_coding_stops_it(tmp_path: Path, coding: str) -> None:
    code = f"# coding: {coding}\nfrom channels import Group\n"
    report = plan(project(tmp_path, {"a.py": code, "b.py": "from channels import Group\n"}))
    assert "b.py" in [change.path for change in report.changes]
    assert "".join(report.diff())


def test_a_package_of_the_project_that_is_called_channels_stops_it(tmp_path: Path) -> None:
    folder = project(
        tmp_path, {"manage.py": MANAGE, "channels/__init__.py": "", "a.py": "from channels import Group\n"}
    )
    report = plan(folder)
    assert report.changes == []
    assert [finding.path for finding in report.findings] == ["channels/__init__.py"]


@pytest.mark.parametrize("path", ["chat", "chat/channels.py"])
def test_a_module_of_an_app_that_is_called_channels_does_not_stop_it(tmp_path: Path, path: str) -> None:
    code = "from channels import Group\n"
    folder = project(tmp_path, {"manage.py": MANAGE, "chat/__init__.py": "", "chat/channels.py": code})
    report = plan(folder / path)
    assert [change.path for change in report.changes] == ["channels.py"]
    assert report.findings == []


def test_the_alias_line_goes_where_the_settings_live_and_imports_stay(tmp_path: Path) -> None:
    files = {
        "manage.py": MANAGE,
        "mysite/__init__.py": "",
        "mysite/settings.py": "INSTALLED_APPS = ['channels']\nMIDDLEWARE_CLASSES = []\n",
        "app/models.py": "from channels import Group\n",
    }
    report = plan(project(tmp_path, files), alias=True)
    assert sorted(change.path for change in report.changes) == ["mysite/__init__.py", "mysite/settings.py"]
    assert report.findings == []


def test_with_the_alias_line_no_string_is_in_doubt(tmp_path: Path) -> None:
    files = {"manage.py": MANAGE, "mysite/__init__.py": "", "app.py": "import channels\nLOG = 'channels.log'\n"}
    folder = project(tmp_path, files)
    assert findings(folder, alias=True) == []
    assert [line.partition(" if")[0] for line in findings(folder)] == ["app.py:2: Write `channels_classic.log`"]


def test_without_settings_the_alias_line_is_asked_for(tmp_path: Path) -> None:
    found = findings(project(tmp_path, {"app.py": "from channels import Group\n"}), alias=True)
    assert ["No settings module was found" in line for line in found] == [True]


def test_the_alias_line_is_refused_beside_channels_2_to_4(tmp_path: Path) -> None:
    files = {"manage.py": MANAGE, "mysite/__init__.py": "", "new.py": "import channels.layers\n"}
    folder = project(tmp_path, files)
    assert plan(folder, alias=True).changes == []
    assert ["run this command without --alias" in line for line in findings(folder, alias=True)] == [True]


def test_the_diff_can_be_applied(tmp_path: Path) -> None:
    files = {"a/b.py": "from channels import Group", "c.txt": "", "requirements.txt": "x\nchannels==1.1.8\n"}
    folder = project(tmp_path / "project", files)
    report = plan(folder)
    (tmp_path / "diff").write_text("".join(line for change in report.changes for line in change.diff()))
    subprocess.run(["git", "apply", "../diff"], cwd=folder, check=True)
    assert {change.path: (folder / change.path).read_bytes() for change in report.changes} == {
        change.path: change.after for change in report.changes
    }
    assert plan(folder).changes == []


@pytest.mark.parametrize("alias", [False, True])
def test_a_second_run_changes_nothing(tmp_path: Path, alias: bool) -> None:
    files = {
        "manage.py": MANAGE,
        "mysite/__init__.py": "",
        "mysite/settings.py": "INSTALLED_APPS = [\n    'django.contrib.staticfiles',\n    'channels',\n]\n",
        "mysite/asgi.py": "from channels.asgi import get_channel_layer\n" + MANAGE,
        "app/tests.py": "import channels\nfrom channels.tests import HttpClient\nHttpClient(channels.Group)\n",
        "Procfile": "web: daphne mysite.asgi:channel_layer\n",
        "requirements.txt": "channels==1.1.8\ndaphne\n",
    }
    folder = project(tmp_path, files)
    first = plan(folder, alias=alias)
    assert len(first.changes) == (4 if alias else 5)
    write(folder, first.changes)
    assert plan(folder, alias=alias).changes == []


def test_the_settings_are_those_of_the_nearest_layer(tmp_path: Path) -> None:
    files = {f"{name}/Procfile": "web: daphne asgi:channel_layer\n" for name in ("one", "two", "three")}
    for name in ("one", "two"):
        files[f"{name}/asgi.py"] = (
            "import os\nfrom channels.asgi import get_channel_layer\n"
            f"# os.environ['DJANGO_SETTINGS_MODULE'] = 'old.settings'\n"
            f"os.environ['DJANGO_SETTINGS_MODULE'] = '{name}.settings'\n"
        )
    report = plan(project(tmp_path, files))
    after = {change.path: change.after.decode() for change in report.changes}
    assert after["one/Procfile"] == "web: channels-classic interface --settings one.settings\n"
    assert after["two/Procfile"] == "web: channels-classic interface --settings two.settings\n"
    assert after["three/Procfile"] == "web: channels-classic interface\n"
    assert [str(finding).partition(", or")[0] for finding in report.findings] == ["three/Procfile:1: Add --settings"]


def test_settings_that_depend_on_something_are_asked_for(tmp_path: Path) -> None:
    code = (
        "import os\nfrom channels.asgi import get_channel_layer\nif os.environ.get('LIVE'):\n"
        "    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'live')\n"
        "else:\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'local')\n"
    )
    files = {"asgi.py": code, "Procfile": "web: daphne asgi:channel_layer\n"}
    assert [line.startswith("Procfile:1: Add --settings, or set") for line in findings(project(tmp_path, files))] == [
        True
    ]


def test_a_file_whose_writing_is_interrupted_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path, {"a.py": "from channels import Group\n"})
    changes = plan(folder).changes
    whole = Path.write_bytes

    def interrupted(path: Path, content: bytes) -> int:
        monkeypatch.undo()
        whole(path, content[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(folder, changes)
    assert (folder / "a.py").read_text() == "from channels import Group\n"


def test_one_file_can_be_named(tmp_path: Path) -> None:
    path = project(tmp_path, {"a.py": "from channels import Group\n", "b.py": "from channels import Group\n"}) / "a.py"
    report = plan(path)
    write(path, report.changes)
    assert path.read_text() == "from channels_classic import Group\n"
    assert (tmp_path / "b.py").read_text() == "from channels import Group\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.py", "from django.conf.urls import patterns\n", "a.py:1: Django has no patterns() any more"),
        ("a.py", "if user.is_authenticated():\n    pass\n", "a.py:1: `is_authenticated` is a property"),
        ("a.py", "x = request.is_ajax()\n", "a.py:1: Requests have no is_ajax() any more"),
        ("a.py", "from django.shortcuts import render_to_response\n", "a.py:1: Django has no render_to_response() any"),
        ("a.py", "url(r'^a/', include(admin.site.urls))\n", "a.py:1: Django includes no admin.site.urls any more"),
        ("t/a.html", "\n{% load i18n staticfiles %}\n", "t/a.html:2: The tag library staticfiles is gone"),
        ("Dockerfile", "RUN pip install channels daphne\n", "Dockerfile:1: Require channels-classic instead"),
        ("tox.ini", "commands =\n  pip install daphne\n", "tox.ini:2: Require channels-classic instead"),
        ("pyproject.toml", 'dependencies = ["channels==1.1.8"]\n', "pyproject.toml:1: Require channels-classic"),
    ],
)
def test_what_is_old_beside_channels_is_found(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    found = findings(project(tmp_path, {name: content}))
    assert [line.startswith(sentence) for line in found] == [True]


def test_the_slight_mode_of_ordering_is_found_in_files_of_channels(tmp_path: Path) -> None:
    old = "from channels.sessions import enforce_ordering\n\n@enforce_ordering(slight=True)\ndef ws(message): ...\n"
    base = "from channels.generic.websockets import WebsocketConsumer\n\nclass C(WebsocketConsumer):\n"
    files = {
        "a.py": old,
        "b.py": f"{base}    slight_ordering = True\n",
        "c.py": "build(slight=True)\n",
    }
    wanted = [
        "a.py:3: enforce_ordering has no slight mode: remove slight=True. "
        "See docs/migrate.md#names-without-a-counterpart",
        "b.py:4: slight_ordering was removed: write strict_ordering = True. "
        "See docs/migrate.md#names-without-a-counterpart",
    ]
    report = plan(project(tmp_path, files))
    assert [str(finding) for finding in report.findings] == wanted
    write(tmp_path, report.changes)
    assert findings(tmp_path) == wanted


@pytest.mark.parametrize("code", ["from django.conf.urls import url\n", "user = models.ForeignKey(User)\n"])
def test_old_code_of_django_is_sent_to_django_upgrade(tmp_path: Path, code: str) -> None:
    report = plan(project(tmp_path, {"app.py": code}))
    assert [note.startswith("1 Python file is older than Django 5.2") for note in report.notes] == [True]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        f"import {', '.join(f'channels.a{number}' for number in range(2000))}",
        f"from daphne import {', '.join(f'a{number}' for number in range(2000))}",
        f"x = 'channels{'.a' * 20_000}'",
        f"from channels import {'a' * 20_000}",
    ],
    ids=["modules", "names", "a path", "a name"],
)
def test_a_line_with_thousands_of_names_takes_seconds(tmp_path: Path, line: str) -> None:
    begun = time.process_time()
    plan(project(tmp_path, {"app.py": f"from channels import Group\n{line}\n"}))
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("line", ["a" + " " * 100_000 + "\\x", "a" + " " * 1900 + "\\x", "a ;" + " " * 1900 + "\\x"])
def test_a_requirement_with_thousands_of_spaces_takes_no_time(tmp_path: Path, line: str) -> None:
    begun = time.process_time()
    plan(project(tmp_path, {"requirements.txt": line}))
    assert time.process_time() - begun < 5
