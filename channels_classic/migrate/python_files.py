"""One Python file: whether it can be parsed, the release of Channels it was written for, and its new content."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from difflib import SequenceMatcher

import libcst as cst
from libcst.metadata import MetadataWrapper

from .alias_line import with_line
from .generation import Evidence, evidence, first
from .imports import ImportRewriter
from .names import Generation
from .report import Finding
from .settings import SettingsRewriter

MOST_OPERANDS = 2000
"""Operands of one `and` or `or`: with many more LibCST ends the process."""

_RELEVANT = re.compile(rb"channels|asgi|daphne|MIDDLEWARE_CLASSES")


_THROUGH_A_MODULE = re.compile(r"(?<!\bdjango)\.channels(?![\w-])")  # not the logger django.channels


@dataclass(frozen=True)
class PythonFile:
    """A file with its syntax tree, and what it says about its release of Channels."""

    path: str
    content: bytes
    tree: ast.Module
    evidence: list[Evidence]

    @property
    def modern(self) -> Evidence | None:
        """The first name of Channels 2 to 4."""
        return first(self.evidence, Generation.MODERN)

    @property
    def classic(self) -> Evidence | None:
        """The first name of Channels 1.x."""
        return first(self.evidence, Generation.CLASSIC)

    @property
    def reaches_channels(self) -> bool:
        """True if it may use the name `channels` of another module, as `patch("chat.notify.channels.Group")` does."""
        nodes = list(ast.walk(self.tree))
        stars = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in nodes)
        return any(
            _reaches_channels(node) or (stars and isinstance(node, ast.Name) and node.id == "channels")
            for node in nodes
        )

    @property
    def text(self) -> str:
        """The content as text; characters that are not UTF-8 are replaced."""
        return self.content.decode("utf-8", "replace")


def _reaches_channels(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        return node.attr == "channels" and not own
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and _THROUGH_A_MODULE.search(node.value) is not None
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "channels" for alias in node.names)
    if isinstance(node, ast.Call):  # patch.object(notify, "channels")
        second = node.args[1] if len(node.args) > 1 and not isinstance(node.args[0], ast.Constant) else None
        return isinstance(second, ast.Constant) and second.value == "channels"
    return isinstance(node, ast.keyword) and node.arg == "channels"


def parsed(path: str, content: bytes) -> PythonFile | Finding:
    """Return the parsed file, or a finding that names the line that Python 3 cannot parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes, such as those of old regular expressions
            tree = ast.parse(content)
    except SyntaxError as error:
        return _unparsed(path, error.lineno or 1, (error.text or "").strip() or str(error.msg))
    except (ValueError, LookupError, RecursionError, MemoryError, SystemError) as error:
        # The last two: what CPython raises for some code that is nested too deeply.
        return _unparsed(path, 1, str(error))
    return PythonFile(path, content, tree, evidence(tree))


def _unparsed(path: str, line: int, text: str) -> Finding:
    sentence = f"Python 3 cannot parse this file here, so it was not read: `{text}`."
    return Finding(path, line, sentence, "python-2")


def rewritten(
    file: PythonFile, *, alias: bool, needs_line: bool, exports: bool = False
) -> tuple[bytes, str, list[Finding]]:
    """Return the new content, its encoding and the findings of a file.

    With `alias` the names of Channels 1.x stay, and `needs_line` says whether the line that provides them goes here.
    With `exports` other files may use the name `channels` through this one.
    """
    if not needs_line and not _RELEVANT.search(file.content):
        return file.content, "utf-8", []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _rewritten(file, alias, needs_line, exports)
    except cst.ParserSyntaxError as error:
        text = error.message.strip().splitlines()[0]
        return file.content, "utf-8", [_unparsed(file.path, error.raw_line, text)]
    except (ValueError, LookupError, SystemError) as error:
        return file.content, "utf-8", [_unparsed(file.path, 1, str(error))]
    except RecursionError:
        sentence = "This file has an expression that is nested too deeply: it was not rewritten."
        return file.content, "utf-8", [Finding(file.path, 1, sentence, "the-steps")]


def _rewritten(file: PythonFile, alias: bool, needs_line: bool, exports: bool) -> tuple[bytes, str, list[Finding]]:
    if any(isinstance(node, ast.BoolOp) and len(node.values) > MOST_OPERANDS for node in ast.walk(file.tree)):
        raise RecursionError
    plain = module = cst.parse_module(file.content)
    imports = ImportRewriter(file.path, alias=alias, exports=exports)
    settings = SettingsRewriter(file.path, alias=alias)
    if alias:
        MetadataWrapper(module).visit(imports)  # for its findings
    module = MetadataWrapper(module).visit(settings)
    if not alias:
        module = MetadataWrapper(module).visit(imports)
    if needs_line:
        module = with_line(module)
    before, after = plain.bytes, module.bytes
    content = file.content if after == before else _with_lines(file.content, before, after)
    return content, module.encoding, [*imports.findings, *settings.findings]


def _with_lines(content: bytes, plain: bytes, new: bytes) -> bytes:
    """Return `new` with the lines of `content` that did not change.

    LibCST writes some of them in another way, as `plain` has them: without form feeds and the space of a last line.
    """
    before, after = content.splitlines(keepends=True), new.splitlines(keepends=True)
    if content == plain or len(before) != len(plain.splitlines()):
        return new
    matcher = SequenceMatcher(None, plain.splitlines(keepends=True), after, autojunk=False)
    parts = [before[a:b] if kind == "equal" else after[c:d] for kind, a, b, c, d in matcher.get_opcodes()]
    return b"".join(line for part in parts for line in part)
