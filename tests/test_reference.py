"""The pages of docs/reference, the objects they describe, and the names of Channels 1.1.8: held to one another."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import warnings
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal
from django.test import override_settings

from channels_classic.conf import CHANNEL_SESSION_ENGINE, CHANNELS_WS_PROTOCOLS, SETTINGS, Setting
from channels_classic.management.cli import main
from tests.support.channels_1 import NAMES

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = {page.name: page.read_text() for page in sorted(REFERENCE.glob("*.md"))}

FOLDERS = ["channels_classic", "worker", "interface_server"]

NOT_DESCRIBED = {"kind", "expected", "label", "name", "verbose_name"}
"""Attributes of errors, apps and processes that say what the class is."""


def _name(text: str) -> str:
    return re.split(r"\(| = ", text)[0]


@dataclass(frozen=True)
class Entry:
    """A row of a page: a name with its signature or value, as it is written there."""

    page: str
    module: str
    text: str
    description: str

    @property
    def name(self) -> str:
        return _name(self.text)

    def __str__(self) -> str:
        return f"{self.module}.{self.text}"


def _entries() -> Iterator[Entry]:
    for page, text in PAGES.items():
        module = ""
        for line in text.splitlines():
            if heading := re.fullmatch(r"## `(channels_classic[\w.]*)`", line):
                module = heading[1]
            elif line.startswith("#"):
                module = ""
            elif module and (row := re.match(r"\| `([^`]+)` \| (.*) \| (.*) ?\|$", line)):
                yield Entry(page, module, row[1], row[2])


ENTRIES = list(_entries())
DESCRIBED = {(entry.module, entry.name) for entry in ENTRIES}
MODULES = sorted({entry.module for entry in ENTRIES})


def _found(module: str, name: str) -> tuple[Any, bool]:
    """The object, and whether calling it leaves out the first parameter of its signature."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        owner, found = None, import_module(module)
        for part in name.split("."):
            owner, found = found, getattr(found, part)
    bound = inspect.ismethod(found) or not inspect.isclass(owner) or inspect.isclass(found)
    return found, not bound


def _signature(found: Any, drop: bool) -> inspect.Signature:
    signature = inspect.signature(found)
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return inspect.Signature(parameters[1:] if drop else parameters)


