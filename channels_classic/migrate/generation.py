"""The release of Channels that a Python file was written for, from its names and settings, and what is older still."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from channels_classic.asgi import LEGACY_BACKENDS

from .names import (
    CLASSIC_PACKAGES,
    DEEPEST,
    IMPORTERS,
    MODERN_PACKAGES,
    SHARED_NAMES,
    TAKES_APPS,
    Generation,
    generation_of,
    new_path,
)
from .report import Section

CLASSIC_STRINGS = tuple(f"{package}." for package in sorted(CLASSIC_PACKAGES))
MODERN_STRINGS = (*(f"{package}." for package in sorted(MODERN_PACKAGES)), "channels.layers.")


@dataclass(frozen=True)
class Evidence:
    """A name that shows the release which a file was written for."""

    generation: Generation
    name: str
    line: int


def evidence(tree: ast.Module) -> list[Evidence]:
    """Return what a file says about its release of Channels, in the order of its lines."""
    beside = {id(node) for statement in tree.body if _defines_layers_beside(statement) for node in ast.walk(statement)}
    found = [each for node in ast.walk(tree) if id(node) not in beside for each in _evidence(node)]
    return sorted([*found, *_used(tree)], key=lambda each: each.line)


def _defines_layers_beside(statement: ast.stmt) -> bool:
    """Return True for the layers of this package in a project that also has Channels 4, which are no longer 1.x."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == "CHANNELS_CLASSIC_LAYERS" for target in targets)


def first(found: list[Evidence], generation: Generation) -> Evidence | None:
    """Return the first piece of evidence for one generation, if there is any."""
    return next((each for each in found if each.generation is generation), None)


def _used(tree: ast.Module) -> Iterator[Evidence]:
    """Yield what uses of names show: `channels.routing.URLRouter`, or `URLRouter` after an import of all names."""
    nodes = list(ast.walk(tree))
    imports = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    has_channels = any(alias.name.partition(".")[0] == "channels" and alias.asname is None for alias in imports)
    statements = [node for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    stars = [node.module or "" for node in statements if node.names[0].name == "*"]
    for node in nodes:
        if isinstance(node, ast.Name):
            yield from _use(stars, node.id, node.lineno)
        elif isinstance(node, ast.Attribute) and has_channels:
            yield from _use([_dotted(node.value)], node.attr, node.lineno)


def _use(modules: list[str], name: str, line: int) -> Iterator[Evidence]:
    for module in modules:
        generation = generation_of(module, name) if module in SHARED_NAMES else None
        if generation in (Generation.CLASSIC, Generation.MODERN):
            yield Evidence(generation, f"{module}.{name}", line)


def _dotted(node: ast.AST) -> str:
    """Return `channels.routing` for that expression, and an empty text for one of another form."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < DEEPEST:
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) and node.id == "channels" else ""


def _evidence(node: ast.AST) -> Iterator[Evidence]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            if generation := generation_of(alias.name):
                yield Evidence(generation, alias.name, node.lineno)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            if generation := generation_of(node.module, alias.name):
                yield Evidence(generation, f"{node.module}.{alias.name}", node.lineno)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if generation := _of_string(node.value):
            yield Evidence(generation, node.value, node.lineno)
    elif isinstance(node, (ast.Call, ast.Subscript)) and _names_channels(node):
        yield Evidence(Generation.EITHER, "channels", node.lineno)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == "ASGI_APPLICATION":
        yield Evidence(Generation.MODERN, "ASGI_APPLICATION", node.lineno)
    elif isinstance(node, (ast.List, ast.Set, ast.Tuple)):
        for element in node.elts:
            if isinstance(element, ast.Constant) and element.value == "channels":  # an entry of INSTALLED_APPS
                yield Evidence(Generation.EITHER, "channels", element.lineno)
    elif isinstance(node, ast.Dict):
        keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        if "ROUTING" in keys:
            yield Evidence(Generation.CLASSIC, "ROUTING", node.lineno)


def _of_string(value: str) -> Generation | None:
    if value in LEGACY_BACKENDS or value.startswith(CLASSIC_STRINGS):
        return Generation.CLASSIC
    if value.startswith(MODERN_STRINGS):
        return Generation.MODERN
    return Generation.EITHER if new_path(value) else None


def _names_channels(node: ast.Call | ast.Subscript) -> bool:
    """Return True for `import_module("channels")`, `INSTALLED_APPS.append("channels")` and the like."""
    called, arguments = (node.func, node.args) if isinstance(node, ast.Call) else (node.value, [node.slice])
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    takes = name in IMPORTERS or name in TAKES_APPS
    return takes and any(isinstance(each, ast.Constant) and each.value == "channels" for each in arguments)


def before_1_0(tree: ast.Module) -> Iterator[tuple[int, str, Section]]:
    """Yield line, sentence and section for what Channels 1.x removed itself: the slight mode of ordering."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "slight":
            sentence = "enforce_ordering has no slight mode: remove slight=True."
            yield node.value.lineno, sentence, "names-without-a-counterpart"
        elif isinstance(node, ast.Name) and node.id == "slight_ordering" and isinstance(node.ctx, ast.Store):
            sentence = "slight_ordering was removed: write strict_ordering = True."
            yield node.lineno, sentence, "names-without-a-counterpart"
