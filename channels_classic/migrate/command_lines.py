"""Rewrites the lines of process managers that start Daphne, and lists those of other programs that change.

The files are those of Procfile, supervisor, systemd, Docker and shell: each keeps its layout, only a command is
replaced.
"""

from __future__ import annotations

import ast
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from .report import LONGEST_LINE, Section

_PART = r"""\$\{[^}]*\}|[$%]\([^()]*\)|[^\s"';&|<>(){}`]|"[^"]*"|'[^']*'"""
_TOKEN = re.compile(rf"\d*[<>]+|[;&|(){{}}`]+|(?:{_PART})+")
_LAYER = re.compile(r"""(["']?)[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\1""")
_CLASSIC_LAYER = re.compile(r"\b[\w.]+:channel_layer\b")
_DAPHNE = re.compile(r"""(?<![\w./-])(?P<folder>(?:\$\{\w+\}|[^\s"'=\[(){}`])*/)?daphne(?=\s)""")
_WORD = r"""(?:"[^"\\]*"|'[^'\\]*'|\d+)"""
_ARRAY = re.compile(rf"\[\s*{_WORD}(?:\s*,\s*{_WORD})*\s*,?\s*\]")
_END_OF_COMMAND = re.compile(r"\d*[<>]|[;&|(){}`#]")
_SECTION = re.compile(r"\[|FROM\s", re.IGNORECASE)
_VARIABLE = r"""["']?DJANGO_SETTINGS_MODULE"""
_SETS_VARIABLE = re.compile(
    rf"""(?:-\s+|(?:(?:export|env)\s|environment\s*[=:])(?:[^#]*[\s,"'\[{{])?){_VARIABLE}(?:=|["']?\s*:|[ \t]+\S)"""
    rf"""|{_VARIABLE}["']?\s*:""",
    re.IGNORECASE,
)

VALUES: Mapping[str, int] = {
    **dict.fromkeys(("-b", "--bind", "-p", "--port", "-u", "--unix-socket", "--fd", "-v", "--verbosity"), 1),
    **dict.fromkeys(("-t", "--http-timeout", "--access-log", "--ping-interval", "--ping-timeout"), 1),
    **dict.fromkeys(("--root-path", "--websocket_timeout", "--websocket_connect_timeout"), 1),
    "--proxy-headers": 0,
}
"""Options of Daphne 1.x that runinterface has too, with the number of their values."""

DROPPED = ("--force-sync",)

SENTENCES: Mapping[str, tuple[str, Section]] = {
    "default": ("Add --settings {word} unless the environment sets DJANGO_SETTINGS_MODULE: it was only the default.",
                "programs"),
    "form": ("This command of Daphne has a form that is not rewritten: write channels-classic interface.", "programs"),
    "graceful": ("Workers always stop gracefully: replace --disable-graceful-stop by --grace 0.", "programs"),
    "option": ("`{word}` of Daphne has no counterpart: write channels-classic interface with --bind, --port, "
               "--unix-socket or --fd.", "programs"),
    "proxies": ("Name the proxies that are not on this machine with --forwarded-allow-ips.", "programs"),
    "runserver": ("runserver is for development: run runinterface and runworker in production.", "programs"),
    "settings": ("Add --settings, or set DJANGO_SETTINGS_MODULE: the layer is found through the settings.", "programs"),
}  # fmt: skip


@dataclass
class RewrittenCommands:
    """The new text of a file, findings as line, sentence and section, and the lines left alone."""

    text: str = ""
    findings: list[tuple[int, str, Section]] = field(default_factory=list)
    modern: list[tuple[int, str]] = field(default_factory=list)

    def find(self, line: int, kind: str, word: str = "") -> None:
        """Add a finding."""
        sentence, section = SENTENCES[kind]
        self.findings.append((line, sentence.format(word=word), section))


@dataclass(frozen=True)
class NamedSettings:
    """The settings module that the module of a layer names, if it names one.

    A `forced` one is assigned to the variable in the environment; any other is only the default for it.
    """

    name: str = ""
    forced: bool = False


SettingsOf = Callable[[str], "NamedSettings | None"]
"""Returns the settings that the module of a layer names, such as `mysite.asgi`; None if it is not of 1.x."""


def rewrite(text: str, settings_of: SettingsOf) -> RewrittenCommands:
    """Return the file with the commands of Daphne 1.x replaced."""
    lines = text.splitlines(keepends=True)
    rewriter = _Rewriter(settings_of, lines)
    rewriter.result.text = "".join(rewriter.line(number, line) for number, line in enumerate(lines, 1))
    return rewriter.result


