"""The live blog as a site of real processes: an interface server, two workers, a database and a layer of its own.

`python -m tests.support.liveblog_site screenshot` makes the picture in the README.
"""

from __future__ import annotations

import base64
import http.client
import os
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tests.support.browser import running_browser
from tests.support.processes import Process
from tests.support.redis_server import free_port

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "examples" / "liveblog"
EDITOR, PASSWORD = "editor", "live-blog"
HOST = "127.0.0.1"


class Site:
    """`with Site() as site:` has three blogs and a staff user, and answers. `redis_url` takes it to Redis."""

    def __init__(self, redis_url: str | None = None) -> None:
        self.port = free_port()
        self.redis_url = redis_url
        self._folder = tempfile.TemporaryDirectory(prefix="liveblog-")
        self.environment: dict[str, str | None] = {
            "LIVEBLOG_DB": os.path.join(self._folder.name, "liveblog.sqlite3"),
            "REDIS_URL": redis_url,
            "DJANGO_SETTINGS_MODULE": None,
            # The address of the embedded layer follows from it: two sites side by side have two layers.
            "LIVEBLOG_KEY": self._folder.name,
        }
        self.workers: list[Process] = []

    def __enter__(self) -> Self:
        try:
            self.manage("migrate", "--verbosity=0")
            self.manage("fill")
            self.start_interface()
            self.start_workers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://{HOST}:{self.port}{path}"

    def run(self, *arguments: str) -> Process:
        """Start `manage.py` with these arguments."""
        return Process([sys.executable, FOLDER / "manage.py", *arguments], cwd=FOLDER, env=self.environment)

    def manage(self, *arguments: str) -> str:
        """Run `manage.py` to its end and return its output."""
        with self.run(*arguments) as command:
            status = command.wait()
            assert status == 0, f"manage.py {' '.join(arguments)} ended with status {status}:\n{command.output}"
            return command.output

    def post(self, slug: str, text: str) -> None:
        """Post from a process of its own."""
        self.manage("post", slug, text)

    def start_interface(self) -> None:
        self.interface = self.run("runinterface", "--bind", HOST, "--port", str(self.port))
        self.interface.wait_for_port(self.port)

    def start_workers(self) -> None:
        """Start two workers and return when the site answers."""
        self.workers = [self.run("runworker"), self.run("runworker")]
        status = self.get("/")
        assert status == 200, f"The first page has status {status}:\n{self.output}"

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.stop()

    def stop(self) -> None:
        self.stop_workers()
        if hasattr(self, "interface"):
            self.interface.stop()
        self._folder.cleanup()

    def get(self, path: str) -> int:
        """Return the status of a page."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    @property
    def output(self) -> str:
        """What the programs that run wrote so far."""
        return "".join(program.output for program in (self.interface, *self.workers))


def take_screenshot(target: Path) -> None:
    """A desktop by day and a phone by night side by side, both on one blog that just grew."""
    with Site() as site, running_browser() as browser:
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
        pictures = [base64.b64encode(page.screenshot()).decode() for page in pages]
        frame = browser.new_page(viewport={"width": 1280, "height": 840})
        frame.set_content(
            "<style>body{margin:0;height:840px;display:flex;gap:40px;align-items:center;justify-content:center;"
            "background:#cfc8ba}img{height:760px;border-radius:12px;box-shadow:0 10px 40px #0006}</style>"
            + "".join(f"<img src='data:image/png;base64,{picture}'>" for picture in pictures)
        )
        frame.screenshot(path=target)


if __name__ == "__main__":
    if sys.argv[1:] != ["screenshot"]:
        sys.exit("python -m tests.support.liveblog_site screenshot")
    take_screenshot(ROOT / "docs" / "liveblog.png")
