"""The page about troubleshooting, held to the texts of errors and warnings in the code."""

from __future__ import annotations

from pathlib import Path

from tests.support.messages import texts

PAGE = Path(__file__).parent.parent / "docs/troubleshooting.md"


def test_every_error_and_warning_can_be_found() -> None:
    page = _plain(PAGE.read_text())
    missing = [f"{place}: {text}" for place, text in texts() if _plain(text) not in page]
    assert missing == [], "\n".join(["write in docs/troubleshooting.md:", *missing])


def test_nothing_is_listed_among_errors_that_explain_themselves_that_the_code_does_not_say() -> None:
    _, _, section = PAGE.read_text().partition("## Errors that say what to do\n")
    known = {_plain(text) for _, text in texts()}
    listed = [_plain(line.removeprefix("* ")) for line in section.splitlines() if line.startswith("* `")]
    assert len(listed) > 100
    assert [text for text in listed if text not in known] == []


def _plain(text: str) -> str:
    return text.replace("`", "").replace("\\|", "|")
