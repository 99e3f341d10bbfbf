"""The browser's client, in a real browser against a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.staticfiles import finders
from django.templatetags.static import static

from tests.support.bridge_server import BridgeServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "channels/js/websocketbridge.js"

FAST = "{minReconnectionDelay: 10, maxReconnectionDelay: 50}"

# A page that keeps what it hears in `heard`.
CONNECT = f"""
window.heard = [];
window.note = (name) => (...facts) => heard.push([name, ...facts]);
window.bridge = new channels.WebSocketBridge();
bridge.connect("/ws/", undefined, {FAST});
"""

# In the place of the browser's WebSocket, one that tells what it was made with and never opens.
RECORDER = """
class Recorder extends EventTarget {
    constructor(...made) { super(); Recorder.made.push(made); this.readyState = 0; }
    close() {}
}
Recorder.made = [];
"""


@pytest.fixture
def server() -> Iterator[BridgeServer]:
    with BridgeServer(script()) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: BridgeServer) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    yield page
    context.close()


def script() -> Path:
    found = finders.find(NAME)
    assert isinstance(found, str)
    return Path(found)


def heard(page: Page, count: int) -> Any:
    """What the page has heard, once that is so many things."""
    page.wait_for_function("(count) => heard.length >= count", arg=count)
    return page.evaluate("heard")


def test_the_script_is_a_static_file() -> None:
    assert script().name == "websocketbridge.js"
    assert static(NAME) == "/static/channels/js/websocketbridge.js"


# Connecting


def test_a_new_bridge_is_not_connected(page: Page) -> None:
    found = page.evaluate("({...new channels.WebSocketBridge({an: 'option'})})")
    assert found == {"socket": None, "streams": {}, "default_cb": None, "options": {"an": "option"}}


@pytest.mark.parametrize(
    ("url", "path"), [('"/some/path/?a=b"', "/some/path/?a=b"), ("undefined", "/"), ('"ws://HOST/whole/"', "/whole/")]
)
def test_it_connects_to_a_path_to_the_root_and_to_a_whole_url(
    page: Page, server: BridgeServer, url: str, path: str
) -> None:
    page.evaluate(f"new channels.WebSocketBridge().connect({url.replace('HOST', server.host)})")
    connection = server.socket()
    assert connection.request is not None and connection.request.path == path


def test_it_connects_to_what_a_function_gives(page: Page, server: BridgeServer) -> None:
    page.evaluate(f"let n = 0; new channels.WebSocketBridge().connect(() => `/number/${{++n}}`, undefined, {FAST})")
    for number in (1, 2):
        connection = server.socket()
        assert connection.request is not None and connection.request.path == f"/number/{number}"
        connection.close()


def test_protocols_are_offered(page: Page, server: BridgeServer) -> None:
    page.evaluate('window.bridge = new channels.WebSocketBridge(); bridge.connect("/", ["graphql"])')
    assert server.socket().subprotocol == "graphql"
    page.wait_for_function("bridge.socket.readyState === bridge.socket.OPEN")
    assert page.evaluate("bridge.socket.protocol") == "graphql"


def test_on_a_page_that_is_encrypted_the_socket_is_too(page: Page) -> None:
    page.route("https://example.test/", lambda route: route.fulfill(content_type="text/html", body="<p>"))
    page.goto("https://example.test/")
    page.add_script_tag(path=script())
    made = page.evaluate(
        RECORDER + "new channels.WebSocketBridge().connect('/ws/', undefined, {constructor: Recorder}); Recorder.made"
    )
    assert made == [["wss://example.test/ws/", None]]


# Listening


def test_the_default_callback_gets_the_message_and_null(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.listen(note('default'))")
    server.socket().send('{"type": "test", "payload": "message 1"}')
    assert heard(page, 1) == [["default", {"type": "test", "payload": "message 1"}, None]]


def test_a_message_of_a_stream_goes_to_its_callback_only(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.demultiplex('one', note('1')); bridge.listen(note('default'));")
    page.evaluate("bridge.demultiplex('two', note('2'))")
    connection = server.socket()
    connection.send('{"stream": "one", "payload": {"test": 1}}')
    connection.send('{"stream": "two", "payload": {"test": 2}}')
    connection.send('{"stream": "unknown", "payload": {"test": 3}}')
    connection.send('{"stream": "toString", "payload": {"test": 4}}')
    connection.send('{"no": "stream"}')
    connection.send("null")
    assert heard(page, 4) == [
        ["1", {"test": 1}, "one"],
        ["2", {"test": 2}, "two"],
        ["default", {"no": "stream"}, None],
        ["default", None, None],
    ]


def test_listen_works_without_a_callback(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.listen(); bridge.demultiplex('one', note('1'))")
    connection = server.socket()
    connection.send('{"no": "stream"}')
    connection.send('{"stream": "one", "payload": 1}')
    assert heard(page, 1) == [["1", 1, "one"]]


def test_listening_before_connecting_is_refused_in_words(page: Page) -> None:
    with pytest.raises(Exception, match=r"call connect\(\) first"):
        page.evaluate("new channels.WebSocketBridge().listen()")


def test_the_socket_takes_listeners(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.socket.addEventListener('message', (event) => note('event')(event.data))")
    server.socket().send("hello")
    assert heard(page, 1) == [["event", "hello"]]


# Sending


def test_messages_are_sent_as_these_very_strings(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("""
        bridge.send({type: "test", payload: "message 1"});
        bridge.stream("stream1").send({type: "test", payload: "message 1"});
    """)
    assert server.frame() == '{"type":"test","payload":"message 1"}'
    assert server.frame() == '{"stream":"stream1","payload":{"type":"test","payload":"message 1"}}'


def test_sending_before_the_socket_is_open_raises_as_any_websocket_does(page: Page) -> None:
    with pytest.raises(Exception, match="CONNECTING"):
        page.evaluate(CONNECT + "bridge.send({})")


# Reconnecting


@pytest.mark.parametrize("code", [1000, 1011])
def test_it_reconnects_whatever_the_socket_was_closed_with(page: Page, server: BridgeServer, code: int) -> None:
    page.evaluate(
        CONNECT
        + """
        bridge.listen(note('default'));
        bridge.socket.onopen = () => note('onopen')();
        bridge.socket.onclose = (event) => note('onclose')(event.code);
        bridge.socket.addEventListener('open', () => note('open')());
        bridge.socket.addEventListener('open', () => note('once')(), {once: true});
        """
    )
    server.socket().close(code)
    server.socket().send('{"hello": "again"}')
    assert heard(page, 7) == [
        ["onopen"],
        ["open"],
        ["once"],
        ["onclose", code],
        ["onopen"],
        ["open"],
        ["default", {"hello": "again"}, None],
    ]


def test_it_reconnects_when_the_server_went_away_without_a_word(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket().socket.shutdown(socket.SHUT_RDWR)
    assert server.socket()


def test_it_tries_again_while_the_server_refuses(page: Page, server: BridgeServer) -> None:
    server.refusing = True
    server.refused.clear()
    page.evaluate(CONNECT)
    page.wait_for_function("bridge.socket.readyState === 3")
    server.refusing = False
    assert server.socket()
    assert server.refused


def test_close_closes_and_reconnects(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.socket.onclose = (event) => note('close')(event.code, event.reason); 0")
    first = server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    at_once = page.evaluate("bridge.socket.close(4000, 'enough'); heard")
    assert at_once == [["close", 4000, "enough"]]
    server.socket()
    assert first.close_code == 4000
    page.wait_for_function("bridge.socket.readyState === 1")
    assert page.evaluate("heard") == at_once  # it is told once


def test_close_waits_for_the_server_when_it_need_not_be_fast(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.socket.onclose = (event) => note('close')(event.code); 0")
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    assert page.evaluate("bridge.socket.close(4000, '', {fastClose: false}); heard") == []
    assert heard(page, 1) == [["close", 4000]]
    assert server.socket()


def test_close_may_say_when_to_reconnect(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("""
        const before = performance.now();
        bridge.socket.onopen = () => note('after')(performance.now() - before);
        bridge.socket.close(1000, '', {delay: 300});
    """)
    ((_, milliseconds),) = heard(page, 1)
    assert 290 <= milliseconds < 5000


def test_a_socket_closed_for_good_stays_closed(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    first = server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("bridge.socket.close(1000, '', {keepClosed: true})")
    page.wait_for_function("bridge.socket.readyState === 3")
    stays_closed(page, server)
    assert first.close_code == 1000


def test_also_when_it_was_about_to_reconnect(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    page.evaluate("bridge.socket.onclose = () => bridge.socket.close(1000, '', {keepClosed: true}); 0")
    server.socket().close()
    page.wait_for_function("bridge.socket.readyState === 3")
    stays_closed(page, server)


def stays_closed(page: Page, server: BridgeServer) -> None:
    # Longer than the longest delay of this bridge: nothing is there to wait for.
    page.wait_for_timeout(200)
    assert not server.has_another_socket


BACKOFF = """
(async (options) => {
    // Sockets that close at once, and a clock that does not wait.
    const delays = [], errors = [], wait = window.setTimeout;
    window.setTimeout = (callback, delay) => { delays.push(delay); return wait(callback, 0); };
    class Dead extends EventTarget {
        constructor() {
            super();
            this.readyState = 3;
            Dead.opened = (Dead.opened || 0) + 1;
            queueMicrotask(() => this.dispatchEvent(new Event("close")));
        }
        close() {}
    }
    const bridge = new channels.WebSocketBridge();
    bridge.connect("/", undefined, {constructor: Dead, connectionTimeout: 1e6, maxRetries: 9, ...options});
    return new Promise((resolve) => {
        bridge.socket.addEventListener("error", (event) =>
            resolve({delays: delays.filter((delay) => delay < 1e6), code: event.code, opened: Dead.opened}));
    });
})
"""


def test_delays_begin_at_random_and_grow_up_to_a_limit(page: Page) -> None:
    delays = page.evaluate(BACKOFF, {})["delays"]
    assert len(delays) == 9
    assert 1500 <= delays[0] < 3000
    for before, after in pairwise(delays):
        assert after == pytest.approx(min(before * 1.3, 10000))
    assert delays[-1] == 10000


def test_delays_are_what_the_options_say(page: Page) -> None:
    options = {"minReconnectionDelay": 10, "maxReconnectionDelay": 100, "reconnectionDelayGrowFactor": 2}
    delays = page.evaluate(BACKOFF, options)["delays"]
    assert 10 <= delays[0] < 20
    assert delays[1] == pytest.approx(delays[0] * 2)
    assert delays[-1] == 100


def test_it_gives_up_after_so_many_retries_with_an_error(page: Page) -> None:
    found = page.evaluate(BACKOFF, {"maxRetries": 3})
    assert (found["opened"], found["code"]) == (4, "EHOSTDOWN")


def test_an_open_socket_resets_delay_and_retries(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT.replace(FAST, "{minReconnectionDelay: 10, maxReconnectionDelay: 50, maxRetries: 1}"))
    for _ in range(3):
        server.socket().close()
    assert server.socket()


def test_a_connection_that_takes_too_long_is_given_up_and_tried_again(page: Page) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        page.evaluate(
            CONNECT.replace('"/ws/"', f'"{url}"').replace("10,", "10, connectionTimeout: 100,")
            + "bridge.socket.addEventListener('error', (event) => event.code && note('error')(event.code))"
        )
        silent.settimeout(10)
        first, _ = silent.accept()
        second, _ = silent.accept()
        assert heard(page, 1)[0] == ["error", "ETIMEDOUT"]
        first.close()
        second.close()


# Misuse


def test_without_a_websocket_to_use_connecting_is_refused(page: Page) -> None:
    with pytest.raises(Exception, match=r"TypeError.*no WebSocket"):
        page.evaluate("new channels.WebSocketBridge().connect('/', undefined, {constructor: null})")


def test_a_bridge_is_made_with_new(page: Page) -> None:
    with pytest.raises(Exception, match="TypeError"):
        page.evaluate("channels.WebSocketBridge()")


def test_the_script_can_be_loaded_as_a_module_of_node_or_of_amd(page: Page) -> None:
    source = script().read_text()
    names = page.evaluate(
        "(source) => { const module = {exports: {}}; eval(source); return Object.keys(module.exports) }", source
    )
    assert names == ["WebSocketBridge"]
    loaded = """(source) => {
        let found;
        const define = Object.assign((factory) => { found = factory() }, {amd: {}});
        eval(source);
        return Object.keys(found);
    }"""
    assert page.evaluate(loaded, source) == ["WebSocketBridge"]
