"""The texts of errors and warnings in the source: what users may search for.

`python -m tests.support.messages` writes those without a row of their own to the end of docs/troubleshooting.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ["channels_classic", "worker", "interface_server"]
LOGGING = {"warning", "error", "exception", "critical", "log", "warn", "_warn"}
VARIABLE = "…"
NAMES = {"IGNORED", "reason", "sentence", "text"}
"""Variables that texts are assigned to before they are logged or raised."""
PAGE = ROOT / "docs/troubleshooting.md"
HEADING = "## Errors that say what to do\n"
INTRODUCTION = "They name what was given, what was expected and where to look. The list is for searching."
AREAS = {
    "Tests": ("/test/", "/tests/"),
    "Channel layers": ("/layers/",),
    "Settings and routing": ("/asgi.py", "/routing.py", "/generic/", "/package_checks.py", "/compat.py"),
    "Sessions, origins and bindings": ("/sessions.py", "/security/", "/binding/"),
    "Messages and responses": ("/replies.py", "interface_server/http/", "/handler.py", "/_request.py", "/_client.py"),
    "Programs": ("worker/", "interface_server/", "/management/", "/migrate/", "/_supervisor/", "/delay/"),
    "Others": ("",),
}
"""Sections of the list, by parts of the paths whose texts they have; the first that fits counts."""

NOT_SENTENCES = {"AssertionError", "AttributeError", "CannotListen", "LayerUnavailable", "NotImplementedError"}
"""Errors whose first argument is not a text that users see alone."""


def texts() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each error that is raised, and of each log line from warnings up.

    What is filled in is shown as `…`. Errors without a text of their own are left out, and those that only say what a
    subclass must define.
    """
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.parent.is_symlink() or "conformance" in path.parts:
                continue
            tree = ast.parse(path.read_text())
            for node, text in _found(tree, path.name == "exceptions.py"):
                cleaned = " ".join(text.split())
                if len(re.sub(r"…|\W", "", cleaned)) > 8:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", cleaned


def _found(tree: ast.AST, has_sentences: bool) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            if getattr(node.exc.func, "id", "") not in NOT_SENTENCES:
                yield from ((node, text) for text in map(_text, node.exc.args[:1]) if text)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in LOGGING:
            texts = [text for text in map(_text, node.args[:2]) if text]
            yield from ((node, _filled(text)) for text in texts[-1:])
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in NAMES:
            yield from ((node, _filled(text)) for text in [_text(node.value)] if text and text.endswith((".", "?")))
        elif has_sentences and isinstance(node, ast.FunctionDef) and node.name == "__str__":
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and (text := _text(part.value)):
                    yield part, text


def _filled(text: str) -> str:
    return re.sub(r"%[-.\d]*[a-z]", VARIABLE, text)


def _text(node: ast.AST | None) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "rstrip":
        return _text(node.func.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else VARIABLE for part in node.values)
    return None


def plain(text: str) -> str:
    """Return a text, or a page, without marks for code."""
    return text.replace("`", "").replace("\\|", "|")


def rest(page: str) -> str:
    """Return the end of the page: the texts that it does not have before."""
    before = plain(page.partition(HEADING)[0])
    areas: dict[str, list[str]] = {area: [] for area in AREAS}
    for place, text in texts():
        line = f"* `{plain(text)}`"
        area = next(area for area, parts in AREAS.items() if any(part in place for part in parts))
        if plain(text) not in before and line not in areas[area]:
            areas[area].append(line)
    sections = [f"### {area}\n\n" + "\n".join(lines) + "\n" for area, lines in sorted(areas.items()) if lines]
    return "\n".join([HEADING, INTRODUCTION + "\n", *sections])


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(text.partition(HEADING)[0] + rest(text))
