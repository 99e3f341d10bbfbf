"""The line that keeps the import names of Channels 1.x working: the files it belongs in, and putting it there."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator

import libcst as cst
from libcst import matchers

from .report import LONGEST_LINE

LINE = "import channels_classic.compat  # noqa: F401"

ENTRY_POINTS = ("manage.py", "wsgi.py", "asgi.py")
"""Files that Python or a server runs or imports first."""

VARIABLE = "DJANGO_SETTINGS_MODULE"

_IN_CONFIGURATION = re.compile(
    r"""^[^#;\n]*DJANGO_SETTINGS_MODULE["']?\s*[,=:]\s*["']?([A-Za-z_][\w.]*)""", re.MULTILINE
)


def modules_in_configuration(text: str) -> list[str]:
    """Return the settings modules that a configuration file names, such as one of tests."""
    return [name for line in text.splitlines() if len(line) <= LONGEST_LINE for name in _IN_CONFIGURATION.findall(line)]


def modules_in_code(tree: ast.Module) -> list[tuple[str, bool]]:
    """Return the settings modules that an entry point names; True for one that replaces what the environment says.

    The name is empty for one that only the running program knows.
    """
    top = {id(statement) for statement in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(_is_variable(target) for target in node.targets):
            found.append((_name(node.value), id(node) in top))
        elif isinstance(node, ast.Call) and _sets_default(node):
            found.append((_name(node.args[1]), False))
    return found


def _is_variable(target: ast.expr) -> bool:
    return isinstance(target, ast.Subscript) and _text(target.slice) == VARIABLE


def _sets_default(call: ast.Call) -> bool:
    named = isinstance(call.func, ast.Attribute) and call.func.attr == "setdefault"
    return named and len(call.args) == 2 and _text(call.args[0]) == VARIABLE


def _name(node: ast.expr) -> str:
    name = _text(node)
    return name if all(part.isidentifier() for part in name.split(".")) else ""


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def places(modules: Iterable[str], files: Collection[str], classic: Collection[str]) -> Iterator[str]:
    """Yield the files that need the line; `classic` are those that import a name of Channels 1.x.

    It is the outermost package on the way to the settings, which every process imports first, or else the settings
    module itself. Entry points outside of that package that import an old name need it too: they may do so before
    they read the settings.
    """
    packages = set()
    for module in modules:
        for base in _folders_with_entry_points(files):
            home = _home(base, module.split("."), files)
            if home is not None:
                packages.add(home)
                yield home
    folders = tuple(home.removesuffix("__init__.py") for home in packages if "/" in home or home == "__init__.py")
    for path in sorted(classic):
        if path.rpartition("/")[2] in ENTRY_POINTS and not path.startswith(folders):
            yield path


def _folders_with_entry_points(files: Collection[str]) -> list[str]:
    folders = {path.rpartition("/")[0] for path in files if path.rpartition("/")[2] == "manage.py"}
    return sorted({*folders, ""})


def _home(base: str, parts: list[str], files: Collection[str]) -> str | None:
    prefix = f"{base}/" if base else ""
    for count in range(1, len(parts)):
        package = f"{prefix}{'/'.join(parts[:count])}/__init__.py"
        if package in files:
            return package
    for module in (f"{prefix}{'/'.join(parts)}.py", f"{prefix}{'/'.join(parts)}/__init__.py"):
        if module in files:
            return module
    return None


def with_line(module: cst.Module) -> cst.Module:
    """Return the module with the line before its first statement, but behind its docstring and `__future__` imports."""
    if matchers.findall(module, matchers.Import(names=[matchers.AtLeastN(n=0), _compat(), matchers.AtLeastN(n=0)])):
        return module
    body = list(module.body)
    place = 0
    while place < len(body) and _comes_first(body[place], place):
        place += 1
    line = cst.parse_statement(LINE + "\n", config=module.config_for_parsing)
    if place and isinstance(line, cst.SimpleStatementLine):
        line = line.with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    return module.with_changes(body=[*body[:place], line, *body[place:]], has_trailing_newline=True)


def _compat() -> matchers.ImportAlias:
    return matchers.ImportAlias(
        name=matchers.Attribute(value=matchers.Name("channels_classic"), attr=matchers.Name("compat"))
    )


def _comes_first(statement: cst.BaseStatement, place: int) -> bool:
    docstring = matchers.SimpleStatementLine(
        body=[matchers.Expr(value=matchers.SimpleString() | matchers.ConcatenatedString())]
    )
    future = matchers.SimpleStatementLine(body=[matchers.ImportFrom(module=matchers.Name("__future__"))])
    return matchers.matches(statement, future) or (place == 0 and matchers.matches(statement, docstring))
