"""The page about troubleshooting, held to the texts of errors and warnings in the code."""

from __future__ import annotations

import re

from tests.support.messages import HEADING, PAGE, plain, rest, texts

NOT_OURS = ["AttributeError: 'Message' object has no attribute 'user'"]


def test_every_error_and_warning_is_on_the_page() -> None:
    page = PAGE.read_text()
    assert page.endswith(rest(page)), "give the new texts rows, or run `python -m tests.support.messages`"


def test_the_rows_of_the_page_are_texts_of_the_code() -> None:
    _, _, tables = PAGE.read_text().partition(HEADING)[0].partition("## The worker\n")
    rows = [plain(row) for row in re.findall(r"^\| `(.*?)` \|", tables, re.M)]
    known = "\n".join(plain(text) for _, text in texts())
    assert len(rows) > 80
    assert [row for row in rows if row not in known and row not in NOT_OURS] == []
