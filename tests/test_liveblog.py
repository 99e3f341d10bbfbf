"""The live blog, as its readers and its staff meet it: real processes, a real browser."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY
from urllib.request import urlopen

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.support.liveblog_site import EDITOR, FOLDER, PASSWORD, LiveBlog
from tests.support.processes import Process
from tests.support.waiting import eventually, scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

BLOG = "/liveblog/total-eclipse/"
LOST = "Connection lost"

SOON = scaled(1.0)
"""Seconds until an update is in every page."""

# Notes in the page what a reader would notice: when each update arrived, and every word the status ever said.
WATCH = """
addEventListener("DOMContentLoaded", () => {
  window.said = [];
  const arrived = (changes) => changes.forEach(({addedNodes}) =>
    addedNodes.forEach((node) => node.dataset && (node.dataset.arrived = Date.now())));
  const list = document.getElementById("updates"), status = document.getElementById("status");
  if (!list) return;
  new MutationObserver(arrived).observe(list, {childList: true});
  new MutationObserver(() => said.push(status.textContent)).observe(status, {childList: true});
});
"""

Window = Callable[..., "Page"]


@pytest.fixture(scope="module", params=["embedded", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[LiveBlog]:
    """One site for all tests, on each layer."""
    redis_url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    with LiveBlog(redis_url) as running:
        yield running


@pytest.fixture
def window(site: LiveBlog, browser: Browser) -> Iterator[Window]:
    """Opens windows, each of a person of its own, and waits until the page is live."""
    contexts = []

    def open_window(path: str = BLOG, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(scaled(15) * 1000)
        context.add_init_script(WATCH)
        page = context.new_page()
        page.goto(site.url(path))
        if path.startswith("/liveblog/"):
            wait_until_live(page)
        return page

    yield open_window
    for context in contexts:
        context.close()
    sys.stdout.write(site.output)  # pytest shows it beside a failure


def wait_until_live(page: Page) -> None:
    page.locator("#status", has_text="Live").wait_for()


def log_in(page: Page, site: LiveBlog, then: str) -> None:
    page.goto(site.url(f"/login/?next={then}"))
    page.get_by_label("Username").fill(EDITOR)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button").click()
    page.wait_for_url(f"**{then}")


def seconds_until_shown(page: Page, text: str) -> float:
    """Return the seconds from the creation of an update to its appearance in the page, without a reload."""
    update = page.locator(".update", has_text=text)
    update.wait_for()
    seconds: float = update.evaluate(
        "(node) => (node.dataset.arrived - new Date(node.querySelector('time').dateTime)) / 1000"
    )
    return seconds


def test_two_windows_show_posts_from_the_admin_and_from_a_shell_within_a_second(site: LiveBlog, window: Window) -> None:
    readers = [window(), window()]
    editor = window("/")
    log_in(editor, site, "/admin/blog/blogupdate/add/")

    editor.locator("[name=blog]").select_option("Total eclipse")
    editor.locator("[name=content]").fill("Posted in the admin")
    editor.locator("[name=_save]").click()
    site.post("total-eclipse", "Posted from a shell")

    delays = [
        seconds_until_shown(page, f"Posted {how}") for page in readers for how in ("in the admin", "from a shell")
    ]
    assert max(delays) < SOON
    assert readers[0].locator(".update").first.inner_text().endswith("Posted from a shell")


def test_staff_post_from_the_page_without_leaving_it(site: LiveBlog, window: Window) -> None:
    reader, editor = window(), window("/")
    log_in(editor, site, BLOG)
    wait_until_live(editor)
    assert reader.get_by_label("New update").count() == 0

    editor.get_by_label("New update").fill("Posted from the page")
    editor.get_by_role("button", name="Post").click()

    assert max(seconds_until_shown(page, "Posted from the page") for page in (reader, editor)) < SOON
    assert editor.get_by_label("New update").input_value() == ""


def test_an_update_that_looks_like_html_is_shown_as_it_was_written(site: LiveBlog, window: Window) -> None:
    reader = window()
    site.post("total-eclipse", "<img src=x onerror='window.hacked = 1'> & <b>bold</b>")
    reader.get_by_text("<img src=x onerror='window.hacked = 1'> & <b>bold</b>").wait_for()
    assert reader.evaluate("window.hacked") is None


def test_an_update_that_is_changed_or_deleted_changes_or_leaves_the_page(site: LiveBlog, window: Window) -> None:
    reader = window()
    site.post("total-eclipse", "Third contact")
    reader.get_by_text("Third contact").wait_for()
    find = "from blog.models import BlogUpdate; update = BlogUpdate.objects.get(content__startswith='Third contact')"

    site.manage("shell", "-c", f"{find}; update.content += ', at last'; update.save()")
    reader.get_by_text("Third contact, at last").wait_for()
    assert reader.get_by_text("Third contact").count() == 1

    site.manage("shell", "-c", f"{find}; update.delete()")
    reader.get_by_text("Third contact").wait_for(state="detached")


def test_the_page_says_how_many_read_along(window: Window) -> None:
    first = window()
    first.get_by_text("1 reader", exact=True).wait_for()
    second = window()
    for page in (first, second):
        page.get_by_text("2 readers").wait_for()
    second.close()
    first.get_by_text("1 reader", exact=True).wait_for()


def test_readers_of_one_blog_are_not_told_of_another(site: LiveBlog, window: Window) -> None:
    eclipse, train = window(), window("/liveblog/night-train-north/")
    site.post("night-train-north", "A moose on the line")
    site.post("total-eclipse", "Not a cloud")
    train.get_by_text("A moose on the line").wait_for()
    eclipse.get_by_text("Not a cloud").wait_for()
    assert eclipse.get_by_text("A moose on the line").count() == 0
    eclipse.get_by_text("1 reader", exact=True).wait_for()


def test_a_page_that_lost_its_connection_says_so_and_comes_back_with_what_it_missed(
    site: LiveBlog, window: Window
) -> None:
    reader = window()
    asked: list[str] = []
    reader.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    site.interface.stop()
    reader.get_by_text(LOST).wait_for()
    site.post("total-eclipse", "Posted while nobody was connected")

    site.start_interface()

    wait_until_live(reader)
    reader.get_by_text("Posted while nobody was connected").wait_for()
    # Redis kept what was missed; the embedded layer ended with its host, so the page asks for everything.
    fetched = [url for url in asked if url.startswith("GET") and url.endswith("/updates/")]
    assert bool(fetched) == (site.environment["REDIS_URL"] is None)
    site.post("total-eclipse", "Posted after the return")
    assert seconds_until_shown(reader, "Posted after the return") < SOON
    reader.get_by_text("1 reader", exact=True).wait_for()


@pytest.mark.parametrize("site", ["redis"], indirect=True)
def test_a_reader_who_came_back_too_late_is_told_how_many_read_apart_from_the_group(site: LiveBlog) -> None:
    offer = base64.urlsafe_b64encode(b'{"blog-1": "1-1"}').decode().rstrip("=")
    frames: list[str] = []

    def read() -> None:
        with connect(
            site.url(BLOG + "stream/", scheme="ws"),
            subprotocols=[Subprotocol("channels.recover.v1"), Subprotocol(f"channels.cursors.{offer}")],
            open_timeout=scaled(30),
        ) as reader:
            while not (any("readers" in frame for frame in frames) and any("gap" in frame for frame in frames)):
                frames.append(str(reader.recv(timeout=scaled(10))))

    reading = threading.Thread(target=read)
    with site.layer() as layer:
        sent = layer.channel_statistics("websocket.connect")["messages_count"]
        try:
            pause(site.workers)
            reading.start()
            eventually(lambda: layer.channel_statistics("websocket.connect")["messages_count"] > sent)
            pause([site.interface])  # so that all that the consumer sends to the group is before the gap
            resume(site.workers)
            eventually(lambda: layer.group_presence("blog-1"))
            time.sleep(scaled(0.5))  # the rest of the consumer is a few writes
        finally:
            resume([*site.workers, site.interface])
    reading.join()
    assert [frame.split()[-2:] for frame in frames] == [['{"readers":', ANY], [ANY, "gap"]]


def pause(processes: list[Process]) -> None:
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)


def resume(processes: list[Process]) -> None:
    for process in processes:
        os.kill(process.pid, signal.SIGCONT)


def test_a_laptop_whose_network_was_gone_misses_no_post(site: LiveBlog, window: Window) -> None:
    reader = window()
    asked: list[str] = []
    reader.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    reader.context.set_offline(True)
    reader.get_by_text(LOST).wait_for()
    for number in range(3):
        site.post("total-eclipse", f"Posted while the laptop was shut: {number}")

    reader.context.set_offline(False)

    wait_until_live(reader)
    for number in range(3):
        reader.get_by_text(f"Posted while the laptop was shut: {number}").wait_for()
    assert [url for url in asked if url.startswith("GET") and url.endswith("/updates/")] == []  # the group kept them


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_no_reader_notices_that_all_workers_were_replaced(
    site: LiveBlog, window: Window, number: signal.Signals
) -> None:
    reader = window()
    for worker in site.workers:
        worker.stop(number)
    site.post("total-eclipse", f"Posted without workers ({number.name})")
    site.start_workers()
    site.post("total-eclipse", f"Posted with new workers ({number.name})")

    for text in ("Posted without workers", "Posted with new workers"):
        assert seconds_until_shown(reader, f"{text} ({number.name})") < SOON
    assert reader.evaluate("said") == ["Live"]
    newcomer = window()
    newcomer.get_by_text("2 readers").wait_for()


def test_a_socket_for_an_unknown_blog_is_refused_and_the_log_says_why(site: LiveBlog) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        connect(site.url("/liveblog/no-such-blog/stream/", scheme="ws"))
    assert refusal.value.response.status_code == 403
    assert site.get("/liveblog/no-such-blog/")[0] == 404
    eventually(lambda: "there is no blog with the slug 'no-such-blog'" in site.output)


def test_the_page_of_a_blog_that_was_deleted_says_so_and_stops_asking(site: LiveBlog, window: Window) -> None:
    shell = "from blog.models import Blog; "
    site.manage("shell", "-c", shell + "Blog.objects.create(name='Short story', slug='short-story')")
    reader = window("/liveblog/short-story/")
    site.manage("shell", "-c", shell + "Blog.objects.get(slug='short-story').delete()")
    site.interface.stop()
    site.start_interface()
    reader.get_by_text("This blog is no longer here.").wait_for()


@pytest.mark.parametrize("path", ["/", "/login/", BLOG])
def test_a_phone_shows_the_page_without_sideways_scrolling(site: LiveBlog, window: Window, path: str) -> None:
    if path == BLOG:
        site.post("total-eclipse", "https://example.org/" + "a-very-long-address" * 10)
    page = window(path, viewport={"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == 320


# The demo


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for the socket of the embedded layer, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="demo-") as path:
        yield Path(path)


@pytest.fixture
def demo(folder: Path, free_port: int) -> Iterator[Process]:
    with start_demo(folder, free_port) as running:
        running.wait_for_line("Ctrl-C stops everything")
        yield running


def start_demo(folder: Path, port: int, **changes: str) -> Process:
    environment: dict[str, str | None] = {
        "PORT": str(port),
        "LIVEBLOG_DB": str(folder / "liveblog.sqlite3"),
        "REDIS_URL": None,
        "DJANGO_SETTINGS_MODULE": None,
        "LIVEBLOG_KEY": str(folder),
        **changes,
    }
    return Process([sys.executable, FOLDER / "demo.py"], env=environment)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_demo_stops_cleanly_and_leaves_nothing_behind(demo: Process, number: signal.Signals) -> None:
    children = children_of(demo.pid)
    assert len(children) == 3
    assert f"{EDITOR} / {PASSWORD}" in demo.output

    assert demo.stop(number, timeout=30) == 0

    assert "Traceback" not in demo.output
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_the_demo_survives_every_worker_and_says_what_a_reader_sees(
    demo: Process, free_port: int, number: signal.Signals
) -> None:
    with connect(f"ws://127.0.0.1:{free_port}{BLOG}stream/") as reader:
        for round in range(1, 4):
            first, *workers = children_of(demo.pid)
            for worker in workers:
                os.kill(worker, number)
            demo.wait_for_line(r"Worker \d \(process \d+\) .*No page notices", occurrences=2 * round)
            assert first in children_of(demo.pid) and len(children_of(demo.pid)) == 3
        assert reader.ping().wait(scaled(5))
        with urlopen(f"http://127.0.0.1:{free_port}/", timeout=scaled(30)) as page:
            assert page.status == 200
        demo.wait_for_line(r"worker \d │ .*websocket\.connect -> blog\.consumers\.ws_connect: consumed in")
        demo.wait_for_line(r"worker \d │ .*http\.request -> .*: consumed in", occurrences=2)
    assert demo.running
    assert "was ended by SIGKILL" in demo.output or number != signal.SIGKILL


def test_the_demo_starts_its_interface_server_again(demo: Process, free_port: int) -> None:
    os.kill(children_of(demo.pid)[0], signal.SIGKILL)
    demo.wait_for_line("Interface .* was ended by SIGKILL. Pages reconnect")
    demo.wait_for_port(free_port)

    def connects() -> bool:
        try:
            with connect(f"ws://127.0.0.1:{free_port}{BLOG}stream/"):
                return True
        except (OSError, InvalidStatus):
            return False

    eventually(connects, timeout=30)


def test_the_demo_invites_to_kill_a_worker(demo: Process) -> None:
    workers = children_of(demo.pid)[1:]
    assert f"kill -9 {workers[0]}" in demo.output or f"kill -9 {workers[1]}" in demo.output


def test_the_demo_ends_with_the_last_lines_of_a_process_that_fails_again_and_again(
    folder: Path, free_port: int
) -> None:
    (folder / "sitecustomize.py").write_text("import sys\nif 'runworker' in sys.argv: sys.exit('it cannot work')\n")
    with start_demo(folder, free_port, PYTHONPATH=str(folder)) as demo:
        assert demo.wait(60) == 1
    assert re.search(
        r"Worker \d ended with status 1\. Its last lines:\n.*SystemExit: it cannot work", demo.output, re.DOTALL
    )


def test_a_first_page_that_fails_is_explained_and_tried_again(folder: Path, free_port: int) -> None:
    with start_demo(folder, free_port, REDIS_URL="redis://127.0.0.1:1/0") as demo:
        assert demo.wait(60) == 1
    assert demo.output.count("The first page failed: no worker answered it in time, or the channel layer") > 1
    assert "channels_classic.E020" in demo.output
    assert "127.0.0.1:1/0 cannot be reached" in demo.output


def test_the_demo_says_that_its_port_is_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start_demo(folder, port) as demo:
            assert demo.wait() == 1
    assert (
        demo.output == f"Port {port} cannot be used: Address already in use. Choose another one: PORT=8001 make demo\n"
    )
