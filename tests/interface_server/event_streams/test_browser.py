"""A browser's own `EventSource`: what a page is told, how it comes back, and how it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.interface_server.event_streams.test_stream import CONNECT, DISCONNECT, RECEIVE
from tests.interface_server.live import Live, live
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGE = b"""<!DOCTYPE html><link rel="icon" href="data:,"><script>
const seen = [];
let token = "", source;
function listen(path) {
  source = new EventSource(path);
  for (const name of ["message", "gap", "close"])
    source.addEventListener(name, (event) => seen.push([name, event.data]));
  source.addEventListener("token", (event) => { token = event.data; });
  source.addEventListener("close", () => source.close());
}
const post = async (text) =>
  (await fetch("/stream", {method: "POST", headers: {"Event-Stream-Token": token}, body: text})).status;
</script>"""


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(event_streams=("/stream",)) as running:
        yield running


@pytest.fixture
def worker() -> Iterator[Callable[..., Any]]:
    """Call a function in a thread without an event loop: this one has that of the browser."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda function, *given, **named: pool.submit(function, *given, **named).result(scaled(20))


@pytest.fixture
def page(browser: Browser, server: Live) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(scaled(15) * 1000)
    page = context.new_page()
    with ThreadPoolExecutor(1) as pool:
        headers = [(b"content-type", b"text/html")]
        answer = pool.submit(server.consume, "http.request", {"status": 200, "headers": headers, "content": PAGE})
        page.goto(f"http://127.0.0.1:{server.port}/")
        answer.result()
    yield page
    context.close()


def test_event_source_gets_what_it_missed_and_sends(page: Page, server: Live, worker: Callable[..., Any]) -> None:
    layer, keep = server.layer, {"keep": 3, "seconds": 60}
    page.evaluate("listen('/stream')")
    message = worker(server.consume, CONNECT, {"accept": True})
    assert message["cursors"] == {}
    page.wait_for_function("token")
    first = page.evaluate("token")

    worker(layer.group_add, "room", message["reply_channel"], keep=3)
    texts = ["two\nlines", " ünï 🎉 ", ""]
    for text in texts:
        worker(layer.send_group, "room", {"text": text}, **keep)
    page.wait_for_function("seen.length == 3")
    assert page.evaluate("seen") == [["message", text] for text in texts]

    assert page.evaluate("post('from the page')") == 204
    assert worker(server.consume, RECEIVE)["text"] == "from the page"

    # The server stops, as the browser sees it: the stream ends without an event.
    worker(layer.send, message["reply_channel"], {"close": 1012})
    worker(server.consume, DISCONNECT)
    for number in range(3):
        worker(layer.send_group, "room", {"text": f"missed {number}"}, **keep)
    message = worker(server.consume, CONNECT, {"accept": True})
    worker(layer.group_add, "room", message["reply_channel"], keep=3, after=message["cursors"]["room"])
    page.wait_for_function("seen.length == 6")
    assert page.evaluate("seen.slice(3)") == [["message", f"missed {number}"] for number in range(3)]
    assert page.evaluate("token") != first
    assert page.evaluate(f"token = '{first}', post('with a dead token')") == 410

    worker(layer.send, message["reply_channel"], {"close": 1012})
    worker(server.consume, DISCONNECT)
    for number in range(4):
        worker(layer.send_group, "room", {"text": f"too many {number}"}, **keep)
    message = worker(server.consume, CONNECT, {"accept": True})
    worker(layer.group_add, "room", message["reply_channel"], keep=3, after=message["cursors"]["room"])
    page.wait_for_function("seen.length == 7")
    assert page.evaluate("seen[6]") == ["gap", "room"]

    worker(layer.send, message["reply_channel"], {"text": "bye", "close": True})
    page.wait_for_function("seen.length == 9")
    assert page.evaluate("[seen.slice(7), source.readyState]") == [[["message", "bye"], ["close", "1000"]], 2]
    assert worker(server.consume, DISCONNECT)["code"] == 1000


def test_event_source_does_not_come_back_after_a_refusal(page: Page, server: Live, worker: Callable[..., Any]) -> None:
    page.evaluate("listen('/stream')")
    worker(server.consume, CONNECT, {"accept": False})
    page.wait_for_function("source.readyState == EventSource.CLOSED")
    worker(server.consume, DISCONNECT)


def test_a_page_of_another_origin_reads_what_its_origin_was_accepted_for(
    page: Page, server: Live, worker: Callable[..., Any]
) -> None:
    page.evaluate(f"listen('http://localhost:{server.port}/stream')")
    message = worker(server.consume, CONNECT, {"text": "hello"})
    assert [b"origin", f"http://127.0.0.1:{server.port}".encode()] in message["headers"]
    page.wait_for_function("seen.length == 1")
    page.evaluate("source.close()")
    worker(server.consume, DISCONNECT)
    # It can send a request without CORS, whose answer it could not read.
    page.evaluate(
        f"fetch('http://localhost:{server.port}/stream', {{mode: 'no-cors', headers: {{Accept: 'text/event-stream'}}}})"
    )
    assert worker(server.has_none, CONNECT)
