"""One Python file: whether it can be parsed, the release of Channels it was written for, and its new content."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper

from .alias_line import with_line
from .generation import Evidence, evidence, first
from .imports import ImportRewriter
from .names import Generation
from .report import Finding
from .settings import SettingsRewriter

_RELEVANT = re.compile(rb"channels|asgi|daphne|MIDDLEWARE_CLASSES")


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
    def text(self) -> str:
        """The content as text; characters that are not UTF-8 are replaced."""
        return self.content.decode("utf-8", "replace")


def parsed(path: str, content: bytes) -> PythonFile | Finding:
    """Return the parsed file, or a finding that names the line that Python 3 cannot parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes, such as those of old regular expressions
            tree = ast.parse(content)
            cst.parse_module(content)
    except SyntaxError as error:
        return _unparsed(path, error.lineno or 1, (error.text or "").strip() or str(error.msg))
    except cst.ParserSyntaxError as error:
        return _unparsed(path, error.raw_line, error.message.strip().splitlines()[0])
    except (ValueError, LookupError, RecursionError, MemoryError, SystemError) as error:
        # The last two: what CPython raises for some code that is nested too deeply.
        return _unparsed(path, 1, str(error))
    return PythonFile(path, content, tree, evidence(tree))


def _unparsed(path: str, line: int, text: str) -> Finding:
    sentence = f"Python 3 cannot parse this file here, so it was not read: `{text}`."
    return Finding(path, line, sentence, "python-2")


def rewritten(file: PythonFile, *, alias: bool, needs_line: bool) -> tuple[bytes, str, list[Finding]]:
    """Return the new content, its encoding and the findings of a file.

    With `alias` the names of Channels 1.x stay, and `needs_line` says whether the line that provides them goes here.
    """
    if not needs_line and not _RELEVANT.search(file.content):
        return file.content, "utf-8", []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _rewritten(file, alias, needs_line)
    except RecursionError:
        sentence = "This file has an expression that is nested too deeply: it was not rewritten."
        return file.content, "utf-8", [Finding(file.path, 1, sentence, "the-steps")]


def _rewritten(file: PythonFile, alias: bool, needs_line: bool) -> tuple[bytes, str, list[Finding]]:
    module = cst.parse_module(file.content)
    imports = ImportRewriter(file.path)
    settings = SettingsRewriter(file.path, alias=alias)
    if alias:
        MetadataWrapper(module).visit(imports)  # for its findings
    module = MetadataWrapper(module).visit(settings)
    if not alias:
        module = MetadataWrapper(module).visit(imports)
    if needs_line:
        module = with_line(module)
    return module.bytes, module.encoding, [*imports.findings, *settings.findings]