def findings_in_code(text: str) -> list[tuple[int, str, Section]]:
    """Return findings for the commands of Daphne 1.x in a string of Python code."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if len(line) <= LONGEST_LINE]
    return [(number, *SENTENCES["form"]) for number, line in lines if "daphne" in line and _CLASSIC_LAYER.search(line)]


class _Rewriter:
    """Rewrites the lines of one file."""

    def __init__(self, settings_of: SettingsOf, lines: list[str]) -> None:
        self.result = RewrittenCommands()
        self._settings_of = settings_of
        self._lines = lines
        self._explained: set[int] = set()

    def line(self, number: int, line: str) -> str:
        """Return the new text of a line."""
        if len(line) > LONGEST_LINE or line.lstrip().startswith(("#", ";")):
            return line
        if "--disable-graceful-stop" in line:
            self.result.find(number, "graceful")
        if re.search(r"manage\.py\W+runserver\b", line):
            self.result.find(number, "runserver")
        array = next((found for found in _ARRAY.finditer(line) if "daphne" in found[0]), None)
        new = self._array(number, line, array) if array else self._shell(number, line)
        if _CLASSIC_LAYER.search(new) and number not in self._explained:
            self.result.find(number, "form")
        return new

    def _array(self, number: int, line: str, array: re.Match[str]) -> str:
        """Rewrite a list of quoted words, as Docker and compose files have it, in its kind of quotes."""
        try:
            words = ast.literal_eval(array[0])
        except (SyntaxError, ValueError):
            return line
        place = next((at for at, word in enumerate(words) if str(word).rpartition("/")[2] == "daphne"), None)
        new = None if place is None else self._translated(number, [str(word) for word in words[place:]])
        if new is None:
            return line
        made = [*words[:place], *new]
        text = json.dumps(made, ensure_ascii=False) if '"' in array[0] else repr(made)
        return line[: array.start()] + text + line[array.end() :]

    def _shell(self, number: int, line: str) -> str:
        """Rewrite each command of Daphne in a line, and leave what is around them."""
        if "daphne" not in line or line.rstrip().endswith("\\"):
            return line
        place = 0
        while daphne := _DAPHNE.search(line, place):
            place = daphne.end()
            before = line[: daphne.start()]
            words = [] if before.rstrip().endswith("-m") else _words(line, daphne)
            new = self._translated(number, [word[0] for word in words], before)
            if new is not None:
                rest = line[words[-1].end() :]
                made = before + " ".join(new) + (" " if rest.startswith(("<", ">")) else "")
                line, place = made + rest, len(made)
        return line

    def _translated(self, number: int, words: list[str], before: str = "") -> list[str] | None:
        """Return the command of `words`, or None if they stay as they are; `result` has the reason.

        `before` is the part of its line that a shell reads before it.
        """
        layer, options, unknown = _parsed(words[1:])
        if not layer:
            return None
        if unknown:
            self.result.find(number, "option", unknown)
            self._explained.add(number)
            return None
        settings = self._settings_of(layer.partition(":")[0])
        if settings is None and not _CLASSIC_LAYER.match(layer):
            self.result.modern.append((number, f"daphne {layer}"))
            return None
        if "--proxy-headers" in options:
            self.result.find(number, "proxies")
        named = settings.name if settings else ""
        forced = settings is not None and settings.forced
        if not forced and not self._is_in_environment(number, before):
            self.result.find(number, "default" if named else "settings", named)
        folder = words[0].rpartition("daphne")[0]
        return [f"{folder}channels-classic", "interface", *(["--settings", named] if forced else []), *options]

    def _is_in_environment(self, number: int, before: str) -> bool:
        """Return True if the settings module is set for a command, or for the service it is a part of."""
        depth = _depth(self._lines[number - 1])
        around = chain(
            _section(reversed(self._lines[: number - 1]), depth), _section(iter(self._lines[number:]), depth)
        )
        own = re.split(r"[;&|]", before)[-1]
        return "DJANGO_SETTINGS_MODULE=" in own or any(_sets_variable(line, depth) for line in around)


def _section(lines: Iterator[str], depth: int) -> Iterator[str]:
    """Yield the lines of the same service or section: those that are not less indented, up to a header."""
    for line in lines:
        if line.strip() and (_depth(line) < depth or _SECTION.match(line)):
            return
        yield line


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _sets_variable(line: str, depth: int) -> bool:
    """Return True for a line that sets the settings module; a shell may pass over one that is further indented."""
    if len(line) > LONGEST_LINE or (line.lstrip().startswith("export") and _depth(line) > depth):
        return False
    return _SETS_VARIABLE.match(line.lstrip()) is not None


def _words(line: str, daphne: re.Match[str]) -> list[re.Match[str]]:
    """Return the words of a command; none if it is not clear where it ends."""
    # In `sh -c "… && daphne …"` the command ends with the quotes that were opened before it.
    before = line[: daphne.start()]
    open_quotes = [quote for quote in "\"'" if before.count(quote) % 2]
    ends = [place for quote in open_quotes if (place := line.find(quote, daphne.end())) >= 0]
    words: list[re.Match[str]] = []
    for word in _TOKEN.finditer(line, daphne.start(), min(ends, default=len(line))):
        if _END_OF_COMMAND.match(word[0]):
            return words if _closes(before, word[0][0]) else []
        if word[0].endswith(","):  # of a mapping in YAML
            return []
        words.append(word)
    return words


def _closes(before: str, sign: str) -> bool:
    """Return True if a command may end with `sign`: a bracket or a backtick has to be open before it."""
    if sign == "`":
        return before.count(sign) % 2 == 1
    opening = {")": "(", "}": "{", "(": "", "{": ""}.get(sign)
    return opening is None or (opening != "" and opening in before)


def _parsed(words: list[str]) -> tuple[str, list[str], str]:
    """Return the layer, the options that remain, and the first option that has no counterpart."""
    layer = unknown = ""
    options: list[str] = []
    left = deque(words)
    while left:
        word = left.popleft()
        name, equals, value = word.partition("=")
        if name == "--ws-protocol":
            # Daphne takes every word up to the next option.
            protocols = [value] if equals else []
            while not equals and left and not left[0].startswith("-") and ":" not in left[0]:
                protocols.append(left.popleft())
            options += [part for protocol in protocols for part in ("--ws-protocol", protocol)]
        elif name in VALUES:
            options.append(word)
            options += [left.popleft() for _ in range(0 if equals else VALUES[name]) if left]
        elif re.match(r"-[bptuv]\S", word):
            options.append(word)
        elif word.startswith("-"):
            unknown = unknown or ("" if name in DROPPED else name)
        elif _LAYER.fullmatch(word) and not layer:
            layer = word.strip("\"'")
        else:
            unknown = unknown or word
    return layer, options, unknown
