"""Rewrites the lines of process managers that start Daphne, and lists those of other programs that change.

The files are those of Procfile, supervisor, systemd, Docker and shell: each keeps its layout, only a command is
replaced.
"""

from __future__ import annotations

import ast
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .report import LONGEST_LINE, Section

_TOKEN = re.compile(r"""[;&|]+|(?:[^\s"';&|]|"[^"]*"|'[^']*')+""")
_CLASSIC_LAYER = re.compile(r"\b[\w.]+:channel_layer\b")
_DAPHNE = re.compile(r"""(?<![\w./-])(?P<folder>[^\s"'=\[]*/)?daphne(?=\s)""")
_ARRAY = re.compile(r"""\[\s*["'].*["']\s*\]""")
_END_OF_COMMAND = re.compile(r"[;&|<>#]|\d>")

VALUES: Mapping[str, int] = {
    **dict.fromkeys(("-b", "--bind", "-p", "--port", "-u", "--unix-socket", "--fd", "-v", "--verbosity"), 1),
    **dict.fromkeys(("-t", "--http-timeout", "--access-log", "--ping-interval", "--ping-timeout"), 1),
    **dict.fromkeys(("--root-path", "--websocket_timeout", "--websocket_connect_timeout"), 1),
    "--proxy-headers": 0,
}
"""Options of Daphne 1.x that runinterface has too, with the number of their values."""

DROPPED = ("--force-sync",)

SENTENCES: Mapping[str, tuple[str, Section]] = {
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


SettingsOf = Callable[[str], "str | None"]
"""Returns the settings module that the module of a layer names, such as `mysite.asgi`; None if it is not of 1.x."""


def rewrite(text: str, settings_of: SettingsOf) -> RewrittenCommands:
    """Return the file with the commands of Daphne 1.x replaced."""
    rewriter = _Rewriter(settings_of, "DJANGO_SETTINGS_MODULE" in text)
    rewriter.result.text = "".join(
        rewriter.line(number, line) for number, line in enumerate(text.splitlines(keepends=True), 1)
    )
    return rewriter.result


class _Rewriter:
    """Rewrites the lines of one file; `in_environment` says that the file sets the settings module."""

    def __init__(self, settings_of: SettingsOf, in_environment: bool) -> None:
        self.result = RewrittenCommands()
        self._settings_of = settings_of
        self._in_environment = in_environment

    def line(self, number: int, line: str) -> str:
        """Return the new text of a line."""
        if len(line) > LONGEST_LINE or line.lstrip().startswith(("#", ";")):
            return line
        if "--disable-graceful-stop" in line:
            self.result.find(number, "graceful")
        if re.search(r"manage\.py\W+runserver\b", line):
            self.result.find(number, "runserver")
        array = _ARRAY.search(line)
        found = len(self.result.findings)
        new = self._array(number, line, array) if array else self._shell(number, line)
        if new == line and found == len(self.result.findings) and _CLASSIC_LAYER.search(line):
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
        text = json.dumps(made) if '"' in array[0] else repr(made)
        return line[: array.start()] + text + line[array.end() :]

    def _shell(self, number: int, line: str) -> str:
        """Rewrite the words from Daphne to the end of its command, and leave what is around them."""
        daphne = _DAPHNE.search(line)
        if daphne is None or line.rstrip().endswith("\\") or line[: daphne.start()].rstrip().endswith("-m"):
            return line
        # In `sh -c "… && daphne …"` the command ends with the quotes that were opened before it.
        open_quotes = [quote for quote in "\"'" if line[: daphne.start()].count(quote) % 2]
        ends = [place for quote in open_quotes if (place := line.find(quote, daphne.end())) >= 0]
        words = []
        for word in _TOKEN.finditer(line, daphne.start(), min(ends, default=len(line))):
            if _END_OF_COMMAND.match(word[0]):
                break
            words.append(word)
        new = self._translated(number, [word[0] for word in words])
        return line if new is None else line[: daphne.start()] + " ".join(new) + line[words[-1].end() :]

    def _translated(self, number: int, words: list[str]) -> list[str] | None:
        """Return the command of `words`, or None if they stay as they are; `result` has the reason."""
        layer, options, unknown = _parsed(words[1:])
        if not layer:
            return None
        if unknown:
            self.result.find(number, "option", unknown)
            return None
        settings = self._settings_of(layer.partition(":")[0])
        if settings is None and not _CLASSIC_LAYER.match(layer):
            self.result.modern.append((number, f"daphne {layer}"))
            return None
        if "--proxy-headers" in options:
            self.result.find(number, "proxies")
        if settings is None and not self._in_environment:
            self.result.find(number, "settings")
        named = [] if self._in_environment or settings is None else ["--settings", settings]
        folder = words[0].rpartition("daphne")[0]
        return [f"{folder}channels-classic", "interface", *named, *options]


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
        elif ":" in word and not layer:
            layer = word
        else:
            unknown = unknown or word
    return layer, options, unknown
