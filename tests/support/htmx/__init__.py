"""htmx 2.0.11 and its extensions ws 2.0.4 and sse 2.2.4, for tests without a network.

The files are those of the packages on npm. htmx is 0BSD (`LICENSE`), and so are the extensions (`LICENSE-extensions`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

FOLDER = Path(__file__).parent
HOST = "https://unpkg.com/"

FILES = {
    f"{HOST}htmx.org@2.0.11/dist/htmx.min.js": "htmx.min.js",
    f"{HOST}htmx-ext-ws@2.0.4/dist/ws.min.js": "ws.min.js",
    f"{HOST}htmx-ext-sse@2.2.4/dist/sse.min.js": "sse.min.js",
}
"""The addresses that our pages load."""


def serve_htmx(context: BrowserContext) -> None:
    """Answer what the pages of a visitor load from this host with the files here."""
    context.route(f"{HOST}**", _answer)


def _answer(route: Route) -> None:
    headers = {"Access-Control-Allow-Origin": "*"}  # as the host answers: with `integrity` the pages ask for it
    route.fulfill(path=FOLDER / FILES[route.request.url], content_type="text/javascript", headers=headers)
