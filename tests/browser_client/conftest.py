"""A tab of a browser, with the page of a `BridgeServer` that a test file calls `server`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.bridge_server import BridgeServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """A tab for all tests: a new one for each costs a process of the browser."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: Page, server: BridgeServer) -> Iterator[Page]:
    """The tab with the page of the server, whose origin no other test has."""
    tab.goto(server.url)
    yield tab
    tab.unroute_all()
    tab.goto("about:blank")
