"""Finds what Python code does beside importing Channels 1.x: commands in its strings, and uses of the version."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from . import command_lines, requirements
from .report import Section

READS_VERSION = {"distribution", "get_distribution", "version"}
"""Calls of `importlib.metadata` and `pkg_resources` that take the name of a distribution."""


def commands(tree: ast.Module, *, modern_project: bool) -> set[tuple[int, str, Section]]:
    """Return line, sentence and section for commands that start Daphne or install Channels 1.x, as a fabfile has them.

    A command is a string, or a list of its words.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.List, ast.Tuple)):
            text = _text(node)
            each = command_lines.findings_in_code(text) if "daphne" in text else []
            if "pip" in text:
                each += requirements.install_findings(text, modern_project=modern_project)
            last = node.end_lineno or node.lineno
            found |= {(min(node.lineno + line - 1, last), sentence, section) for line, sentence, section in each}
    return found


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "x" for part in node.values)
    if isinstance(node, (ast.List, ast.Tuple)):
        words = [_text(word) for word in node.elts if isinstance(word, (ast.Constant, ast.JoinedStr))]
        return "" if any(" " in word for word in words) else " ".join(words)  # whole commands are found as strings
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def versions(tree: ast.Module) -> Iterator[tuple[int, str, Section]]:
    """Yield line, sentence and section for each place that asks for the version of Channels."""
    nodes = list(ast.walk(tree))
    imports = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    bound = {alias.asname or "channels" for alias in imports if alias.name == "channels"}
    bound |= {"channels" for alias in imports if alias.name.startswith("channels.") and alias.asname is None}
    for node in nodes:
        if isinstance(node, (ast.Attribute, ast.ImportFrom)) and _is_version(node, bound):
            sentence = "`channels.__version__` is the number of this package here, not that of Channels."
            yield node.lineno, sentence, "names-without-a-counterpart"
        elif isinstance(node, ast.Call) and _reads_version(node):
            sentence = "Ask for the version of 'channels-classic': its number is that of this package."
            yield node.lineno, sentence, "names-without-a-counterpart"


def _is_version(node: ast.Attribute | ast.ImportFrom, bound: set[str]) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module, node.level) == ("channels", 0) and any(each.name == "__version__" for each in node.names)
    return node.attr == "__version__" and isinstance(node.value, ast.Name) and node.value.id in bound


def _reads_version(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    names = [each.value for each in call.args if isinstance(each, ast.Constant)]
    return name in READS_VERSION and "channels" in names
