"""The result of a migration: changes, findings for people, and files that were left alone; and its text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import unified_diff
from io import StringIO
from typing import Literal

PAGE = "docs/migrate.md"

LONGEST_LINE = 2000
"""Characters of a line that is looked at in files other than Python's: a longer one was not written by a person."""

Section = Literal[
    "channels-2-to-4",
    "delayed-messages",
    "django",
    "layers",
    "logs",
    "names-without-a-counterpart",
    "programs",
    "python-2",
    "requirements",
    "settings",
    "the-alias-line",
    "the-steps",
    "third-party-libraries",
]
"""The sections of the page that findings refer to, as their anchors."""


@dataclass(frozen=True, order=True)
class Finding:
    """Something that a person has to look at; `section` is the part of the page about migration to read."""

    path: str
    line: int
    sentence: str
    section: Section

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.sentence} See {PAGE}#{self.section}"


@dataclass(frozen=True, order=True)
class FileChange:
    """The new content of a file; `encoding` is that of its bytes."""

    path: str
    before: bytes
    after: bytes
    encoding: str = "utf-8"

    def diff(self, folder: str = "") -> Iterator[str]:
        """Yield the lines of a unified diff, as `patch -p1` and `git apply` read it; paths begin with `folder`."""
        path = folder.lstrip("/") + self.path
        old, new = _quoted(f"a/{path}"), _quoted(f"b/{path}")
        for line in unified_diff(self._lines(self.before), self._lines(self.after), old, new):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"

    def _lines(self, content: bytes) -> list[str]:
        if self.encoding.startswith("utf-16"):  # in which a line does not end with one byte
            return list(StringIO(content.decode(self.encoding, "replace"), newline=""))
        return [self._text(line) for line in content.splitlines(keepends=True)]

    def _text(self, line: bytes) -> str:
        try:
            return line.decode(self.encoding, "replace")
        except UnicodeError:  # from codecs that cannot replace
            return line.decode("latin-1")


@dataclass(frozen=True, order=True)
class LeftAlone:
    """A file that was not changed although it names Channels, and the reason."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass
class MigrationReport:
    """Everything that a migration found, with paths relative to the project.

    `folder` is the path to the project, with a slash at its end, which is put before them in the text.
    """

    folder: str = ""
    changes: list[FileChange] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_alone: list[LeftAlone] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def diff(self) -> Iterator[str]:
        """Yield the lines of the diff of all changes, in the order of their paths."""
        for change in sorted(self.changes):
            yield from change.diff(self.folder)

    def summary(self, written: bool) -> Iterator[str]:
        """Yield the lines that follow the diff."""
        if not self.changes:
            yield "Nothing to change."
        elif written:
            yield f"{_files(len(self.changes))} changed."
        else:
            yield f"{_files(len(self.changes))} would change. Write them with --write."
        if self.left_alone:
            yield ""
            yield "Left alone:"
            yield from (f"  {self.folder}{each}" for each in sorted(self.left_alone))
        if self.findings:
            yield ""
            yield "For you to look at:"
            yield from (f"  {self.folder}{each}" for each in sorted(set(self.findings)))
        for note in self.notes:
            yield ""
            yield note


def _quoted(path: str) -> str:
    """Return a path as the header of a diff has it: in quotes if it has control characters, as `git apply` reads it."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in os.fsencode(path)
    )
    return path if path.isprintable() and '"' not in path else f'"{escaped}"'


def _files(count: int) -> str:
    return f"{count} file{'s' if count != 1 else ''}"
