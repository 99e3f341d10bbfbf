"""Rewrites the lines of process managers that start Daphne, and lists those of other programs that change.

The files are those of Procfile, supervisor, systemd, Docker and shell: each keeps its layout, only a command is
replaced.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .report import Section

_TOKEN = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
_DAPHNE = re.compile(r"""(?<![\w./-])(?P<folder>[^\s"'=\[]*/)?daphne(?=\s|["'],|$)""")
_ARRAY = re.compile(r"\[\s*\".*\"\s*\]")
_END_OF_COMMAND = re.compile(r"^(?:&&|\|\||[;|&<>]|\d?>)")

VALUES: Mapping[str, int] = {
    **dict.fromkeys(("-b", "--bind", "-p", "--port", "-u", "--unix-socket", "--fd", "-v", "--verbosity"), 1),
    **dict.fromkeys(("-t", "--http-timeout", "--access-log", "--ping-interval", "--ping-timeout"), 1),
    **dict.fromkeys(("--root-path", "--websocket_timeout", "--websocket_connect_timeout"), 1),
    "--proxy-headers": 0,
}
"""Options of Daphne 1.x that runinterface has too, with the number of their values."""

DROPPED = ("--force-sync",)

SENTENCES: Mapping[str, tuple[str, Section]] = {
    "continued": ("This command of Daphne goes on elsewhere: write channels-classic interface.", "programs"),
    "graceful": ("Workers always stop gracefully: replace --disable-graceful-stop by --grace 0.", "programs"),
    "option": ("`{word}` of Daphne has no counterpart: write channels-classic interface with --bind, --port, "
               "--unix-socket or --fd.", "programs"),
    "proxies": ("Name the proxies that are not on this machine with --forwarded-allow-ips.", "programs"),
    "runserver": ("runserver is for development: run runinterface and runworker in production.", "programs"),
    "settings": ("Add --settings, or set DJANGO_SETTINGS_MODULE: the layer is found through the settings.", "programs"),
}  # fmt: skip


@dataclass
class Rewritten:
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


def rewrite(text: str, settings_of: SettingsOf) -> Rewritten:
    """Return the file with the commands of Daphne 1.x replaced."""
    result = Rewritten()
    in_environment = "DJANGO_SETTINGS_MODULE" in text
    lines = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if line.lstrip().startswith(("#", ";")):
            lines.append(line)
            continue
        lines.append(_line(line, number, result, settings_of, in_environment))
        if "--disable-graceful-stop" in line:
            result.find(number, "graceful")
        if re.search(r"manage\.py\W+runserver\b", line):
            result.find(number, "runserver")
    result.text = "".join(lines)
    return result


def _line(line: str, number: int, result: Rewritten, settings_of: SettingsOf, in_environment: bool) -> str:
    daphne = _DAPHNE.search(line)
    if daphne is None:
        return line
    array = _ARRAY.search(line)
    start, end = array.span() if array else (daphne.start(), len(line.rstrip()))
    before, command, after = line[:start], line[start:end], line[end:]
    words = _words_of_array(command) if array else _TOKEN.findall(command)
    place = next((place for place, word in enumerate(words) if word.rpartition("/")[2] == "daphne"), None)
    if place is None:
        return line
    if command.endswith("\\") or len(words) == place + 1:
        if command.endswith("\\") or line.strip().lstrip("- ") == words[place]:
            result.find(number, "continued")
        return line
    tail = next((at for at in range(place, len(words)) if _END_OF_COMMAND.match(words[at])), len(words))
    new = _translated(words[place:tail], number, result, settings_of, in_environment)
    if new is None:
        return line
    made = [*words[:place], *new, *words[tail:]]
    return before + (json.dumps(made) if array else " ".join(made)) + after


def _words_of_array(command: str) -> list[str]:
    try:
        words = json.loads(command)
    except ValueError:
        return []
    return words if all(isinstance(word, str) for word in words) else []


def _translated(
    words: list[str], number: int, result: Rewritten, settings_of: SettingsOf, in_environment: bool
) -> list[str] | None:
    """Return the command of `words`, or None if they stay as they are; `result` has the reason."""
    layer, options, unknown = _parsed(words[1:])
    if unknown:
        result.find(number, "option", unknown)
        return None
    settings = settings_of(layer.partition(":")[0])
    if settings is None and layer.partition(":")[2] != "channel_layer":
        if layer:
            result.modern.append((number, f"daphne {layer}"))
        return None
    if "--proxy-headers" in options:
        result.find(number, "proxies")
    named = [] if in_environment or settings is None else ["--settings", settings]
    if settings is None and not in_environment:
        result.find(number, "settings")
    folder = words[0].rpartition("daphne")[0]
    return [f"{folder}channels-classic", "interface", *named, *options]


def _parsed(words: list[str]) -> tuple[str, list[str], str]:
    """Return the layer, the options that remain, and the first option that has no counterpart."""
    layer = ""
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
            if name not in DROPPED:
                return layer, options, name
        else:
            layer = word
    return layer, options, ""
