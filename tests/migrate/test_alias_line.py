"""The line that keeps the import names of 1.x: its places, and how it gets there."""

from __future__ import annotations

import ast

import libcst as cst
import pytest

from channels_classic.migrate.alias_line import LINE, modules_in_code, modules_in_configuration, places, with_line


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{LINE}\n"),
        ("import os\n", f"{LINE}\nimport os\n"),
        ("# -*- coding: utf-8 -*-\nimport os\n", f"# -*- coding: utf-8 -*-\n{LINE}\nimport os\n"),
        ('"""Settings."""\nimport os\n', f'"""Settings."""\n\n{LINE}\nimport os\n'),
        (
            '"""Settings."""\nfrom __future__ import unicode_literals\nimport os\n',
            f'"""Settings."""\nfrom __future__ import unicode_literals\n\n{LINE}\nimport os\n',
        ),
        ("import os\r\n", f"{LINE}\r\nimport os\r\n"),
        (f"{LINE}\n", f"{LINE}\n"),
        ("import os\nimport channels_classic.compat\n", "import os\nimport channels_classic.compat\n"),
    ],
)
def test_the_line_comes_first_and_once(before: str, after: str) -> None:
    assert with_line(cst.parse_module(before)).code == after


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ('os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")', [("mysite.settings", False)]),
        ("os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'", [("settings", True)]),
        ("if x:\n    os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'", [("settings", False)]),
        ("os.environ['DJANGO_SETTINGS_MODULE'] = name", [("", True)]),
        ('# os.environ.setdefault("DJANGO_SETTINGS_MODULE", "old.settings")', []),
        ("os.environ.get('DJANGO_SETTINGS_MODULE', 'x')", []),
    ],
)
def test_the_settings_are_found_where_code_names_them(source: str, modules: list[tuple[str, bool]]) -> None:
    assert modules_in_code(ast.parse(source)) == modules


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("[pytest]\nDJANGO_SETTINGS_MODULE = config.settings.test\n", ["config.settings.test"]),
        ("[pytest]\n# DJANGO_SETTINGS_MODULE = old.settings\n", []),
        ("nothing", []),
    ],
)
def test_the_settings_are_found_where_configuration_names_them(source: str, modules: list[str]) -> None:
    assert modules_in_configuration(source) == modules


@pytest.mark.parametrize(
    ("modules", "files", "classic", "wanted"),
    [
        (["mysite.settings"], ["manage.py", "mysite/__init__.py", "mysite/settings.py"], [], {"mysite/__init__.py"}),
        (
            ["config.settings.local", "config.settings.test"],
            ["manage.py", "config/__init__.py", "config/settings/__init__.py"],
            ["config/asgi.py", "chat/models.py"],
            {"config/__init__.py"},
        ),
        (["settings"], ["manage.py", "settings.py", "asgi.py"], ["asgi.py"], {"settings.py", "asgi.py"}),
        (
            ["mysite.settings"],
            ["web/manage.py", "web/mysite/__init__.py", "web/asgi.py"],
            ["web/asgi.py"],
            {"web/mysite/__init__.py", "web/asgi.py"},
        ),
        (
            ["config.settings"],
            ["manage.py", "config/settings/__init__.py"],
            [],
            {"config/settings/__init__.py"},
        ),
        (["elsewhere.settings"], ["manage.py"], [], set()),
    ],
)
def test_the_line_belongs_where_every_process_passes(
    modules: list[str], files: list[str], classic: list[str], wanted: set[str]
) -> None:
    assert set(places(modules, files, classic)) == wanted
