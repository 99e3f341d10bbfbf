"""The browser client, in a real browser against a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.staticfiles import finders
from django.templatetags.static import static

from channels_classic.interface_server.cursors import PROTOCOL
from tests.support.bridge_server import BridgeServer, offered, path_of, recorded
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAME = "channels/js/websocketbridge.js"

FAST = "{minReconnectionDelay: 10, maxReconnectionDelay: 50}"

# A page that records callbacks in `recorded`.
CONNECT = f"""
window.recorded = [];
window.record = (name) => (...facts) => recorded.push([name, ...facts]);
window.bridge = new channels.WebSocketBridge();
bridge.connect("/ws/", undefined, {FAST});
"""

# A replacement for WebSocket that records its arguments and never opens.
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


def script() -> Path:
    found = finders.find(NAME)
    assert isinstance(found, str)
    return Path(found)


def test_the_script_is_a_static_file() -> None:
    assert script().name == "websocketbridge.js"
    assert static(NAME) == "/static/channels/js/websocketbridge.js"


# Connecting


def test_a_new_bridge_is_not_connected(page: Page) -> None:
    found = page.evaluate("({...new channels.WebSocketBridge({an: 'option'})})")
    assert found == {"socket": None, "streams": {}, "default_cb": None, "options": {"an": "option"}}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("'/some/path/?a=b'", "/some/path/?a=b"),
        ("'ws://HOST/whole/'", "/whole/"),
        ("new URL('ws://HOST/url/')", "/url/"),
        ("new String('/path/')", "/path/"),
        ("() => new URL('ws://HOST/function/')", "/function/"),
        ("() => undefined", "/"),
        ("undefined", "/"),
        ("null", "/"),
    ],
)
def test_it_connects_to_an_address_of_any_kind(page: Page, server: BridgeServer, url: str, path: str) -> None:
    page.evaluate(f"new channels.WebSocketBridge().connect({url.replace('HOST', server.host)})")
    assert path_of(server.socket()) == path


def test_it_connects_to_the_url_that_a_function_returns(page: Page, server: BridgeServer) -> None:
    page.evaluate(f"let n = 0; new channels.WebSocketBridge().connect(() => `/number/${{++n}}`, undefined, {FAST})")
    for number in (1, 2):
        connection = server.socket()
        assert path_of(connection) == f"/number/{number}"
        connection.close()


def test_protocols_are_offered(page: Page, server: BridgeServer) -> None:
    page.evaluate('window.bridge = new channels.WebSocketBridge(); bridge.connect("/", ["graphql"])')
    assert server.socket().subprotocol == "graphql"
    page.wait_for_function("bridge.socket.readyState === bridge.socket.OPEN")
    assert page.evaluate("bridge.socket.protocol") == "graphql"


def test_the_socket_of_an_https_page_is_encrypted(page: Page) -> None:
    page.route("https://example.test/", lambda route: route.fulfill(content_type="text/html", body="<p>"))
    page.goto("https://example.test/")
    page.add_script_tag(path=script())
    made = page.evaluate(
        RECORDER + "new channels.WebSocketBridge().connect('/ws/', undefined, {constructor: Recorder}); Recorder.made"
    )
    assert made == [["wss://example.test/ws/", None]]


# Listening


def test_the_default_callback_gets_the_message_and_null(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.listen(record('default'))")
    server.socket().send('{"type": "test", "payload": "message 1"}')
    assert recorded(page, 1) == [["default", {"type": "test", "payload": "message 1"}, None]]


def test_a_message_of_a_stream_is_passed_to_its_callback_only(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.demultiplex('one', record('1')); bridge.listen(record('default'));")
    page.evaluate("bridge.demultiplex('two', record('2'))")
    connection = server.socket()
    connection.send('{"stream": "one", "payload": {"test": 1}}')
    connection.send('{"stream": "two", "payload": {"test": 2}}')
    connection.send('{"stream": "unknown", "payload": {"test": 3}}')
    connection.send('{"stream": "toString", "payload": {"test": 4}}')
    connection.send('{"no": "stream"}')
    connection.send("null")
    assert recorded(page, 4) == [
        ["1", {"test": 1}, "one"],
        ["2", {"test": 2}, "two"],
        ["default", {"no": "stream"}, None],
        ["default", None, None],
    ]


def test_listen_works_without_a_callback(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.listen(); bridge.demultiplex('one', record('1'))")
    connection = server.socket()
    connection.send('{"no": "stream"}')
    connection.send('{"stream": "one", "payload": 1}')
    assert recorded(page, 1) == [["1", 1, "one"]]


def test_listening_before_connecting_raises_a_type_error(page: Page) -> None:
    with pytest.raises(Exception, match=r"call connect\(\) first"):
        page.evaluate("new channels.WebSocketBridge().listen()")


def test_listeners_can_be_added_to_the_socket(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.socket.addEventListener('message', (event) => record('event')(event.data))")
    server.socket().send("hello")
    assert recorded(page, 1) == [["event", "hello"]]


# Sending


def test_messages_are_sent_as_exactly_these_strings(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("""
        bridge.send({type: "test", payload: "message 1"});
        bridge.stream("stream1").send({type: "test", payload: "message 1"});
    """)
    assert server.frame() == '{"type":"test","payload":"message 1"}'
    assert server.frame() == '{"stream":"stream1","payload":{"type":"test","payload":"message 1"}}'


def test_sending_before_the_socket_is_open_raises_as_websocket_does(page: Page) -> None:
    with pytest.raises(Exception, match="CONNECTING"):
        page.evaluate(CONNECT + "bridge.send({})")


# Reconnecting


@pytest.mark.parametrize("code", [1000, 1011])
def test_it_reconnects_after_any_close_code(page: Page, server: BridgeServer, code: int) -> None:
    page.evaluate(
        CONNECT
        + """
        bridge.listen(record('default'));
        bridge.socket.onopen = () => record('onopen')();
        bridge.socket.onclose = (event) => record('onclose')(event.code);
        bridge.socket.addEventListener('open', () => record('open')());
        bridge.socket.addEventListener('open', () => record('once')(), {once: true});
        """
    )
    server.socket().close(code)
    server.socket().send('{"hello": "again"}')
    assert recorded(page, 7) == [
        ["onopen"],
        ["open"],
        ["once"],
        ["onclose", code],
        ["onopen"],
        ["open"],
        ["default", {"hello": "again"}, None],
    ]


def test_it_reconnects_when_the_connection_is_lost_without_a_close_frame(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket().socket.shutdown(socket.SHUT_RDWR)
    assert server.socket()


def test_it_reconnects_while_the_server_refuses_the_handshake(page: Page, server: BridgeServer) -> None:
    server.refusing = True
    server.refused.clear()
    page.evaluate(CONNECT)
    page.wait_for_function("bridge.socket.readyState === 3")
    server.refusing = False
    assert server.socket()
    assert server.refused


def test_close_closes_and_reconnects(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.socket.onclose = (event) => record('close')(event.code, event.reason); 0")
    first = server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    at_once = page.evaluate("bridge.socket.close(4000, 'enough'); recorded")
    assert at_once == [["close", 4000, "enough"]]
    server.socket()
    assert first.close_code == 4000
    page.wait_for_function("bridge.socket.readyState === 1")
    assert page.evaluate("recorded") == at_once  # called once


def test_without_fast_close_the_close_listeners_wait_for_the_server(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.socket.onclose = (event) => record('close')(event.code); 0")
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    assert page.evaluate("bridge.socket.close(4000, '', {fastClose: false}); recorded") == []
    assert recorded(page, 1) == [["close", 4000]]
    assert server.socket()


def test_close_takes_a_delay_for_the_reconnection(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("""
        const before = performance.now();
        bridge.socket.onopen = () => record('after')(performance.now() - before);
        bridge.socket.close(1000, '', {delay: 300});
    """)
    ((_, milliseconds),) = recorded(page, 1)
    assert 290 <= milliseconds < scaled(5000)


@pytest.mark.parametrize(("code", "reason"), [(1012, "retry=0.3"), (1013, "busy; retry=0.3")])
def test_it_comes_back_when_a_server_that_stops_asks_it_to(
    page: Page, server: BridgeServer, code: int, reason: str
) -> None:
    page.evaluate(
        CONNECT
        + """
        bridge.socket.onclose = () => { window.before = performance.now(); };
        bridge.socket.onopen = () => window.before && record('after')(performance.now() - before);
        """
    )
    server.socket().close(code, reason)
    ((_, milliseconds),) = recorded(page, 1)
    assert 290 <= milliseconds < scaled(5000)


@pytest.mark.parametrize("close", [(1000, "retry=99"), (1012, "retries=99"), (1012, "retry=soon"), (1012, "")])
def test_any_other_close_leaves_the_delays_as_they_are(
    page: Page, server: BridgeServer, close: tuple[int, str]
) -> None:
    page.evaluate(CONNECT)
    server.socket().close(*close)
    assert server.socket()


def test_the_delay_that_a_server_asks_for_is_spread_by_half(page: Page) -> None:
    asking = BACKOFF.replace('new Event("close")', 'new CloseEvent("close", {code: 1012, reason: "retry=4"})')
    delays = page.evaluate(asking, {"maxRetries": 50})["delays"]
    assert len(delays) == 50
    assert all(4000 <= delay <= 6000 for delay in delays)
    assert max(delays) - min(delays) > 1000


def test_a_socket_closed_with_keep_closed_stays_closed(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    first = server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("bridge.socket.close(1000, '', {keepClosed: true})")
    page.wait_for_function("bridge.socket.readyState === 3")
    stays_closed(page, server)
    assert first.close_code == 1000


def test_a_pending_reconnection_is_cancelled_by_keep_closed(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    page.evaluate("bridge.socket.onclose = () => bridge.socket.close(1000, '', {keepClosed: true}); 0")
    server.socket().close()
    page.wait_for_function("bridge.socket.readyState === 3")
    stays_closed(page, server)


def stays_closed(page: Page, server: BridgeServer) -> None:
    # There is no condition to wait for. This is longer than the longest delay of the bridge.
    page.wait_for_timeout(200)
    assert not server.has_another_socket


BACKOFF = """
(async (options) => {
    // Sockets that close at once, and timers that do not wait.
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


def test_delays_start_at_random_and_grow_up_to_a_limit(page: Page) -> None:
    delays = page.evaluate(BACKOFF, {})["delays"]
    assert len(delays) == 9
    assert 1500 <= delays[0] < 3000
    for before, after in pairwise(delays):
        assert after == pytest.approx(min(before * 1.3, 10000))
    assert delays[-1] == 10000


def test_delays_follow_the_options(page: Page) -> None:
    options = {"minReconnectionDelay": 10, "maxReconnectionDelay": 100, "reconnectionDelayGrowFactor": 2}
    delays = page.evaluate(BACKOFF, options)["delays"]
    assert 10 <= delays[0] < 20
    assert delays[1] == pytest.approx(delays[0] * 2)
    assert delays[-1] == 100


def test_it_stops_after_max_retries_with_an_error(page: Page) -> None:
    found = page.evaluate(BACKOFF, {"maxRetries": 3})
    assert (found["opened"], found["code"]) == (4, "EHOSTDOWN")


def test_an_open_socket_resets_delay_and_retries(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT.replace(FAST, "{minReconnectionDelay: 10, maxReconnectionDelay: 50, maxRetries: 1}"))
    for _ in range(3):
        server.socket().close()
    assert server.socket()


def test_a_connection_that_exceeds_its_timeout_is_closed_and_retried(page: Page) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        page.evaluate(
            CONNECT.replace('"/ws/"', f'"{url}"').replace("10,", "10, connectionTimeout: 1000,")
            + "bridge.socket.addEventListener('error', (event) => event.code && record('error')(event.code))"
        )
        silent.settimeout(scaled(15))
        first, _ = silent.accept()
        second, _ = silent.accept()
        assert recorded(page, 1)[0] == ["error", "ETIMEDOUT"]
        first.close()
        second.close()


# Pages written for Channels 1.x


def test_without_options_a_bridge_has_none(page: Page) -> None:
    assert page.evaluate("new channels.WebSocketBridge().options") == {}


@pytest.mark.parametrize("callback", ["null", "undefined", "false", "0"])
def test_the_callback_of_a_stream_can_be_removed(page: Page, server: BridgeServer, callback: str) -> None:
    page.evaluate(
        CONNECT
        + f"""
        window.onerror = (message) => record('error')(message);
        bridge.listen(record('default'));
        bridge.demultiplex('one', record('1'));
        bridge.demultiplex('one', {callback});
        bridge.demultiplex('two', record('2'));
        """
    )
    connection = server.socket()
    connection.send('{"stream": "one", "payload": 1}')
    connection.send('{"stream": "two", "payload": 2}')
    assert recorded(page, 1) == [["2", 2, "two"]]


def test_streams_can_be_replaced_by_an_object_with_methods(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        CONNECT
        + """
        class Streams { news(payload, stream) { record('news')(payload, stream); } }
        bridge.streams = new Streams();
        bridge.listen(record('default'));
        """
    )
    server.socket().send('{"stream": "news", "payload": 1}')
    assert recorded(page, 1) == [["news", 1, "news"]]


SUBCLASSES = {
    "class": """
        window.Sub = class extends channels.WebSocketBridge {
            constructor(options) { super(options); this.own = true; }
            send(message) { this.stream("main").send(message); }
        };
    """,
    "ES5": """
        window.Sub = function (options) {
            channels.WebSocketBridge.call(this, options);
            this.own = true;
        };
        Sub.prototype = Object.create(channels.WebSocketBridge.prototype);
        Sub.prototype.constructor = Sub;
        Sub.prototype.send = function (message) { this.stream("main").send(message); };
    """,
    "transpiled": """
        window.Sub = (function (Parent) {
            Object.setPrototypeOf(Sub, Parent);
            Sub.prototype = Object.create(Parent && Parent.prototype, {constructor: {value: Sub}});
            function Sub() {
                var self = (Sub.__proto__ || Object.getPrototypeOf(Sub)).apply(this, arguments) || this;
                self.own = true;
                return self;
            }
            Sub.prototype.send = function (message) { this.stream("main").send(message); };
            return Sub;
        })(channels.WebSocketBridge);
    """,
}


@pytest.mark.parametrize("style", SUBCLASSES)
def test_a_subclass_can_send_on_a_stream(page: Page, server: BridgeServer, style: str) -> None:
    page.evaluate(SUBCLASSES[style] + "0")
    page.evaluate(CONNECT.replace("new channels.WebSocketBridge()", "new Sub({an: 'option'})"))
    assert page.evaluate("bridge.own && bridge instanceof channels.WebSocketBridge && bridge.options.an") == "option"
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("bridge.send({hello: 'world'})")
    assert server.frame() == '{"stream":"main","payload":{"hello":"world"}}'


def test_a_listener_is_removed_by_the_signal_of_its_options(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        CONNECT
        + """
        window.controller = new AbortController();
        const {signal} = controller, second = (event) => record('second')(event.data);
        bridge.socket.addEventListener('message', (event) => record('first')(event.data), {signal});
        bridge.socket.addEventListener('message', record('never'), {signal: AbortSignal.abort()});
        bridge.socket.addEventListener('message', null, {once: true});
        bridge.socket.addEventListener('message', second, {signal});
        bridge.socket.removeEventListener('message', second);
        bridge.socket.addEventListener('message', second);
        """
    )
    first = server.socket()
    first.send("1")
    recorded(page, 2)
    page.evaluate("controller.abort()")
    first.send("2")
    recorded(page, 3)
    first.close()
    server.socket().send("3")
    assert recorded(page, 4) == [["first", "1"], ["second", "1"], ["second", "2"], ["second", "3"]]


def test_a_socket_closed_with_keep_closed_reconnects_after_another_close(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "bridge.listen(record('default'))")
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("bridge.socket.close(1000, '', {keepClosed: true})")
    page.wait_for_function("bridge.socket.readyState === 3")
    stays_closed(page, server)
    page.evaluate("bridge.socket.close()")
    server.socket().send('{"hello": "again"}')
    assert recorded(page, 1) == [["default", {"hello": "again"}, None]]


@pytest.mark.parametrize("close", ["bridge.socket.close()", "bridge.socket.close(1000, '', {fastClose: false})"])
def test_closing_twice_makes_one_new_connection(page: Page, server: BridgeServer, close: str) -> None:
    page.evaluate(CONNECT)
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate(f"{close}; {close}")
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.wait_for_timeout(200)  # longer than the longest delay of this bridge
    assert not server.has_another_socket


def test_error_listeners_receive_an_error_after_the_last_close(page: Page) -> None:
    facts = page.evaluate("""
        (async () => {
            const facts = [];
            class Dead extends EventTarget {
                constructor() { super(); queueMicrotask(() => this.dispatchEvent(new Event("close"))); }
                close() {}
            }
            const bridge = new channels.WebSocketBridge();
            const options = {constructor: Dead, connectionTimeout: 1e6, maxRetries: 1, minReconnectionDelay: 1};
            bridge.connect("/", undefined, options);
            bridge.socket.addEventListener("close", () => facts.push("close"));
            bridge.socket.addEventListener("error", () => { throw new Error("of one listener"); });
            bridge.socket.addEventListener("error", {handleEvent: (error) => facts.push("object " + error.code)});
            bridge.socket.addEventListener("error", (error) => facts.push(error instanceof Error, error.message));
            await new Promise((resolve) => { bridge.socket.onerror = (error) => resolve(facts.push(error.code)); });
            await new Promise((resolve) => setTimeout(resolve));
            return facts;
        })()
    """)
    assert facts[:2] == ["close"] * 2
    assert sorted(map(str, facts[2:])) == sorted(
        ["True", "EHOSTDOWN", "object EHOSTDOWN", "The WebSocket could not be opened in 1 attempts."]
    )


def test_the_methods_of_the_socket_can_be_called_detached(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("""
        const {send, close, addEventListener} = bridge.socket;
        addEventListener('close', () => record('closed')());
        send('hello');
        close(4000);
    """)
    assert server.frame() == "hello"
    assert recorded(page, 1) == [["closed"]]


def test_other_properties_are_those_of_the_current_socket(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        CONNECT.replace(
            FAST,
            """{minReconnectionDelay: 10, maxReconnectionDelay: 50, constructor: class extends WebSocket {
                constructor(...made) { super(...made); this.number = Socket.count = (Socket.count || 0) + 1; }
            }}""",
        ).replace("window.recorded", "window.Socket = {}; window.recorded")
    )
    first = server.socket()
    page.wait_for_function("bridge.socket.readyState === 1")
    page.evaluate("bridge.socket.binaryType = 'arraybuffer'")
    found = "[bridge.socket.number, bridge.socket.binaryType, bridge.socket.url.slice(0, 5), bridge.socket.OPEN]"
    assert page.evaluate(found) == [1, "arraybuffer", "ws://", 1]
    first.close()
    server.socket()
    assert page.evaluate(found) == [2, "arraybuffer", "ws://", 1]


# Misuse


def test_connecting_without_a_websocket_constructor_raises_a_type_error(page: Page) -> None:
    with pytest.raises(Exception, match=r"TypeError.*No WebSocket is available"):
        page.evaluate("new channels.WebSocketBridge().connect('/', undefined, {constructor: null})")


@pytest.mark.parametrize("call", ["channels.WebSocketBridge()", "channels.WebSocketBridge.call({})"])
def test_a_bridge_is_created_with_new(page: Page, call: str) -> None:
    with pytest.raises(Exception, match="TypeError"):
        page.evaluate(call)


def test_the_script_can_be_loaded_as_a_node_or_amd_module(page: Page) -> None:
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


# Recovering

RECOVER = """
window.recorded = [];
window.record = (name) => (...facts) => recorded.push([name, ...facts]);
window.bridge = new channels.WebSocketBridge({recover: true, onGap: record("gap")});
bridge.connect("/ws/", undefined, {minReconnectionDelay: 10, maxReconnectionDelay: 50});
bridge.listen(record("message"));
"""


def test_a_bridge_that_recovers_comes_back_with_its_cursors(page: Page, server: BridgeServer) -> None:
    page.evaluate(RECOVER)
    first = server.socket()
    assert offered(first) == (PROTOCOL, {})
    for message in ('room 12-1\n{"n": 1}', '\n{"n": 2}', "hall 13-7 at\n", 'room 12-2\n{"n": 3}'):
        first.send(message)
    assert recorded(page, 3) == [["message", {"n": n}, None] for n in (1, 2, 3)]
    first.close()
    second = server.socket()
    assert offered(second) == (PROTOCOL, {"room": "12-2", "hall": "13-7"})
    second.send("room 14-9 gap\n")
    second.send('room 14-10\n{"n": 4}')
    assert recorded(page, 5)[3:] == [["gap", "room"], ["message", {"n": 4}, None]]
    second.close()
    assert offered(server.socket()) == (PROTOCOL, {"room": "14-10", "hall": "13-7"})


def test_a_bridge_with_more_cursors_than_a_handshake_holds_offers_the_latest(page: Page, server: BridgeServer) -> None:
    page.evaluate(RECOVER)
    first = server.socket()
    for number in range(400):
        first.send(f"room.{number} 12-{number} at\n")
    first.send("__proto__ 13-1 at\n")
    first.send('room.0 12-400\n{"n": 1}')
    recorded(page, 1)
    first.close()
    second = server.socket()
    protocol, cursors = offered(second)
    assert (protocol, list(cursors or {})[-3:]) == (PROTOCOL, ["room.399", "__proto__", "room.0"])
    assert len(cursors or {}) < 256


def test_a_bridge_that_recovers_has_no_protocols_of_the_page(page: Page, server: BridgeServer) -> None:
    with pytest.raises(Exception, match="a sub-protocol of its own"):
        page.evaluate("new channels.WebSocketBridge({recover: true}).connect('/ws/', ['chat'])")


def test_a_bridge_that_recovers_understands_a_server_that_does_not(page: Page, server: BridgeServer) -> None:
    page.evaluate("window.WebSocket = class extends WebSocket { constructor(url) { super(url); } };" + RECOVER)
    server.socket().send('{"n": 1}')
    assert recorded(page, 1) == [["message", {"n": 1}, None]]