def _public(module: str) -> list[str]:
    """Return the names in a module's `__all__`, or those defined in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a module may be old, and imported here first
        found = import_module(module)
    made = [
        name
        for name, value in vars(found).items()
        if isinstance(value, Signal)
        or ((inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module)
    ]
    return [name for name in getattr(found, "__all__", made) if not name.startswith("_")]


def _members(cls: type[Any]) -> Iterator[str]:
    """The public attributes that a class adds to those of other packages, and to those of its bases but for changes."""
    private = [base for base in cls.__mro__ if base.__name__.startswith("_") and _is_ours(base)]
    others = [base for base in cls.__mro__[1:] if base not in private]
    for name, value in {name: value for base in [*private, cls] for name, value in vars(base).items()}.items():
        known = [vars(base)[name] for base in others if name in vars(base)]
        if name.startswith("_") or name in NOT_DESCRIBED or any(name in vars(base) for base in _foreign(others)):
            continue
        if known and inspect.isroutine(value) and _same_signature(value, known[0]):
            continue
        yield name


def _is_ours(base: type[Any]) -> bool:
    return base.__module__.startswith("channels_classic")


def _foreign(bases: list[type[Any]]) -> list[type[Any]]:
    return [base for base in bases if not _is_ours(base)]


def _same_signature(one: Any, other: Any) -> bool:
    one, other = (getattr(method, "__func__", method) for method in (one, other))
    return inspect.isfunction(other) and str(_signature(one, True)) == str(_signature(other, True))


# The pages and the objects


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_what_the_reference_describes_is_there_with_its_signature(entry: Entry) -> None:
    found, drop = _found(entry.module, entry.name)
    assert entry.description.strip()
    if "(" in entry.text.split(" = ")[0]:
        assert entry.text == entry.name + str(_signature(found, drop))
    elif " = " in entry.text:
        assert entry.text == f"{entry.name} = {found!r}"


@pytest.mark.parametrize("module", [module for module in MODULES if not re.search(r"\.(layers|management)\.", module)])
def test_everything_public_is_in_the_reference(module: str) -> None:
    missing = [name for name in _public(module) if (module, name) not in DESCRIBED]
    for name in _public(module):
        value, _ = _found(module, name)
        if inspect.isclass(value) and value.__module__ == module and value.__name__ == name:
            missing += [
                f"{name}.{member}"
                for member in _members(value)
                if (module, f"{name}.{member}") not in DESCRIBED and not _is_made_by_django(value, member)
            ]
    assert not missing, f"not on any page below a heading `{module}`"


def _is_made_by_django(cls: type[Any], name: str) -> bool:
    """Return True if the metaclass of models added this."""
    return hasattr(cls, "_meta") and (
        name.startswith("get_") or name in ("DoesNotExist", "MultipleObjectsReturned", "NotUpdated")
    )


def test_every_page_is_in_the_contents() -> None:
    links = set(re.findall(r"\]\((\w+\.md)\)", PAGES["README.md"]))
    assert links == set(PAGES) - {"README.md"}


@pytest.mark.parametrize(
    ("page", "target"), [(p, t) for p, s in PAGES.items() for t in re.findall(r"\]\(([^)]+)\)", s)]
)
def test_every_link_of_the_reference_leads_somewhere(page: str, target: str) -> None:
    if target.startswith("http"):
        return
    path, _, anchor = target.partition("#")
    text = (REFERENCE / path).read_text() if path else PAGES[page]
    anchors = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)
    ]
    assert not anchor or anchor in anchors


# The names of Channels 1.1.8


@pytest.mark.parametrize(("module", "text"), [(module, text) for module, texts in NAMES.items() for text in texts])
def test_a_name_of_channels_1_is_at_its_place_and_takes_what_it_took(module: str, text: str) -> None:
    found, drop = _found(module.replace("channels", "channels_classic", 1), _name(text))
    if " = " in text and "(" not in text:
        assert repr(found) == text.partition(" = ")[2]
    elif "(" in text:
        old = [str(parameter) for parameter in _parameters(text[text.index("(") :])]
        new = [str(parameter) for parameter in _signature(found, drop).parameters.values()]
        kept = [parameter for parameter in new if parameter in old]
        added = [parameter for parameter in new if parameter not in old]
        assert kept == old
        assert all("=" in parameter or parameter.startswith("*") for parameter in added)


def _parameters(signature: str) -> list[inspect.Parameter]:
    namespace: dict[str, Any] = {}
    exec(f"def function{signature}: pass", namespace)
    return list(inspect.signature(namespace["function"]).parameters.values())


@pytest.mark.parametrize(("module", "text"), [(module, text) for module, texts in NAMES.items() for text in texts])
def test_a_name_of_channels_1_is_in_the_reference(module: str, text: str) -> None:
    module, name = module.replace("channels", "channels_classic", 1), _name(text)
    owner, _, member = name.rpartition(".")
    if member.startswith("__") or name == "Command.inner_run":
        return
    bases = [] if not owner else [base for base in _found(module, owner)[0].__mro__ if base.__name__ != "object"]
    described = {name for _, name in DESCRIBED}
    places = {f"{base.__name__}.{member}" for base in bases} or {name}
    assert places & described or member.startswith("_") or any(hasattr(base, member) for base in _foreign(bases))


def test_the_names_can_be_imported_under_their_old_modules_too() -> None:
    lines = ["import warnings; warnings.simplefilter('ignore')", "import django; from django.conf import settings"]
    lines += ["import channels_classic.compat"]
    apps = [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "channels",
        "channels.delay",
    ]
    lines += [f"settings.configure(INSTALLED_APPS={apps!r})", "django.setup()"]
    lines += [
        f"from {module} import {_name(text)}"
        for module, texts in NAMES.items()
        for text in texts
        if "." not in _name(text)
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


# Options


COMMANDS = ["runinterface", "runworker", "runserver", "rundelay", "channels"]
PROGRAMS = {"interface": "runinterface", "worker": "runworker", "status": "channels"}


def _options(command: str) -> list[Action]:
    """The options that a command adds to those of Django."""
    ours = load_command_class("channels_classic", command)
    theirs: BaseCommand = (
        load_command_class("django.contrib.staticfiles", command) if command == "runserver" else BaseCommand()
    )
    known = {flag for action in _parser(theirs)._actions for flag in action.option_strings}
    return [
        action
        for action in _parser(ours)._actions
        if action.option_strings and action.option_strings[0] not in known and action.help != SUPPRESS
    ]


def _parser(command: BaseCommand) -> ArgumentParser:
    return command.create_parser("manage.py", "command")


def option_row(option: Action) -> str:
    """The row of the page about the programs for an option."""
    flags = ", ".join(f"`{flag}`" for flag in option.option_strings if "_" not in flag)
    text, _, said = str(option.help).replace("%%", "%").rstrip(".").partition(" Default: ")
    default = option.default if option.default not in (None, "", ()) and option.nargs != 0 else said
    return f"| {flags} | {f'`{default}`' if default else ''} | {text.rstrip('.')}. |".replace("|  |", "| |")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_a_command_are_in_the_reference(command: str) -> None:
    _, _, section = PAGES["programs.md"].partition(f"## `{command}`\n")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `-")]
    wanted = [option_row(option) for option in _options(command)]
    assert rows == wanted, "\n".join([f"write below `{command}` in docs/reference/programs.md:", *wanted])


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_without_manage_py_has_the_options_of_its_command(program: str) -> None:
    with click.Context(main) as context:
        made = main.get_command(context, program)
    assert made is not None
    options = {flag for parameter in made.params for flag in parameter.opts}
    wanted = {flag for option in _options(PROGRAMS[program]) for flag in option.option_strings}
    of_django = {"--settings", "--verbosity", "-v"} | ({"--skip-checks"} if program == "worker" else set())
    assert options - wanted == of_django
    assert wanted <= options


# Settings


def test_every_setting_that_is_read_is_in_the_reference() -> None:
    read = set()
    for path in [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            read |= set(_settings_read(node))
    assert "FORCE_SCRIPT_NAME" in read
    assert {name for name in read if f"`{name}`" not in PAGES["settings.md"]} == set()


def setting_row(setting: Setting) -> str:
    """Return the row of the page about settings for a setting of this package."""
    default = f"`{setting.same_as or repr(setting.default)}`"
    return f"| `{setting.name}` | {default} | {setting.help} |"


def test_the_settings_of_this_package_are_in_the_reference_with_their_defaults() -> None:
    _, _, section = PAGES["settings.md"].partition("## What channels_classic reads\n")
    rows = [line for line in section.partition("\n### ")[0].splitlines() if line.startswith("| `")]
    wanted = [setting_row(setting) for setting in SETTINGS]
    assert rows == wanted, "\n".join(["write in docs/reference/settings.md:", *wanted])


def test_the_settings_of_this_package_are_read_through_their_table_alone() -> None:
    names = {setting.name for setting in SETTINGS}
    for path in [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py")]:
        read = {name for node in ast.walk(ast.parse(path.read_text())) for name in _settings_read(node)}
        assert not read & names, f"{path} reads them itself"


def test_a_setting_is_read_when_it_is_asked_for() -> None:
    with override_settings(CHANNELS_WS_PROTOCOLS=["chat"], SESSION_ENGINE="one"):
        assert CHANNELS_WS_PROTOCOLS.get() == ["chat"]
        assert CHANNEL_SESSION_ENGINE.get() == "one"
        with override_settings(CHANNELS_WS_PROTOCOLS=None, CHANNEL_SESSION_ENGINE="two"):
            assert CHANNELS_WS_PROTOCOLS.get() is None
            assert CHANNEL_SESSION_ENGINE.get() == "two"


def _settings_read(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings":
        yield from [node.attr] if node.attr.isupper() else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        owner, name, *_ = node.args
        if isinstance(owner, ast.Name) and owner.id == "settings" and isinstance(name, ast.Constant):
            yield str(name.value)


# The browser


def test_the_methods_and_options_of_the_script_are_in_the_reference() -> None:
    script = (ROOT / "channels_classic/static/channels/js/websocketbridge.js").read_text()
    bridge = script[script.index("function WebSocketBridge") :]
    methods = re.findall(r"^    (?!_|constructor)(\w+)\((\w[\w, ]*)\) \{$", bridge, re.M)
    assert len(methods) >= 5
    for name, parameters in methods:
        assert f"`{name}({parameters})`" in PAGES["browser.md"]
    defaults = re.findall(r"^    (\w+): ([\w.]+),$", script[: script.index("class ReconnectingWebSocket")], re.M)
    assert len(defaults) == 6
    for name, value in defaults:
        assert f"| `{name}` | `{value}` |" in PAGES["browser.md"]
