"""The pages and the sources in plain English: proselint, and a list of words that this project does not use."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_documents import DOCUMENTS, ROOMS

ROOT = Path(__file__).parent.parent

NOT_CHECKED = ("typography.", "dates_times.am_pm")
"""Straight quotes and dots are those of code, `pm` is not a time."""

NOT_OURS = {
    r"\bso many\b": "this many",
    r"\bgives? back\b": "return",
    r"\bof this moment\b": "current",
    r"\bis no (dict|JSON|list|number|text)\b": "is not (a)",
    r"\bthe news\b": "the report",
    r"\bpatience\b": "timeout",
    r"\bnobody told\b": "without a report",
    r"\b(simply|obviously|of course)\b": "leave it out",
    r"\butili[sz]e": "use",
    r"\bin order to\b": "to",
}
"""Patterns, and what to write instead."""


def prose(text: str) -> str:
    """Return the text of a page without code, measured tables, links and comments; lines keep their numbers."""
    without = re.compile(
        r"<!-- results:.*?<!-- end of results -->|^```.*?^```|<!--.*?-->|`[^`\n]+`|\]\([^)]*\)|https?://\S+",
        re.M | re.S,
    )
    text = re.sub(r"^(#+ .*)$", r"\1.", text, flags=re.M)  # headings are sentences of their own
    words = map("".join, itertools.product("bcdfg", repeat=8))  # so that no word seems to be written twice
    return without.sub(lambda found: "\n" * found[0].count("\n") or f"q{next(words)}", text)


@pytest.mark.skipif(find_spec("proselint") is None, reason="it cannot be installed with this Python")
def test_proselint_has_no_complaints(tmp_path: Path) -> None:
    pages = {}
    for number, document in enumerate(DOCUMENTS):
        page = tmp_path / f"{number}.md"
        page.write_text(prose((ROOT / document).read_text()))
        pages[page.name] = document
    command = [str(Path(sys.executable).with_name("proselint")), "--output-format", "compact", "check"]
    done = subprocess.run(
        [*command, *sorted(map(str, tmp_path.glob("*.md")))], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    found = re.findall(r"^\S*/(\d+\.md):(\d+):\d+: (.*)$", done.stdout, re.M)
    complaints = [
        f"{pages[name]}, line {line}: {text}" for name, line, text in found if not text.startswith(NOT_CHECKED)
    ]
    assert complaints == [], "\n".join(complaints)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_words_are_those_of_the_field(document: str) -> None:
    assert unusual_words(prose((ROOT / document).read_text())) == []


def test_words_in_sources_are_those_of_the_field() -> None:
    """Docstrings, comments, log lines and errors; not the examples, in which people chat."""
    rooms = [ROOT / room for room in ("benchmarks", *ROOMS)]
    sources = [path for room in rooms for path in room.rglob("*.py") if path != Path(__file__)]
    assert len(sources) > 100
    texts = {path: re.sub("(?i)patience", "", path.read_text()) for path in sources}  # a name, too
    found = {str(path.relative_to(ROOT)): unusual_words(text) for path, text in texts.items()}
    assert {path: words for path, words in found.items() if words} == {}


def unusual_words(text: str) -> list[str]:
    return [
        f"line {number}: {match[0]!r}: {better}"
        for pattern, better in NOT_OURS.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := re.search(pattern, line, re.I))
    ]
