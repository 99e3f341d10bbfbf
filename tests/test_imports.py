"""Import directions that import-linter cannot see: which part of Django, and what happens at import."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

import channels_classic.layers

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("error")
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
from django.conf import settings
print(settings.configured)
"""


def test_layers_know_nothing_of_django_beyond_settings_and_what_is_wrong_with_them() -> None:
    package = Path(channels_classic.layers.__file__).parent
    imports = {name for path in package.rglob("*.py") for name in _imports(path) if name.split(".")[0] == "django"}
    assert imports <= {"django.conf", "django.core.exceptions"}


def test_the_layers_and_the_interface_server_can_be_imported_without_a_project() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, "channels_classic.layers", "channels_classic.interface_server"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "False", "importing them configured Django's settings"


def test_modules_that_importing_channels_1_loaded_are_attributes_from_the_start() -> None:
    names = ("asgi", "channel", "exceptions", "message", "routing")
    code = "import channels_classic, sys; print(*(getattr(channels_classic, name).__name__ for name in sys.argv[1:]))"
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.stderr, done.stdout.split()) == ("", [f"channels_classic.{name}" for name in names])


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph("channels_classic")
    circles = [
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(importer=imported, imported=module)
    ]
    assert circles == []


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
