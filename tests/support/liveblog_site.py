"""The live blog as a site of real processes: an interface server, two workers, a database and a layer of its own.

`python -m tests.support.liveblog_site screenshot` makes the picture in the README.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support import screenshots
from tests.support.browser import running_browser
from tests.support.site import ROOT, SiteOnLayer

FOLDER = ROOT / "examples" / "liveblog"
EDITOR, PASSWORD = "editor", "live-blog"


class LiveBlog(SiteOnLayer):
    """`with LiveBlog() as site:` has three blogs and a staff user, and answers. `redis_url` takes it to Redis."""

    def __init__(self, redis_url: str | None = None) -> None:
        super().__init__(FOLDER, redis_url)
        # The address of the embedded layer follows from the key: two sites side by side have two layers.
        self.environment |= {"LIVEBLOG_DB": f"{self.temporary}/liveblog.sqlite3", "LIVEBLOG_KEY": self.temporary}

    def prepare(self) -> None:
        self.manage("migrate", "--verbosity=0")
        self.manage("fill")

    def post(self, slug: str, text: str) -> None:
        """Post from a process of its own."""
        self.manage("post", slug, text)


def take_screenshot(target: Path) -> None:
    """A desktop by day and a phone by night side by side, both on one blog that just grew."""
    with LiveBlog() as site, running_browser() as browser:
        # An eclipse is seen by day, whenever the picture is taken; Etc/GMT+9 is nine hours behind.
        place: dict[str, Any] = {"locale": "en-GB", "timezone_id": f"Etc/GMT{time.gmtime().tm_hour - 13:+d}"}
        desktop = browser.new_page(viewport={"width": 800, "height": 760}, color_scheme="light", **place)
        phone = browser.new_page(viewport={"width": 360, "height": 760}, color_scheme="dark", **place)
        pages = [desktop, phone]
        for page in pages:
            page.goto(site.url("/liveblog/total-eclipse/"))
        site.post("total-eclipse", "And the light is back. A cheer goes over the meadow; the band plays on.")
        for page in pages:
            page.get_by_text("2 readers").wait_for()
            page.get_by_text("And the light is back").wait_for()
            page.wait_for_function("document.getAnimations().every(a => a.animationName !== 'arrive')")
        screenshots.side_by_side(pages, "#cfc8ba", target)


if __name__ == "__main__":
    screenshots.run("liveblog", take_screenshot)
