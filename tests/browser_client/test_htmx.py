"""htmx in a real browser, with the example in `examples/htmx` as a real site."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.htmx import serve_htmx
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.site import HOST, ROOT
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples" / "htmx" / "chat.py"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(scaled(15_000))
    serve_htmx(context)
    yield context
    context.close()


def say(page: Page, text: str) -> None:
    page.locator("[name=text]").fill(text)
    page.get_by_role("button").click()


def test_the_example_has_at_most_forty_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40


def test_the_example_is_a_chat_that_outlives_its_server(context: BrowserContext) -> None:
    port = free_port()
    command = [sys.executable, EXAMPLE.name, "runserver", "--noreload", f"{HOST}:{port}"]
    environment = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": None}
    pages = [context.new_page(), context.new_page()]
    ada, bob = pages

    with Process(command, cwd=EXAMPLE.parent, env=environment) as server:
        server.wait_for_port(port)
        for page in pages:
            page.goto(f"http://{HOST}:{port}/")
        say(ada, "Hello")
        bob.locator("#lines li", has_text="Hello").wait_for()
        say(bob, "<b>Hi</b>")
        for page in pages:
            page.get_by_text("<b>Hi</b>", exact=True).wait_for()
        bob.evaluate("addEventListener('htmx:wsClose', () => (document.title = 'lost'))")
        server.kill()
    bob.wait_for_function("document.title === 'lost'")

    say(bob, "Written meanwhile")
    with Process(command, cwd=EXAMPLE.parent, env=environment):
        bob.get_by_text("Written meanwhile", exact=True).wait_for()
    assert bob.locator("#lines li").all_inner_texts() == ["Hello", "<b>Hi</b>", "Written meanwhile"]
