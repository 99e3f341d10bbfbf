"""The texts of errors and warnings in the source: what users may search for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ["channels_classic", "worker", "interface_server"]
LOGGING = {"warning", "error", "exception", "critical", "warn", "_warn"}
VARIABLE = "…"
NOT_SENTENCES = {"AssertionError", "AttributeError", "CannotListen", "LayerUnavailable", "NotImplementedError"}
"""Errors whose first argument is no text that users see alone."""


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
            yield from ((node, re.sub(r"%[-.\d]*[a-z]", VARIABLE, text)) for text in texts[-1:])
        elif has_sentences and isinstance(node, ast.FunctionDef) and node.name == "__str__":
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and (text := _text(part.value)):
                    yield part, text


def _text(node: ast.AST | None) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else VARIABLE for part in node.values)
    return None
