"""Pages of foreign sites in a real browser, against a real interface server and worker: who gets the visitor's session.

Browsers resolve every name below `localhost` to this machine, and take `www.site.localhost` and `other.site.localhost`
for one site: cookies with `SameSite=Lax`, Django's default, go from one to the other.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.own_project import HOST, Project, own_project
from tests.support.processes import Process
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parent.parent
SITE = "www.site.localhost"
FOREIGN = "other.site.localhost"

SETTINGS = f"""
DEBUG = False
ALLOWED_HOSTS = [{SITE!r}]
INSTALLED_APPS += ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3"}}}}
LOGGING = {{
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {{"console": {{"class": "logging.StreamHandler"}}}},
    "root": {{"handlers": ["console"], "level": "INFO"}},
}}
"""

CREATE_USERS = """
from django.contrib.auth.models import User
for name in ("alice", "mallory"):
    User.objects.create_user(name)
"""

URLS = """
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path

def log_in(request, name):
    login(request, User.objects.get(username=name), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("logged in")

def log_out(request):
    logout(request)
    return HttpResponse("logged out")

urlpatterns = [
    path("", lambda request: HttpResponse("<title>the site</title>")),
    path("in/<name>", log_in),
    path("out", log_out),
]
"""

ROUTING = """
from channels_classic import route, route_class
from channels_classic.auth import channel_session_user_from_http
from channels_classic.generic.websockets import WebsocketConsumer

@channel_session_user_from_http
def connect(message):
    message.reply_channel.send({"accept": True})
    message.reply_channel.send({"text": f"you are {message.user.username}"})

class ByClass(WebsocketConsumer):
    http_user = True

    def connect(self, message):
        super().connect(message)
        self.send(text=f"you are {message.user.username}")

channel_routing = [
    route("websocket.connect", connect, path="^/function"),
    route_class(ByClass, path="^/class"),
]
"""

TRY_IT = """
url => new Promise(resolve => {
    const socket = new WebSocket(url);
    socket.onmessage = event => { resolve(event.data); socket.close(); };
    socket.onclose = event => resolve(`closed ${event.code}`);
})
"""


LOG_OUT_ROUTING = """
from channels_classic import route
from mysite import sockets

channel_routing = [
    route("websocket.connect", sockets.ws_connect),
    route("websocket.receive", sockets.ws_receive),
]
"""

OPEN = """
url => new Promise(resolve => {
    window.socket = new WebSocket(url);
    window.received = [];
    window.closeCode = null;
    socket.onmessage = event => received.push(event.data);
    socket.onclose = event => { closeCode = event.code; resolve("closed"); };
    socket.onopen = () => { socket.send("hello"); resolve("open"); };
})
"""


class Site:
    """A site with users, an interface server and a worker."""

    def __init__(self, project: Project, files: dict[str, str]) -> None:
        self.project = project
        for path, text in {"mysite/urls.py": URLS, "mysite/routing.py": ROUTING, **files}.items():
            project.write(path, text)
        project.manage("migrate", "--verbosity=0")
        project.manage("shell", "-c", CREATE_USERS)
        self.interface = project.run("runinterface", "--port", str(project.port))
        self.interface.wait_for_port(project.port)
        self.worker = project.run("runworker")
        self.worker.wait_for_line("Listening on channels")

    @property
    def processes(self) -> list[Process]:
        return [self.interface, self.worker]

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://{SITE}:{self.project.port}{path}"

    def socket(self, path: str, origin: str | None) -> ClientConnection:
        """A socket of a client that names an origin, or none, as no browser does."""
        return connect(
            self.url(path, "ws"),
            sock=socket.create_connection((HOST, self.project.port)),
            additional_headers={"Origin": origin} if origin is not None else {},
            open_timeout=scaled(20),
            close_timeout=scaled(5),
        )


@contextmanager
def running_site(files: dict[str, str]) -> Iterator[Site]:
    with own_project(SETTINGS) as project:
        site = Site(project, files)
        try:
            yield site
        finally:
            for process in site.processes:
                process.stop()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>a foreign page</title>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    """A server of somebody else's pages."""
    server = ThreadingHTTPServer((HOST, 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site({}) as running:
        yield running


@contextmanager
def logged_in(site: Site, browser: Browser, name: str = "alice") -> Iterator[BrowserContext]:
    """A person with a browser who has logged in to the site."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.url(f"/in/{name}"))
    assert page.inner_text("body") == "logged in"
    yield context
    context.close()


@pytest.fixture
def alice(site: Site, browser: Browser) -> Iterator[BrowserContext]:
    with logged_in(site, browser) as context:
        yield context


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    return page


@pytest.mark.parametrize("path", ["/function", "/class"])
def test_a_page_of_the_site_gets_the_visitors_session(site: Site, alice: BrowserContext, path: str) -> None:
    page = opened(alice, site.url("/"))
    assert page.evaluate(TRY_IT, site.url(path, "ws")) == "you are alice"


@pytest.mark.parametrize("path", ["/function", "/class", "/not-routed"])
def test_a_page_of_a_foreign_site_gets_no_socket(
    site: Site, alice: BrowserContext, foreign_port: int, path: str
) -> None:
    page = opened(alice, f"http://{FOREIGN}:{foreign_port}/")
    assert page.evaluate(TRY_IT, site.url(path, "ws")) == "closed 1006"
    with pytest.raises(InvalidStatus) as refused:
        site.socket(path, f"http://{FOREIGN}:{foreign_port}")
    assert refused.value.response.status_code == 403
    line = site.worker.wait_for_line(
        rf"'{path}'.* its origin 'http://{FOREIGN}:{foreign_port}' .*CHANNELS_TRUSTED_ORIGINS"
    )
    assert "Traceback" not in site.worker.output, line


def test_a_link_to_a_session_does_not_take_the_place_of_the_visitors_own(
    site: Site, alice: BrowserContext, browser: Browser
) -> None:
    with logged_in(site, browser, "mallory") as mallory:
        (cookie,) = mallory.cookies()
        link = site.url(f"/function?session_key={cookie['value']}", "ws")
        assert opened(mallory, site.url("/")).evaluate(TRY_IT, link) == "you are mallory"
        assert opened(alice, site.url("/")).evaluate(TRY_IT, link) == "you are alice"
        with site.socket(f"/function?session_key={cookie['value']}", None) as client:
            assert client.recv(timeout=scaled(10)) == "you are mallory"


def test_a_client_that_is_not_a_browser_names_no_origin_and_may_connect(site: Site) -> None:
    with site.socket("/function", None) as client:
        assert client.recv(timeout=scaled(10)) == "you are "


def test_while_developing_pages_of_this_machine_may_connect_and_others_may_not() -> None:
    with own_project("ALLOWED_HOSTS = []\n") as project, project.run("runserver", str(project.port)) as server:
        server.wait_for_port(project.port)
        address = f"ws://{HOST}:{project.port}/"
        for origin in ("http://localhost:5173", "http://app.localhost", f"http://{HOST}:{project.port}"):
            with connect(address, additional_headers={"Origin": origin}, open_timeout=scaled(20)) as client:
                client.send("hello")
                assert client.recv(timeout=scaled(10)) == "first hello"
        with pytest.raises(InvalidStatus) as refused:
            connect(address, additional_headers={"Origin": "http://foreign.example"}, open_timeout=scaled(20))
        assert refused.value.response.status_code == 403
        server.wait_for_line("CHANNELS_TRUSTED_ORIGINS")


def documented_module() -> str:
    """The code that the documentation shows for closing sockets after a log-out."""
    section = (ROOT / "docs" / "security.md").read_text().partition("## Sessions and log-out")[2]
    return section.partition("```python\n")[2].partition("```")[0]


def test_the_documented_way_closes_the_sockets_of_a_session_when_its_user_logs_out(browser: Browser) -> None:
    files = {
        "mysite/sockets.py": documented_module(),
        "mysite/routing.py": LOG_OUT_ROUTING,
        "mysite/urls.py": "from mysite import sockets\n" + URLS,
    }
    with running_site(files) as site, logged_in(site, browser) as one, logged_in(site, browser) as other:
        pages = [opened(context, site.url("/")) for context in (one, one, other)]
        for page in pages:
            assert page.evaluate(OPEN, site.url("/", "ws")) == "open"
            page.wait_for_function("received[0] === 'you are alice'")
        opened(one, site.url("/out"))
        for page in pages[:2]:
            page.wait_for_function("closeCode === 1000")
        pages[2].evaluate("socket.send('still here?')")
        pages[2].wait_for_function("received[1] === 'you are alice'")
        # Without a session there is no way back in.
        assert pages[0].evaluate(OPEN, site.url("/", "ws")) == "closed"
        assert "Traceback" not in site.worker.output


def readme_block(title: str) -> str:
    """The block of code in the README that begins with a comment of this name."""
    return "# " + title + (ROOT / "README.md").read_text().partition(f"```python\n# {title}")[2].partition("```")[0]


def test_the_chat_of_the_readme_serves_its_own_pages_and_no_foreign_ones(browser: Browser, foreign_port: int) -> None:
    blocks = {path: readme_block(path) for path in ("mysite/routing.py", "chat/consumers.py")}
    with running_site({"chat/__init__.py": "", **blocks}) as site:
        context = browser.new_context()
        pages = [opened(context, site.url("/")) for _ in range(2)]
        for page in pages:
            assert page.evaluate(OPEN, site.url("/chat/lobby/", "ws")) == "open"
        pages[0].evaluate("socket.send('Tea is ready')")
        for page in pages:
            page.wait_for_function("received.includes('Tea is ready')")
        foreign = opened(context, f"http://{FOREIGN}:{foreign_port}/")
        assert foreign.evaluate(OPEN, site.url("/chat/lobby/", "ws")) == "closed"
        # What a client may choose as a room is always the name of a group.
        for room in ("caf%C3%A9", "x" * 200, "a.b%21c"):
            with suppress(InvalidStatus), site.socket(f"/chat/{room}/", None):
                pass
        assert "Traceback" not in site.worker.output
        context.close()
