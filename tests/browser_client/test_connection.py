"""The ES module for browsers, in a real browser against a server that shows every frame."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.staticfiles import finders
from django.templatetags.static import static

from channels_classic.interface_server.cursors import MOST_CHARACTERS, PROTOCOL
from tests.support.bridge_server import BridgeServer, offered, path_of, recorded
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "channels/js/client/connection.js"

PAGE = b"""<!doctype html><script type="module">
import * as client from "/connection.js";
Object.assign(window, client);
window.recorded = [];
window.record = (name) => (...facts) => recorded.push([name, ...facts]);
window.connect = (url, options) => {
    window.connection = new Connection(url, {firstDelay: 20, longestDelay: 50, ...options});
    connection.addEventListener("message", ({data, group}) => record("message")(data, group));
    connection.addEventListener("gap", ({group}) => record("gap")(group));
    connection.addEventListener("error", ({error}) => record("error")(error.name));
};
</script>"""

CONNECT = "connect('/ws/');"

WATCH_CLOSE = "connection.addEventListener('close', ({code, reason}) => record('close')(code, reason));"

STILL_CLOSED = 300
"""Milliseconds, longer than the longest delay of the pages here."""


def script() -> Path:
    found = finders.find(NAME)
    assert isinstance(found, str)
    return Path(found)


@pytest.fixture
def server() -> Iterator[BridgeServer]:
    with BridgeServer(script(), PAGE) as running:
        yield running


def wait_for_state(page: Page, state: str) -> None:
    page.wait_for_function("(state) => connection.state === state", arg=state)


def test_the_module_is_a_static_file() -> None:
    assert script().name == "connection.js"
    assert static(NAME) == "/static/channels/js/client/connection.js"


# Connecting


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("'/some/path/?a=b'", "/some/path/?a=b"),
        ("'relative/#part'", "/relative/"),
        ("'http://HOST/whole/'", "/whole/"),
        ("new URL('ws://HOST/url/')", "/url/"),
        ("() => '/function/'", "/function/"),
        ("async () => '/later/'", "/later/"),
    ],
)
def test_it_connects_to_an_address_of_any_kind(page: Page, server: BridgeServer, url: str, path: str) -> None:
    page.evaluate(f"connect({url.replace('HOST', server.host)})")
    assert path_of(server.socket()) == path
    wait_for_state(page, "open")


def test_a_function_is_asked_for_the_address_of_each_attempt(page: Page, server: BridgeServer) -> None:
    page.evaluate("let n = 0; connect(async () => `/number/${++n}`)")
    for number in (1, 2):
        connection = server.socket()
        assert path_of(connection) == f"/number/{number}"
        connection.close()


def test_a_function_that_fails_is_asked_again(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        "let n = 0; connect(() => { if (++n === 1) throw new RangeError('no token yet'); return '/second/'; })"
    )
    assert path_of(server.socket()) == "/second/"
    assert recorded(page, 1) == [["error", "RangeError"]]


def test_the_protocols_of_the_page_take_the_place_of_the_one_that_recovers(page: Page, server: BridgeServer) -> None:
    page.evaluate("connect('/ws/', {protocols: ['graphql'], json: false})")
    connection = server.socket()
    assert connection.subprotocol == "graphql"
    connection.send("plain")
    assert recorded(page, 1) == [["message", "plain", None]]


def test_an_attempt_that_is_not_open_in_time_is_given_up_and_repeated(page: Page) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        page.evaluate(f"connect('ws://127.0.0.1:{silent.getsockname()[1]}/', {{timeout: 1000}});" + WATCH_CLOSE)
        silent.settimeout(scaled(15))
        first, _ = silent.accept()
        second, _ = silent.accept()
        assert recorded(page, 1)[0] == ["close", 1006, "It was not open in time."]
        first.close()
        second.close()


# Messages


def test_messages_are_json_both_ways(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    connection = server.socket()
    connection.send('\n{"hello": ["world"]}')
    connection.send("\nnull")
    page.evaluate("connection.send({hello: 'server'}); connection.send('text')")
    assert recorded(page, 2) == [["message", {"hello": ["world"]}, ""], ["message", None, ""]]
    assert [server.frame(), server.frame()] == ['{"hello":"server"}', '"text"']


def test_without_json_text_is_sent_and_received_as_it_is(page: Page, server: BridgeServer) -> None:
    page.evaluate("connect('/ws/', {json: false})")
    server.socket().send("\nhello\nworld")
    page.evaluate("connection.send('hello server')")
    assert recorded(page, 1) == [["message", "hello\nworld", ""]]
    assert server.frame() == "hello server"


def test_binary_messages_are_sent_and_received_as_they_are(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        CONNECT
        + "connection.addEventListener('message', ({data}) => record('bytes')(...new Uint8Array(data)));"
        + "connection.send(new Uint8Array([1, 2]))"
    )
    server.socket().send(b"room 12-1\n\x00\n\xff")
    assert recorded(page, 2)[1] == ["bytes", 0, 10, 255]
    assert server.frame() == b"\x01\x02"
    assert page.evaluate("[...connection.cursors]") == [["room", "12-1"]]


def test_a_message_that_is_no_json_is_an_error_and_the_next_one_arrives(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    connection = server.socket()
    connection.send("room 12-1\n<p>")
    connection.send("room 12-2\n1")
    assert recorded(page, 2) == [["error", "SyntaxError"], ["message", 1, "room"]]


def test_a_listener_that_throws_stops_neither_the_others_nor_the_connection(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        CONNECT
        + "window.onerror = (message) => record('page')(message);"
        + "connection.addEventListener('message', () => { throw new Error('broken'); });"
        + "connection.addEventListener('message', ({data}) => record('second')(data));"
    )
    connection = server.socket()
    connection.send("\n1")
    connection.send("\n2")
    second = [entry[1] for entry in recorded(page, 6) if entry[0] == "second"]
    assert second == [1, 2]


def test_a_stream_gets_its_messages_and_sends_on_its_name(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        CONNECT
        + "const news = connection.stream('news');"
        + "news.addEventListener('message', ({data}) => record('news')(data));"
        + "news.send({n: 0}); record('same')(news === connection.stream('news'));"
    )
    connection = server.socket()
    connection.send('\n{"stream": "news", "payload": {"n": 1}}')
    connection.send('\n{"stream": "unknown", "payload": {"n": 2}}')
    assert recorded(page, 3) == [
        ["same", True],
        ["news", {"n": 1}],
        ["message", {"stream": "unknown", "payload": {"n": 2}}, ""],
    ]
    assert server.frame() == '{"stream":"news","payload":{"n":0}}'


# The queue


def test_messages_wait_for_the_connection_and_are_sent_once_in_order(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "for (let n = 0; n < 3; n++) connection.send(n)")
    first = server.socket()
    assert [server.frame() for _ in range(3)] == ["0", "1", "2"]
    server.refusing = True
    first.close()
    wait_for_state(page, "waiting")
    page.evaluate("for (let n = 3; n < 6; n++) connection.send(n)")
    server.refusing = False
    server.socket()
    wait_for_state(page, "open")
    page.evaluate("connection.send(6)")
    assert [server.frame() for _ in range(4)] == ["3", "4", "5", "6"]


def test_a_message_beyond_the_queue_is_refused_to_the_caller(page: Page, server: BridgeServer) -> None:
    server.refusing = True
    page.evaluate("connect('/ws/', {queue: 2}); connection.send(1); connection.send(2);")
    with pytest.raises(Exception, match="The connection is not open, and 2 messages wait for it"):
        page.evaluate("connection.send(3)")


def test_what_cannot_be_json_is_refused_to_the_caller(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    for value in ("undefined", "() => {}"):
        with pytest.raises(Exception, match=r"TypeError.*cannot be written as JSON"):
            page.evaluate(f"connection.send({value})")


# Coming back


def test_it_comes_back_after_any_close_and_tells_why(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + "connection.addEventListener('open', () => record('open')());" + WATCH_CLOSE)
    server.socket().close(4000, "enough")
    server.socket().socket.shutdown(socket.SHUT_RDWR)
    server.socket()
    assert recorded(page, 5) == [["open"], ["close", 4000, "enough"], ["open"], ["close", 1006, ""], ["open"]]


@pytest.mark.parametrize(
    ("code", "reason", "shortest", "longest"),
    [
        (1012, "retry=7", 7000, 10500),
        (1013, "overload; retry=0.5", 500, 750),
        (1012, "retry=soon", 0, 20),
        (1000, "retry=7", 0, 20),
    ],
)
def test_it_comes_back_when_the_server_asked(
    page: Page, server: BridgeServer, code: int, reason: str, shortest: float, longest: float
) -> None:
    page.evaluate(CONNECT + "connection.addEventListener('close', ({delay}) => record('delay')(delay))")
    server.socket().close(code, reason)
    ((_, delay),) = recorded(page, 1)
    assert shortest <= delay <= longest


def test_delays_double_with_each_failure_and_are_random(page: Page, server: BridgeServer) -> None:
    server.refusing = True
    page.evaluate(
        "Math.random = () => 1 - 1e-9; connect('/ws/', {firstDelay: 4, longestDelay: 100});"
        "connection.addEventListener('close', ({delay, wasOpen}) => record(delay)(wasOpen))"
    )
    delays = [round(delay) for delay, _ in recorded(page, 7)]
    assert delays[:7] == [4, 8, 16, 32, 64, 100, 100]


def test_a_delay_is_random_from_nothing_up(page: Page, server: BridgeServer) -> None:
    server.refusing = True
    page.evaluate("connect('/ws/'); connection.addEventListener('close', ({delay}) => record(delay)())")
    delays = [delay for (delay,) in recorded(page, 10)]
    assert len(set(delays)) >= 9 and all(0 <= delay < 50 for delay in delays)


def test_a_server_that_closes_at_once_is_not_asked_ever_more_often(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        "Math.random = () => 1 - 1e-9; connect('/ws/', {firstDelay: 4, longestDelay: 100});"
        "connection.addEventListener('close', ({delay}) => record(delay)())"
    )
    for _ in range(3):
        server.socket().close(1011)
    for (before,), (after,) in pairwise(recorded(page, 3)):
        assert after == pytest.approx(2 * before)


def test_close_is_for_good_until_the_page_connects_again(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT + WATCH_CLOSE)
    first = server.socket()
    wait_for_state(page, "open")
    assert page.evaluate("connection.close(4001, 'bye'); [connection.state, recorded]") == [
        "closed",
        [["close", 4001, "bye"]],
    ]
    with pytest.raises(Exception, match=r"call connect\(\) before send"):
        page.evaluate("connection.send(1)")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_timeout(STILL_CLOSED)
    assert not server.has_another_socket
    assert first.close_code == 4001
    page.evaluate("connection.connect()")
    assert server.socket()


@pytest.mark.parametrize("when", ["in the attempt", "in the delay", "in a listener"])
def test_it_can_be_closed_at_any_time(page: Page, server: BridgeServer, when: str) -> None:
    if when == "in the attempt":
        page.evaluate(CONNECT + "connection.close()")
    elif when == "in the delay":
        server.refusing = True
        page.evaluate("connect('/ws/', {firstDelay: 1e6, longestDelay: 1e6})")
        wait_for_state(page, "waiting")
        page.evaluate("connection.close()")
    else:
        page.evaluate(CONNECT + "connection.addEventListener('close', () => connection.close())")
        server.socket().close()
        wait_for_state(page, "closed")
    server.refusing = False
    page.wait_for_timeout(STILL_CLOSED)
    assert not server.has_another_socket
    assert page.evaluate("connection.state") == "closed"


# The network and the computer

PATIENT = "connect('/ws/', {firstDelay: 1e6, longestDelay: 1e6});"


@pytest.mark.parametrize(
    "event", ["dispatchEvent(new Event('online'))", "document.dispatchEvent(new Event('visibilitychange'))"]
)
def test_it_does_not_wait_any_longer_once_the_page_is_online_or_visible(
    page: Page, server: BridgeServer, event: str
) -> None:
    page.evaluate("Math.random = () => 0.5;" + PATIENT)
    server.socket().close()
    wait_for_state(page, "waiting")
    page.evaluate(event)
    assert server.socket()


def test_a_browser_that_goes_offline_leaves_its_socket_and_comes_back_when_it_is_online(
    page: Page, server: BridgeServer
) -> None:
    page.evaluate("Math.random = () => 0.5;" + PATIENT + WATCH_CLOSE)
    server.socket()
    wait_for_state(page, "open")
    page.context.set_offline(True)
    assert recorded(page, 1) == [["close", 1006, "The browser is offline."]]
    page.context.set_offline(False)
    assert server.socket()


def test_a_laptop_that_slept_leaves_the_socket_that_looks_open(browser: Browser, server: BridgeServer) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.goto(server.url)
    page.evaluate(CONNECT + WATCH_CLOSE)
    first = server.socket()
    first.send('room 12-1\n{"n": 1}')
    recorded(page, 1)
    page.clock.run_for(200_000)  # a page that is awake stays
    assert page.evaluate("connection.state") == "open"
    page.clock.fast_forward(200_000)
    second = server.socket()
    assert offered(second) == (PROTOCOL, {"room": "12-1"})
    assert recorded(page, 2)[1:] == [["close", 1006, "The computer slept."]]
    context.close()


# Recovering


def test_it_comes_back_with_its_cursors(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    first = server.socket()
    assert offered(first) == (PROTOCOL, {})
    for message in ('room 12-1\n{"n": 1}', '\n{"n": 2}', "hall 13-7 at\n", 'room 12-2\n{"n": 3}'):
        first.send(message)
    groups = ["room", "", "room"]
    assert recorded(page, 3) == [["message", {"n": n}, group] for n, group in enumerate(groups, 1)]
    first.close()
    second = server.socket()
    assert offered(second) == (PROTOCOL, {"room": "12-2", "hall": "13-7"})
    second.send("room 14-9 gap\n")
    second.send('room 14-10\n{"n": 4}')
    assert recorded(page, 5)[3:] == [["gap", "room"], ["message", {"n": 4}, "room"]]
    second.close()
    assert offered(server.socket()) == (PROTOCOL, {"room": "14-10", "hall": "13-7"})


def test_a_group_of_any_name_has_a_cursor(page: Page, server: BridgeServer) -> None:
    names = ["__proto__", "constructor", "7", "a.b-c_d"]
    page.evaluate(CONNECT)
    first = server.socket()
    for name in names:
        first.send(f"{name} 12-1\n1")
    recorded(page, len(names))
    first.close()
    assert offered(server.socket()) == (PROTOCOL, dict.fromkeys(names, "12-1"))


def test_the_cursors_of_many_groups_fit_into_a_header_and_the_latest_are_kept(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    first = server.socket()
    names = [f"{number}-".ljust(MOST_CHARACTERS, "x") for number in range(100)]
    for name in [*names, names[0]]:
        first.send(f"{name} 12-1\n1")
    recorded(page, 101)
    first.close()
    second = server.socket()
    assert second.request is not None
    assert len(second.request.headers["Sec-WebSocket-Protocol"]) < 4000
    found = offered(second)[1]
    assert found is not None and list(found)[-2:] == [names[-1], names[0]]


def test_messages_of_a_socket_that_was_left_are_not_delivered_twice(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    first = server.socket()
    first.send("room 12-1\n1")
    recorded(page, 1)
    page.evaluate("WebSocket.prototype.close = () => {}; dispatchEvent(new Event('offline'))")
    first.send("room 12-2\n2")  # the network lets the old socket through once more
    second = server.socket()
    assert offered(second)[1] == {"room": "12-1"}
    second.send("room 12-2\n2")
    second.send("room 12-3\n3")
    assert [entry[1] for entry in recorded(page, 3)] == [1, 2, 3]


# Presence


def test_presence_follows_the_payloads_of_a_stream(page: Page, server: BridgeServer) -> None:
    page.evaluate(
        CONNECT
        + "window.presence = new Presence(connection.stream('presence'));"
        + "presence.addEventListener('change', () => record('people')(Object.fromEntries(presence.people)))"
    )
    connection = server.socket()
    payloads: list[dict[str, Any]] = [
        {"all": {"7": [{"name": "Ada"}, {"name": "Ada"}]}},
        {"join": {"12": {"name": "Bob"}}},
        {"join": {"7": {"name": "Ada"}}},
        {"leave": "7"},
        {"leave": "unknown"},
        {"all": {}},
    ]
    for payload in payloads:
        connection.send("\n" + json.dumps({"stream": "presence", "payload": payload}))
    ada, bob = {"7": [{"name": "Ada"}] * 2}, {"12": [{"name": "Bob"}]}
    people = [found for _, found in recorded(page, 6)]
    assert people == [ada, ada | bob, ada | bob, bob, bob, {}]


# Misuse


def test_an_unknown_option_raises_a_type_error(page: Page) -> None:
    with pytest.raises(Exception, match=r"TypeError.*Unknown options: recover, retries. Known are json, protocols"):
        page.evaluate("new Connection('/', {recover: true, retries: 3})")


@pytest.mark.parametrize("url", ["http://", "ftp://example.org/", "https://[bad/"])
def test_an_address_that_is_none_raises_an_error_at_once(page: Page, url: str) -> None:
    with pytest.raises(Exception, match=r"TypeError|SyntaxError"):
        page.evaluate(f"new Connection({url!r})")


def test_a_close_code_that_pages_may_not_use_raises_and_closes_nothing(page: Page, server: BridgeServer) -> None:
    page.evaluate(CONNECT)
    server.socket()
    wait_for_state(page, "open")
    with pytest.raises(Exception, match="InvalidAccessError"):
        page.evaluate("connection.close(1005)")
    assert page.evaluate("connection.state") == "open"
