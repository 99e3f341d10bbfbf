"""Rewrites requirements files: what Channels 1.x needed is replaced or dropped, what people decide is listed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .report import LONGEST_LINE, Section

_REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:(?P<extras>\[[^\]]*\])\s*)?(?P<version>(?:[^;#\\\s][^;#\\]*?)?)"
    r"(?P<marker>\s*;[^#\\]*?)?(?P<comment>\s*#.*)?(?P<end>\s*(?:\\\s*)?)$"
)
_VERSION = re.compile(r"(===|==|~=|>=|<=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?")

_OLD = r"(?:channels|daphne|asgi[_-]redis|asgi[_-]ipc)"
_PACKAGING = re.compile(
    rf"""(?<![\w.-]){_OLD}\s*(?:\[[^\]]*\])?["']?\s*(?P<version>[=~<>][^#]*)|["']{_OLD}["']|^\s+(?:-\s+)?{_OLD}\s*$"""
)
_INSTALLED = re.compile(
    rf"""(?<![\w./-]){_OLD}(?:\[[^\]]*\])?(?P<version>(?:\s*,?\s*(?:[=~<>!]=|[<>])\s*\d[\d.*]*)*)(?=[\s"'\\,;\]]|$)"""
)
_PIP = re.compile(r"\bpip[\d.]*[\"',\s]+install\b(?P<names>[^;&|#]*)")
_MAJOR_OF_PACKAGING = re.compile(r"""[=>^~"']\s*(\d+)""")
_REPOSITORY = re.compile(r"github\.com[/:]django/(channels|daphne|asgi_redis|asgi_ipc)\b")

DROPPED = {"asgi-ipc", "asgi-redis", "daphne"}
"""Distributions that Channels 1.x needed and that channels-classic replaces."""

OLD_DEPENDENCIES = {"autobahn", "msgpack-python", "posix-ipc", "twisted", "txaio", "txredisapi"}
"""Distributions that were often pinned for Channels 1.x."""

WITHOUT_LAYER = {"asgi-amqp", "asgi-rabbitmq"}

OLDEST: Mapping[str, tuple[int, ...]] = {"django": (5, 2), "redis": (8,)}
"""The oldest release that channels-classic runs with."""

SENTENCES: Mapping[str, tuple[str, Section]] = {
    "both": ("`{name}` may be of any release: write channels-classic if it is Channels 1.x.", "requirements"),
    "django": ("Django {version} is too old: channels-classic needs Django 5.2 to 6.1.", "django"),
    "extras": (
        "`{name}` was required with extras: require channels-classic[encryption] if messages are encrypted.",
        "requirements",
    ),
    "hashes": ("`{name}` has hashes: require channels-classic instead of what Channels 1.x needed.", "requirements"),
    "layer": ("There is no layer for RabbitMQ: use Redis, or the embedded layer on one machine.", "layers"),
    "leftover": ("`{name}` was needed by Channels 1.x: remove it unless you use it yourself.", "requirements"),
    "packaging": (
        "Require channels-classic instead of channels and asgi_redis or asgi_ipc, and drop daphne.",
        "requirements",
    ),
    "redis": ("redis {version} is too old: remove the pin, channels-classic brings redis 8.", "requirements"),
    "third party": (
        "If `{name}` was written for Channels 1.x, install it with pip --no-deps.",
        "third-party-libraries",
    ),
}


@dataclass(frozen=True)
class RewrittenRequirements:
    """The new text of a requirements file, findings as line, sentence and section, and the lines left alone."""

    text: str
    findings: list[tuple[int, str, Section]]
    modern: list[tuple[int, str]]


def rewrite(text: str, *, modern_project: bool) -> RewrittenRequirements:
    """Return the file as channels-classic needs it; in a `modern_project` a line without a version is ambiguous."""
    kept: list[str] = []
    result = RewrittenRequirements("", [], [])
    ours = {_marker(line) for line in text.splitlines() if _name(line) == "channels-classic"}
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        new = _line(line, number, result, modern_project)
        if new is not None and _name(new) == "channels-classic" and _name(line) != "channels-classic":
            if not ours.isdisjoint({"", _marker(new)}):
                continue
            ours.add(_marker(new))
        if new is not None:
            kept.append(new)
    return RewrittenRequirements("".join(kept), result.findings, result.modern)


def packaging_findings(text: str, *, modern_project: bool) -> list[tuple[int, str, Section]]:
    """Return findings for the requirements in a file of another form, such as setup.py and pyproject.toml.

    In a `modern_project` names without a version are not taken for those of Channels 1.x.
    """
    lines = _lines(text)
    found = [(number, match) for number, line in lines if (match := _PACKAGING.search(line))]
    majors = [(number, _MAJOR_OF_PACKAGING.search(match["version"] or "")) for number, match in found]
    old = {number for number, major in majors if (not modern_project if major is None else int(major[1]) < 2)}
    old |= {number for number, line in lines if _installs(line, modern_project)}
    return [(number, *SENTENCES["packaging"]) for number in sorted(old)]


def install_findings(text: str, *, modern_project: bool) -> list[tuple[int, str, Section]]:
    """Return findings for what a file of commands installs, such as a Dockerfile."""
    return [(number, *SENTENCES["packaging"]) for number, line in _lines(text) if _installs(line, modern_project)]


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if len(line) <= LONGEST_LINE]


