"""The pages with code are followed: files written, commands run, their output compared, windows opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.page import ROOT, Reader, blocks

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

FOLLOWED = ["README.md", *sorted(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/tutorial/*.md"))]
FOLLOWED += sorted(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/howto/*.md"))
FOLLOWED += sorted(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/move/*.md"))


@pytest.fixture
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    page = (ROOT / request.node.callspec.params["page"]).read_text()
    browser: Browser | None = request.getfixturevalue("browser") if "window(" in page else None
    reader = Reader(tmp_path, browser)
    yield reader
    reader.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", FOLLOWED)
def test_the_page_works_as_it_is_written(page: str, reader: Reader) -> None:
    reader.follow(page)


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_with_code_is_run(page: str) -> None:
    text = (ROOT / page).read_text()
    assert list(blocks(text)) or not re.search(r"^```(python|console|html)", text, re.M)


def test_a_block_that_is_neither_run_nor_excused_is_found() -> None:
    with pytest.raises(ValueError, match="line 2: the block names no file"):
        list(blocks("Text\n```python\nx = 1\n```\n"))
