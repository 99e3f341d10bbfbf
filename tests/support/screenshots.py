"""Pictures for the documentation, of pages as browsers show them."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.site import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

MARGIN = 40
"""Pixels around and between pages."""


def side_by_side(pages: Sequence[Page], background: str, target: Path) -> None:
    """Make one picture of pages that are equally high."""
    sizes = [size for page in pages if (size := page.viewport_size)]
    height = sizes[0]["height"]
    pictures = [base64.b64encode(page.screenshot()).decode() for page in pages]
    width = sum(size["width"] + MARGIN for size in sizes) + MARGIN
    browser = pages[0].context.browser
    assert browser is not None
    frame = browser.new_page(viewport={"width": width, "height": height + 2 * MARGIN})
    frame.set_content(
        f"<style>body{{margin:0;height:{height + 2 * MARGIN}px;display:flex;gap:{MARGIN}px;align-items:center;"
        f"justify-content:center;background:{background}}}"
        f"img{{height:{height}px;border-radius:12px;box-shadow:0 10px 40px #0006}}</style>"
        + "".join(f"<img src='data:image/png;base64,{picture}'>" for picture in pictures)
    )
    frame.screenshot(path=target)


def run(name: str, take: Callable[[Path], None]) -> None:
    """Be the program `python -m tests.support.NAME_site screenshot`, which makes `docs/NAME.png`."""
    if sys.argv[1:] != ["screenshot"]:
        sys.exit(f"python -m tests.support.{name}_site screenshot")
    take(ROOT / "docs" / f"{name}.png")