def _installs(line: str, modern_project: bool) -> bool:
    """Return True for a line that installs Channels 1.x: with its version, or by name only in `pip install`."""
    if line.lstrip().startswith("#"):
        return False
    command = _PIP.search(line)
    versions = [match["version"] for match in _INSTALLED.finditer(command["names"] if command else line)]
    if command is not None and versions and not any(versions):
        return not modern_project
    return any(version and not _at_least(version, 2) for version in versions)


def _line(line: str, number: int, result: RewrittenRequirements, modern_project: bool) -> str | None:
    """Return the new text of a line, or None to drop it."""
    content = line.rstrip("\r\n")
    match = _requirement(content)
    if repository := _REPOSITORY.search(content):
        result.findings.append((number, *SENTENCES["packaging"]))
    if match is None or repository:
        return line
    name, version = _normalised(match["name"]), match["version"].strip()
    kind = _kind(name, version, modern_project)
    if kind in ("replaced", "dropped") and (match["end"].strip() or "--hash" in content):
        kind = "hashes"
    if kind == "dropped" and match["extras"]:
        sentence, section = SENTENCES["extras"]
        result.findings.append((number, sentence.format(name=match["name"]), section))
    if kind in SENTENCES:
        sentence, section = SENTENCES[kind]
        result.findings.append((number, sentence.format(name=match["name"], version=version), section))
    if kind == "modern":
        result.modern.append((number, f"{match['name']}{version}"))
    if kind == "replaced":
        marker = _without_python(match["marker"] or "")
        return f"channels-classic{marker}{match['comment'] or ''}{line[len(content) :]}"
    return None if kind == "dropped" else line


def _kind(name: str, version: str, modern_project: bool) -> str:
    if name in ("channels", "daphne"):
        if _at_least(version, 2):
            return "modern"
        if not version and modern_project:
            return "both"
        return "replaced" if name == "channels" else "dropped"
    if name == "asgiref":
        return "dropped" if version and _below(version, (2,)) else ""
    if name in OLDEST:
        return name if _below(version, OLDEST[name]) else ""
    table = {**dict.fromkeys(DROPPED, "dropped"), **dict.fromkeys(OLD_DEPENDENCIES, "leftover")}
    table |= dict.fromkeys(WITHOUT_LAYER, "layer")
    known = {"channels-classic", "channels-postgres", "channels-rabbitmq", "channels-redis"}
    third_party = "channels" in name.split("-") and name not in known
    return table.get(name, "third party" if third_party else "")


def _at_least(version: str, major: int) -> bool:
    return any(
        operator in ("==", "===", "~=", ">=", ">") and int(number.partition(".")[0]) >= major
        for operator, number, _ in _VERSION.findall(version)
    )


def _below(version: str, oldest: tuple[int, ...]) -> bool:
    """Return True if the version cannot be `oldest` or later."""
    return any(_excludes(operator, number, series, oldest) for operator, number, series in _VERSION.findall(version))


def _excludes(operator: str, number: str, series: str, oldest: tuple[int, ...]) -> bool:
    parts = [int(part) for part in number.split(".")]
    if operator == "~=" or series:
        prefix = parts if series else parts[:-1]  # ~=5.1 is >=5.1 and ==5.*
        return tuple(prefix) < oldest[: len(prefix)]
    while parts and not parts[-1]:
        parts.pop()  # 5.2.0 is 5.2
    if operator == "<":
        return tuple(parts) <= oldest
    return operator in ("==", "===", "<=") and tuple(parts) < oldest


def _name(line: str) -> str:
    match = _requirement(line.rstrip("\r\n"))
    return _normalised(match["name"]) if match else ""


def _marker(line: str) -> str:
    """Return the condition of a requirement, without its white space."""
    match = _requirement(line.rstrip("\r\n"))
    return "".join((match["marker"] or "").split()) if match else ""


def _without_python(marker: str) -> str:
    """Return a condition without what it says of Python: with `python_version < "3"` nothing would be installed."""
    if "python_" not in marker:
        return marker
    if "(" in marker or re.search(r"\bor\b", marker):
        return ""
    others = [part.strip() for part in re.split(r"\band\b", marker.strip(" ;")) if "python_" not in part]
    return f"; {' and '.join(others)}" if others else ""


def _requirement(line: str) -> re.Match[str] | None:
    return _REQUIREMENT.match(line) if len(line) <= LONGEST_LINE else None


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
