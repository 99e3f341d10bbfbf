"""The page for staff, in a real browser, with real processes; and who may see it."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator
from email.message import Message
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from channels_classic.dashboard.status import MOST_ROWS
from channels_classic.layers.programs import ProgramAnnouncer, WorkerFacts
from tests.support.dashboard_site import READER, STAFF, DashboardSite, log_in
from tests.support.redis_server import RedisServer
from tests.support.site import HOST
from tests.support.waiting import eventually, scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

PAGE = "/channels/"
Window = Callable[..., "Page"]


@pytest.fixture(scope="module", params=["local", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[DashboardSite]:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    if url is not None:
        request.getfixturevalue("redis_server").flush()
    with DashboardSite(url) as site:
        yield site


@pytest.fixture
def window(site: DashboardSite, browser: Browser) -> Iterator[Window]:
    """Opens windows, each of a person of its own, who logs in."""
    contexts = []

    def open_window(user: str = STAFF, port: int = 0, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(scaled(20_000))
        page = context.new_page()
        log_in(page, f"http://{HOST}:{port or site.port}", user)
        return page

    yield open_window
    for context in contexts:
        context.close()


def live(page: Page) -> Page:
    page.locator("#source.live").wait_for()
    return page


def as_page(site: DashboardSite, page: Page) -> dict[str, str]:
    """Return the headers of a handshake of this page."""
    return {**cookie(page), "Origin": site.url("").rstrip("/")}


def cookie(page: Page) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())}


def test_the_page_shows_what_runs_and_is_live(site: DashboardSite, window: Window) -> None:
    page = live(window())
    worker = page.locator("#workers tbody tr")
    assert str(site.workers[0].pid) in worker.inner_text()
    assert str(site.interface.pid) in page.locator("#servers tbody tr").inner_text()
    sockets = page.locator("#charts figure", has_text=re.compile("^.*sockets$", re.S)).locator("strong")
    eventually(lambda: sockets.inner_text() == "1", timeout=20)  # its own, once those of other pages are closed
    with connect(site.url("/echo", "ws"), ping_interval=None):
        eventually(lambda: sockets.inner_text() == "2", timeout=20)
    page.locator("#channels", has_text="websocket.receive").wait_for()
    assert page.locator("#charts svg polyline").count() == 6


def test_a_channel_that_no_worker_listens_on_is_named(site: DashboardSite, window: Window) -> None:
    page = live(window())
    with site.layer() as layer:
        layer.send("mail.outgoing", {})
        problem = page.get_by_text("No worker listens on mail.outgoing, where 1 message(s) wait")
        problem.wait_for()
        layer.receive(["mail.outgoing"])
    problem.wait_for(state="hidden")


def test_names_on_the_layer_are_shown_as_text(site: DashboardSite, window: Window) -> None:
    image, script = "<img src=x onerror='window.owned = 1'>", "</script><script>window.owned = 2</script>"
    program = ProgramAnnouncer()
    running = {image: 3, script: 2, "__proto__": 1}
    with site.layer() as layer:
        layer.run([program.announce(WorkerFacts, channels=[f"jobs.{image}"], threads=1, busy=1, running=running)])
        try:
            page = live(window())
            page.locator("#workers", has_text=f"{image} × 3, {script} × 2, __proto__ × 1").wait_for()
        finally:
            layer.run([program.withdraw()])
    assert page.evaluate("window.owned") is None
    assert page.locator("img").count() == 0


def test_the_page_asks_no_other_host(site: DashboardSite, browser: Browser) -> None:
    context = browser.new_context()
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    log_in(page, f"http://{HOST}:{site.port}")
    live(page)
    assert errors == []
    assert [url for url in asked if f"//{HOST}:{site.port}/" not in url] == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_either_colour_scheme(window: Window, scheme: str) -> None:
    page = live(window(viewport={"width": 360, "height": 740}, color_scheme=scheme))
    page.locator("#workers tbody tr").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    back, text = page.evaluate("(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))")
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (back, text)]
    assert (lightness[0] > lightness[1]) == (scheme == "light")


def test_a_large_site_is_cut_to_what_a_page_has_room_for(site: DashboardSite, window: Window) -> None:
    program, names = ProgramAnnouncer(), [f"jobs.{number}" for number in range(300)]
    running = {f"shop.step_{number}": 1 for number in range(30)}
    with site.layer() as layer:
        layer.run([program.announce(WorkerFacts, channels=names, threads=30, busy=30, running=running)])
        try:
            page = live(window())
            page.locator("#channels", has_text=re.compile(r"and 2\d\d more; manage.py channels shows all")).wait_for()
            assert page.locator("#channels tbody tr").count() == MOST_ROWS
            page.locator("#workers", has_text="shop.step_2 × 1 and 27 more").wait_for()
        finally:
            layer.run([program.withdraw()])


# Who may see it


def answer(site: DashboardSite, method: str, path: str, headers: dict[str, str]) -> tuple[int, Message]:
    """Return the status and the headers of a response."""
    connection = http.client.HTTPConnection(HOST, site.port, timeout=scaled(20))
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers
    finally:
        connection.close()


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}status.json"])
def test_only_staff_may_read_it_and_nobody_may_write(site: DashboardSite, window: Window, path: str) -> None:
    status, headers = answer(site, "GET", path, {})
    assert (status, headers["Location"]) == (302, f"/login/?next={path}")
    assert answer(site, "GET", path, cookie(window(READER)))[0] == 403
    staff = cookie(window())
    status, headers = answer(site, "GET", path, staff)
    assert status == 200
    assert {"no-store", "private"} <= set(headers["Cache-Control"].split(", "))
    assert (headers["X-Frame-Options"] == "DENY") == (path == PAGE)
    token = {"X-CSRFToken": re.findall("csrftoken=([^;]+)", staff["Cookie"])[0]}
    assert answer(site, "POST", path, {**staff, **token})[0] == 405


def test_sockets_are_for_staff_of_this_site_alone(site: DashboardSite, window: Window) -> None:
    url = site.url(f"{PAGE}live", "ws")
    staff, trusted = as_page(site, window()), "https://trusted.example"  # by CHANNELS_TRUSTED_ORIGINS
    others = [
        {},
        as_page(site, window(READER)),
        *({**staff, "Origin": origin} for origin in ("https://evil.example", trusted)),
    ]
    for headers in others:
        with pytest.raises(InvalidStatus) as caught:
            connect(url, additional_headers=headers, open_timeout=scaled(20))
        assert caught.value.response.status_code == 403
    with connect(url, additional_headers=staff) as socket:
        socket.send("?")
        assert '"workers"' in str(socket.recv(scaled(20)))


def test_a_socket_that_asks_for_nothing_gets_nothing(site: DashboardSite, window: Window) -> None:
    def answer_of(socket: ClientConnection) -> float:
        socket.send("?")
        return float(json.loads(socket.recv(scaled(20)))["time"])

    url, headers = site.url(f"{PAGE}live", "ws"), as_page(site, window())
    with connect(url, additional_headers=headers) as silent, connect(url, additional_headers=headers) as other:
        first = answer_of(other)
        eventually(lambda: answer_of(other) > first, timeout=20)
        assert answer_of(silent) > first


def test_a_socket_ends_when_its_user_is_staff_no_longer(site: DashboardSite, window: Window) -> None:
    with connect(site.url(f"{PAGE}live", "ws"), additional_headers=as_page(site, window())) as socket:
        change = (
            "from django.contrib.auth.models import User; User.objects.filter(username='staff').update(is_staff={})"
        )
        site.shell(change.format(False))
        try:
            with pytest.raises(ConnectionClosed) as caught:
                ask_for_ever(socket)
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1008
        finally:
            site.shell(change.format(True))


def ask_for_ever(socket: ClientConnection) -> None:
    while True:
        socket.send("?")
        socket.recv(scaled(20))


# When the worker is missing


def test_a_page_whose_worker_is_gone_says_so_and_is_live_again_afterwards(window: Window, site: DashboardSite) -> None:
    page = live(window())
    site.stop_workers()
    try:
        page.get_by_text("No worker takes the messages of this page").wait_for(timeout=scaled(60_000))
        assert page.get_by_text("No problem was found").count() == 0
    finally:
        site.start_workers(1)
    live(page)


@pytest.mark.parametrize("site", ["redis"], indirect=True)
def test_a_page_whose_site_answers_503_says_what_that_may_be(
    site: DashboardSite, window: Window, redis_server: RedisServer
) -> None:
    page = live(window())
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        problem = page.get_by_text("The interface server answers 503: the channel layer is down, out of memory or full")
        problem.wait_for(timeout=scaled(60_000))
        assert page.locator("#problems li").count() == 1
    finally:
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
    live(page)


def test_under_wsgi_it_shows_that_no_worker_runs(site: DashboardSite, window: Window) -> None:
    process, port = site.start_wsgi()
    page = window(port=port)
    page.get_by_text("not live").wait_for()
    page.locator("#servers tbody tr").wait_for()
    site.stop_workers()
    try:
        page.get_by_text("No worker runs on this layer: start `runworker`.").wait_for()
    finally:
        site.start_workers(1)
    page.get_by_text("No worker runs on this layer").wait_for(state="detached")
    process.stop()


def test_nothing_is_asked_when_nobody_looks(site: DashboardSite, browser: Browser) -> None:
    def sent(channel: str) -> int:
        with site.layer() as layer:
            return layer.channel_statistics(channel)["messages_count"]

    context = browser.new_context()
    page = context.new_page()
    log_in(page, f"http://{HOST}:{site.port}")
    live(page)
    left = sent("websocket.disconnect")
    context.close()
    eventually(lambda: sent("websocket.disconnect") > left)
    before = sent("websocket.receive")
    browser.new_page().wait_for_timeout(3000)  # longer than a page waits until it asks
    assert sent("websocket.receive") == before
