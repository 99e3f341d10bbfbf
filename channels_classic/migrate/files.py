"""The files of a project that a migration reads, by their kind."""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path


class FileKind(Enum):
    """The kinds of files that are read."""

    PYTHON = "Python"
    REQUIREMENTS = "requirements"
    PACKAGING = "packaging"
    COMMANDS = "commands"
    TEMPLATE = "template"


NAMES: Mapping[FileKind, str] = {
    FileKind.PYTHON: r".*\.py",
    FileKind.REQUIREMENTS: r".*(requirements|constraints).*\.(txt|in|pip)",
    FileKind.PACKAGING: r"setup\.cfg|tox\.ini|pytest\.ini|pyproject\.toml|Pipfile|environment\.ya?ml",
    FileKind.COMMANDS: r"Procfile.*|.*\.(conf|ini|service|sh)|Dockerfile.*|.*\.dockerfile|.*\.ya?ml|Makefile",
    FileKind.TEMPLATE: r".*\.html",
}
"""Kind → names of its files. The first that matches counts."""

SKIPPED = {"__pycache__", "build", "dist", "node_modules", "site-packages"}


def project_files(root: Path) -> Iterator[tuple[str, FileKind]]:
    """Yield the paths of the files below `root`, relative to it, and their kinds, in a fixed order.

    Hidden folders, virtual environments, symbolic links and what is not a file, such as a named pipe, are left out.
    """
    if root.is_file():
        kind = kind_of((root.parent.resolve() / root.name).as_posix())
        if kind is not None:
            yield root.name, kind
        return
    resolved = root.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if _is_walked(Path(folder, name)))
        for name in sorted(names):
            path = Path(folder, name).relative_to(root).as_posix()
            kind = kind_of((resolved / path).as_posix())
            if kind is not None and _is_regular(Path(folder, name)):
                yield path, kind


def decoded(content: bytes) -> tuple[str, bytes, str]:
    """Return the text of a file that is not Python's, its byte order mark, and its encoding, as pip finds it.

    `pip freeze > requirements.txt` in PowerShell writes UTF-16. Bytes that are not UTF-8 are escaped.
    """
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if content.startswith(mark):
            with suppress(UnicodeDecodeError):
                return content[len(mark) :].decode(encoding), mark, encoding
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    return content[len(mark) :].decode("utf-8", "surrogateescape"), mark, "utf-8"


def kind_of(path: str) -> FileKind | None:
    """Return the kind of a file by its name; a folder `requirements` holds requirements files."""
    folder, _, name = path.rpartition("/")
    if folder.rpartition("/")[2] == "requirements" and name.endswith((".txt", ".in", ".pip")):
        return FileKind.REQUIREMENTS
    return next((kind for kind, pattern in NAMES.items() if re.fullmatch(pattern, name, re.DOTALL)), None)


def _is_walked(folder: Path) -> bool:
    return not (folder.name in SKIPPED or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists())


def _is_regular(path: Path) -> bool:
    """Return True for a file of its own; reading a named pipe would never end."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return True  # the attempt to read it says why
