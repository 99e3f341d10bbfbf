"""The site with the dashboard as real processes.

`python -m tests.support.dashboard_site screenshot` makes the picture in the documentation.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.sync.client import connect

from tests.support import screenshots
from tests.support.browser import running_browser
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.site import HOST, ROOT, SiteOnLayer

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = ROOT / "tests" / "projects" / "dashboard"
STAFF, READER, PASSWORD = "staff", "reader", "dash-board"

MAKE_USERS = f"""
from django.contrib.auth.models import User
User.objects.create_user({READER!r}, password={PASSWORD!r})
User.objects.create_user({STAFF!r}, password={PASSWORD!r}, is_staff=True)
"""


class DashboardSite(SiteOnLayer):
    """`with DashboardSite() as site:` has a staff user and another one, and answers."""

    def __init__(self, redis_url: str | None = None, *, workers: int = 1) -> None:
        super().__init__(FOLDER, redis_url, workers=workers)
        self.environment["DASHBOARD_DB"] = f"{self.temporary}/dashboard.sqlite3"

    def prepare(self) -> None:
        self.manage("migrate", "--verbosity=0")
        self.shell(MAKE_USERS)

    def shell(self, code: str) -> None:
        """Run code of the project."""
        self.manage("shell", "-c", code)

    def start_wsgi(self) -> tuple[Process, int]:
        """Start a WSGI server beside the interface server; return it and its port."""
        port = free_port()
        process = self.run("runserver", "--noasgi", "--noreload", f"{HOST}:{port}")
        process.wait_for_port(port)
        return process, port


def log_in(page: Page, base: str, user: str = STAFF, then: str = "/channels/") -> None:
    page.goto(f"{base}/login/?next={then}")
    page.locator("[name=username]").fill(user)
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("button").click()


def take_screenshot(target: Path) -> None:
    """A desktop by day and a phone by night side by side, on a site with something to see."""
    with (
        DashboardSite(workers=0) as site,
        running_browser() as browser,
        ExitStack() as stack,
        site.layer() as layer,
    ):
        for options in (["--exclude-channels", "slow.*"], ["--only-channels", "slow.*", "--threads", "2"]):
            site.run("runworker", *options).wait_for_line("Listening on channels")
        for _ in range(12):
            stack.enter_context(connect(site.url("/echo", "ws"), ping_interval=None))
        pages = [
            browser.new_page(viewport={"width": 900, "height": 860}, color_scheme="light", locale="en-GB"),
            browser.new_page(viewport={"width": 360, "height": 860}, color_scheme="dark", locale="en-GB"),
        ]
        for page in pages:
            log_in(page, site.url("").rstrip("/"))
            page.locator("#source", has_text="Live").wait_for()
        for number in range(50):
            layer.send("slow.work", {"seconds": 0.3 if number < 40 else 30})
            pages[0].wait_for_timeout(500 + number % 7 * 100)
            if number == 40:
                layer.send("mail.outgoing", {})
        pages[0].get_by_text("No worker listens on mail.outgoing").wait_for()
        screenshots.side_by_side(pages, "#b9c2cf", target)


if __name__ == "__main__":
    screenshots.run("dashboard", take_screenshot)
