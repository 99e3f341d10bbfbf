"""A project written for Channels 1.1.8, with its imports as they were: its own tests, and its site in a browser."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.site import ROOT, Site
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

PEOPLE = ("alice", "bob")
PASSWORD = "secret"

# What the project's tests may warn of, as they did with Channels 1.1.8.
OLD_NAMES = ["-W", "error", "-W", "ignore:channels_classic.tests:DeprecationWarning", "-W", "ignore:HttpClient"]

SET_UP = f"""
from chat.models import Room
from django.contrib.auth.models import User
Room.objects.create(label="lobby", topic="Anything")
for name in {PEOPLE}:
    User.objects.create_user(name, password={PASSWORD!r}, is_staff=name == "alice")
"""

# Notes in the page what a person would notice.
WATCH = """
window.closed_sockets = 0;
chat.socket.addEventListener("close", () => closed_sockets++);
window.topics = [];
new MutationObserver(() => topics.push(topic.textContent)).observe(topic, {childList: true});
"""

Window = Callable[[str], "Page"]


class Chat(Site):
    """A copy of the project, and its processes: an interface server, two workers and the delay server."""

    page = "/login/"

    def __init__(self, folder: Path, redis_url: str | None) -> None:
        shutil.copytree(ROOT / "tests" / "projects" / "legacy_chat", folder / "chat")
        environment = {
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": redis_url,
            "DEBUG": "1",  # static files are served by the workers
        }
        super().__init__(folder / "chat", environment)

    def manage_with(self, options: Sequence[str], *arguments: str) -> str:
        """Run `manage.py` to its end, in a Python with these options; return its output."""
        with self.run(*arguments, python=options) as command:
            assert command.wait() == 0, command.output
        return command.output

    def prepare(self) -> None:
        self.manage("migrate")
        self.manage("shell", "-c", SET_UP)
        self.run("rundelay", "--sleep", "0.1")


@pytest.fixture(scope="module", params=["embedded", "redis"])
def redis_url(request: pytest.FixtureRequest) -> str | None:
    url: str | None = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    return url


@pytest.fixture(scope="module")
def chat(redis_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    with Chat(tmp_path_factory.mktemp("legacy"), redis_url) as running:
        yield running


@pytest.fixture
def window(chat: Chat, browser: Browser) -> Iterator[Window]:
    """Opens the lobby as somebody who has logged in, once its sockets are there."""
    contexts = []

    def open_window(name: str) -> Page:
        context = browser.new_context()
        contexts.append(context)
        context.set_default_timeout(scaled(15) * 1000)
        page = context.new_page()
        page.goto(chat.url("/rooms/lobby/"))
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.locator("#who", has_text=name).wait_for()
        page.locator("body.live").wait_for()
        page.evaluate(WATCH)
        return page

    yield open_window
    for context in contexts:
        context.close()
    sys.stdout.write(chat.output)  # pytest shows it beside a failure


def say(page: Page, text: str) -> None:
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Say").click()


def wait_for(page: Page, line: str) -> None:
    page.locator("#messages li", has_text=line).wait_for()


def test_its_own_tests_pass(redis_url: str | None, tmp_path: Path) -> None:
    output = Chat(tmp_path, redis_url).manage_with(OLD_NAMES, "test", "--shuffle")
    assert "Ran 19 tests" in output and "OK" in output


def test_its_own_tests_pass_side_by_side(redis_url: str | None, tmp_path: Path) -> None:
    output = Chat(tmp_path, redis_url).manage_with(OLD_NAMES, "test", "--parallel", "2")
    assert "Ran 19 tests" in output and "OK" in output


def test_it_passes_all_checks_and_its_asgi_module_can_be_imported(redis_url: str | None, tmp_path: Path) -> None:
    project = Chat(tmp_path, redis_url)
    assert "no issues" in project.manage_with(["-W", "error"], "check")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    layer = "RedisChannelLayer" if redis_url else "LocalChannelLayer"
    code = "from mysite.asgi import channel_layer; print(type(channel_layer).__name__)"
    assert layer in project.manage("shell", "-c", code)


def test_people_in_a_room_see_what_each_says(window: Window) -> None:
    pages = [window(name) for name in PEOPLE]
    say(pages[0], "one|two|three")
    say(pages[1], "four")
    for page in pages:
        for line in ("alice: one", "alice: two", "alice: three", "bob: four"):
            wait_for(page, line)
        assert page.locator("#messages li", has_text="alice: two").count() == 1
    later = window("bob")
    wait_for(later, "alice: one")  # it was stored


def test_a_change_through_a_binding_is_seen_by_all_and_made_by_staff_only(window: Window) -> None:
    alice, bob = (window(name) for name in PEOPLE)
    for page, topic in ((bob, "Mutiny"), (alice, "Ships")):
        page.get_by_label("Topic").fill(topic)
        page.get_by_role("button", name="Change").click()
    for page in (alice, bob):
        page.locator("#topic", has_text="Ships").wait_for()
        assert page.evaluate("topics") == ["Ships"]


def test_a_reminder_comes_when_it_is_due(window: Window) -> None:
    alice, bob = (window(name) for name in PEOPLE)
    say(alice, "/remind 300 tea is ready")
    for page in (alice, bob):
        wait_for(page, "alice: tea is ready")


def test_nobody_notices_that_all_workers_were_replaced(chat: Chat, window: Window) -> None:
    alice, bob = (window(name) for name in PEOPLE)
    chat.stop_workers()
    say(alice, "is anybody working?")
    chat.start_workers()
    for page in (alice, bob):
        wait_for(page, "alice: is anybody working?")
        assert page.evaluate("closed_sockets") == 0
