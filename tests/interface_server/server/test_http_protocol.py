"""HTTP byte for byte, as in the ASGI draft and Daphne 1.4.2: what arrives in a message, and what goes over the wire.

All tests share one server; each asks for what is its own.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_classic.interface_server.server.listen import Listen
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from tests.interface_server.live import TIMEOUT, Live, live
from tests.support.waiting import eventually, scaled

REQUEST, DISCONNECT = "http.request", "http.disconnect"
CLOSE = b"Host: x\r\nConnection: close\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n" + CLOSE
STREAM = {"status": 200, "content": b"he", "more_content": True}


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


def read_all(client: socket.socket) -> bytes:
    """Everything until the other side closes, without the date."""
    parts = []
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return re.sub(rb"date: [^\r]*\r\n", b"", b"".join(parts), count=1)


def exchange(server: Live, request: bytes, *replies: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The message of a request that is the last of its connection, and what comes back."""
    with server.raw() as client:
        client.sendall(request)
        return server.consume(REQUEST, *replies), read_all(client)


# Requests


def test_the_values_in_a_message_have_the_types_of_the_draft(server: Live) -> None:
    message, _ = exchange(server, GET, {"status": 204})
    types = {key: type(value) for key, value in message.items()}
    texts = dict.fromkeys(("reply_channel", "http_version", "method", "path", "root_path", "scheme"), str)
    assert types == {**texts, "query_string": bytes, "body": bytes, "headers": list, "client": list, "server": list}
    assert [type(part) for part in message["client"]] == [str, int]
    assert [type(part) for part in message["headers"][0]] == [bytes, bytes]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%20b/%C3%A9?x=1&y=%20z", "/a b/é", b"x=1&y=%20z"),
        (b"/p?a=1?b=2", "/p", b"a=1?b=2"),
        (b"/p?", "/p", b""),
        (b"/%3Fno?yes", "/?no", b"yes"),
        (b"/a+b", "/a+b", b""),
        (b"/%FF", "/\ufffd", b""),
        (b"//a//b;c", "//a//b;c", b""),
        (b"/a/../b", "/a/../b", b""),
        (b"http://x.example/p?q", "/p", b"q"),
    ],
)
def test_the_path_is_decoded_and_the_query_string_is_not(server: Live, target: bytes, path: str, query: bytes) -> None:
    message, _ = exchange(server, b"GET " + target + b" HTTP/1.1\r\n" + CLOSE, {"status": 204})
    assert (message["path"], message["query_string"]) == (path, query)


def test_the_options_of_the_whole_server_may_be_asked_for(server: Live) -> None:
    message, _ = exchange(server, b"OPTIONS * HTTP/1.1\r\n" + CLOSE, {"status": 204})
    assert (message["method"], message["path"]) == ("OPTIONS", "*")


def test_the_version_of_the_client_is_told(server: Live) -> None:
    assert exchange(server, b"GET / HTTP/1.0\r\n\r\n", {"status": 204})[0]["http_version"] == "1.0"


def test_a_body_in_chunks_arrives_in_one_piece(server: Live) -> None:
    chunks = b"3\r\nabc\r\n1;extension=1\r\nd\r\n0\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    assert exchange(server, head + CLOSE + chunks, {"status": 204})[0]["body"] == b"abcd"


def test_a_body_in_tiny_chunks_arrives_whole_and_no_faster_than_may(server: Live) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"  # the body is more than one read takes, 256 KiB
    begun = time.monotonic()
    message, _ = exchange(server, head + CLOSE + b"1\r\na\r\n" * 60_000 + b"0\r\n\r\n", {"status": 204})
    assert message["body"] == b"a" * 60_000
    assert time.monotonic() - begun > 0.2  # a read holds two thirds of it at most


METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
NAMES = st.from_regex(rb"\Ax-[A-Za-z0-9!#$%&'*+.^`|~-]{0,20}\Z")
VALUES = st.lists(st.integers(0x20, 0xFF).filter(lambda code: code != 0x7F), max_size=30).map(bytes)


@settings(max_examples=50)
@given(
    st.sampled_from(METHODS),
    st.text(max_size=50),
    st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=5),
    st.lists(st.tuples(NAMES, VALUES), max_size=20),
    st.binary(max_size=500),
)
def test_any_request_arrives_as_it_was_sent(
    server: Live, method: str, path: str, parameters: dict[str, str], headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    query = urlencode(parameters).encode()
    target = b"/" + quote(path, safe="").encode() + (b"?" + query if query else b"")
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    head = b"%s %s HTTP/1.1\r\nContent-Length: %d\r\n%s%s" % (method.encode(), target, len(body), lines, CLOSE)
    message, received = exchange(server, head + body, {"status": 202})
    assert received.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert (message["method"], message["path"], message["query_string"]) == (method, "/" + path, query)
    assert message["body"] == body
    given_names = [[name.lower(), value.strip()] for name, value in headers]
    assert message["headers"][1:-2] == given_names


def test_what_is_not_complete_becomes_no_message(server: Live) -> None:
    for partial in (b"GET /partial", b"POST /partial HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"):
        with server.raw() as client:
            client.sendall(partial)
    assert exchange(server, GET, {"status": 204})[0]["path"] == "/"
    assert server.has_none(DISCONNECT)


def test_every_client_of_a_process_has_a_name_of_its_own_in_one_inbox(server: Live) -> None:
    names = [exchange(server, GET, {"status": 204})[0]["reply_channel"] for _ in range(20)]
    assert len({name.partition("!")[0] for name in names}) == 1
    assert len(set(names)) == 20


# Responses


@pytest.mark.parametrize(
    ("replies", "wire"),
    [
        (
            [
                {
                    "status": 200,
                    "headers": [[b"x-foo", b"1"], [b"set-cookie", b"a"], [b"x-bar", b"2"], [b"Set-Cookie", b"b"]],
                    "content": b"hello",
                    "more_content": True,
                },
                {"content": b"more"},
            ],
            b"HTTP/1.1 200 OK\r\nx-foo: 1\r\nset-cookie: a\r\nx-bar: 2\r\nset-cookie: b\r\nconnection: close\r\n"
            b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n4\r\nmore\r\n0\r\n\r\n",
        ),
        ([{"status": 200}], b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        ([{"status": 204}], b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
        ([{"status": 204, "content": b"no"}], b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
        (
            [{"status": 304, "headers": [[b"content-length", b"9"]], "content": b"no"}],
            b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n",
        ),
        (
            [{"status": 404, "status_text": b"Fine", "unknown": 1, "content": b"x"}],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx",
        ),
        ([{"status": 299}], b"HTTP/1.1 299 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        (
            [{
                    "status": 200,
                    "headers": [["Transfer-Encoding", "chunked"], ["Date", "today"], ["Content-Length", "1"]],
                    "content": b"x",
                }],
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx",
        ),
        (
            [{**STREAM, "headers": [["Content-Length", "5"]]}, {"content": b"llo"}],
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
        ),
    ],
)  # fmt: skip
def test_a_response_on_the_wire(server: Live, replies: list[dict[str, Any]], wire: bytes) -> None:
    assert exchange(server, GET, *replies)[1] == wire


@settings(max_examples=30)
@given(st.sampled_from([200, 201, 404, 500]), st.lists(st.tuples(NAMES, VALUES), max_size=20), st.binary(max_size=500))
def test_any_response_arrives_as_it_was_sent(
    server: Live, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    reply = {"status": status, "headers": [list(pair) for pair in headers], "content": body}
    _, received = exchange(server, GET, reply)
    head, _, content = received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % status)
    assert lines[1:-2] == [name.lower() + b": " + value for name, value in headers]
    assert content == body


@pytest.mark.parametrize("more", [False, True])
def test_a_client_of_http_1_0_gets_no_chunks_and_the_end_of_its_connection(server: Live, more: bool) -> None:
    replies = [STREAM, {"content": b"llo"}] if more else [{"status": 200, "content": b"hello"}]
    length = b"" if more else b"content-length: 5\r\n"
    for head in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"):
        _, received = exchange(server, head, *replies)
        assert received == b"HTTP/1.1 200 OK\r\n" + length + b"connection: close\r\n\r\nhello"


def test_a_client_of_http_1_0_is_not_told_to_continue(server: Live) -> None:
    head = b"POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab"
    message, received = exchange(server, head, {"status": 200, "content": b"hello"})
    assert message["body"] == b"ab"
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_of_http_1_0_gets_a_large_response_whole(server: Live) -> None:
    part = b"x" * 300_000
    _, received = exchange(server, b"GET / HTTP/1.0\r\n\r\n", {**STREAM, "content": part}, {"content": part})
    assert received.partition(b"\r\n\r\n")[2] == 2 * part
    _, received = exchange(server, b"HEAD / HTTP/1.0\r\n\r\n", STREAM, {"content": b"llo"})
    assert received == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def unix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, str]]:
    """A server on a Unix socket, which cannot be reset, as nginx asks it by default: in HTTP/1.0."""
    path = str(tmp_path_factory.mktemp("unix") / "s")
    with live(listen=Listen(unix_socket=path, port=0)) as running:
        yield running, path


def ask_in_1_0(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.settimeout(TIMEOUT)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return client


def test_a_stream_in_http_1_0_on_a_unix_socket_has_a_length(unix: tuple[Live, str]) -> None:
    server, path = unix
    part = b"x" * 3_000_000  # more than is kept in memory
    with ask_in_1_0(path) as client:
        server.consume(REQUEST, {**STREAM, "content": part}, {"content": part})
        head, _, content = read_all(client).partition(b"\r\n\r\n")
    assert b"content-length: 6000000" in head
    assert content == 2 * part


def test_a_stream_in_http_1_0_on_a_unix_socket_that_fails_does_not_look_complete(unix: tuple[Live, str]) -> None:
    server, path = unix
    with ask_in_1_0(path) as client:
        delivery = server.take(REQUEST)
        server.layer.send(str(delivery.reply_channel), STREAM)
        server.report(delivery, Outcome.RAISED)
        head, _, content = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert content.endswith(b"</html>\n")


def test_a_stream_in_http_1_0_on_a_unix_socket_that_does_not_end_soon_is_sent(
    unix: tuple[Live, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, path = unix
    monkeypatch.setattr("channels_classic.interface_server.http.request.END_TIMEOUT", 0.2)
    with ask_in_1_0(path) as client:
        message = server.consume(REQUEST, STREAM)
        received = b""
        while not received.endswith(b"he"):
            received += client.recv(65536)
        server.layer.send(message["reply_channel"], {"content": b"llo"})
        assert read_all(client) == b"llo"
    assert b"content-length" not in received


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ({"status": 100}, "its status is 100, expected an integer from 200 to 599"),
        ({"status": 101}, "its status is 101,"),
        ({"status": "200"}, "its status is '200',"),
        ({"status": 600}, "its status is 600,"),
        ({"status": 200, "headers": [[b"content-length", b"3"]], "content": b"hello"}, "has more bytes than"),
        ({"status": 200, "headers": [[b"content-length", b"9"]], "content": b"hello"}, "has fewer bytes than"),
        ({"status": 200, "headers": [[b"content-length", b"1" * 5000]]}, "expected one number"),
        ({"status": 200, "headers": [[b"content-length", b"-1"]]}, "its Content-Length is b'-1', expected one number"),
        (
            {"status": 200, "headers": [[b"content-length", b"1"], [b"content-length", b"2"]]},
            "is b'1, 2', expected one",
        ),
        ({"status": 200, "content": "text"}, "its content is of type str, expected bytes"),
        ({"status": 200, "content": 5}, "its content is of type int, expected bytes"),
        ({"status": 200, "headers": {"x-a": "b"}}, "its headers are of type dict, expected a list of pairs"),
        ({"status": 200, "headers": [["x-a"]]}, "its header is 'x-a', expected a name and a value"),
        ({"status": 200, "headers": [["x-a", 5]]}, "its header is 'x-a', expected a name and a value"),
        (
            {"status": 200, "headers": [["set-cookie", "a=€"]]},
            "its header is 'set-cookie', expected a name and a value",
        ),
        ({"status": 200, "headers": ["set-cookie: a=b"]}, "its header is 'str', expected a name and a value"),
        ({"status": 200, "headers": [["x-a", "b\r\nc: d"]]}, "characters that are not allowed there"),
    ],
)
def test_a_response_that_cannot_be_sent_becomes_500_and_a_line_that_says_why(
    reply: dict[str, Any], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with live() as server, caplog.at_level(logging.WARNING):  # each has a line of its own only once in a while
        _, received = exchange(server, GET, reply, {"status": 200, "content": b"late"})
    assert received.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"late" not in received
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [
        "A part of the response to GET / was ignored"
    ]
    assert sentence in caplog.text


@pytest.mark.parametrize(("length", "wire"), [(b"4", b"he"), (b"9", b"he"), (None, b"2\r\nhe\r\n")])
def test_a_stream_that_goes_wrong_ends_with_its_connection(
    length: bytes | None, wire: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [] if length is None else [[b"content-length", length]]
    wrong = {"content": b"llo" if length else "llo"}
    with live() as server, server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        message = server.consume(REQUEST, {**STREAM, "headers": headers})
        client.settimeout(TIMEOUT)
        begin = client.recv(65536)
        while not begin.endswith(wire):
            begin += client.recv(65536)
        server.layer.send(message["reply_channel"], wrong)
        server.layer.send(message["reply_channel"], {"content": b"late"})
        assert read_all(client) == b""
    assert "A part of the response to GET / was ignored" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("large", [False, True])
def test_no_disconnect_follows_a_stream_behind_which_the_connection_is_closed(
    server: Live, version: bytes, large: bool
) -> None:
    content = b"x" * (300_000 if large else 3)
    request = b"GET /closed HTTP/" + version + b"\r\n" + CLOSE
    assert exchange(server, request, {**STREAM, "content": content}, {"content": content})[1].count(b"x") >= 6
    exchange(server, GET, {"status": 204})  # what the first one sent is before it
    assert server.has_none(DISCONNECT)


def test_an_error_page_is_html_that_says_what_and_not_why() -> None:
    with live(http_timeout=0.1) as server, server.raw() as client:
        client.sendall(GET)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"content-type: text/html; charset=utf-8" in head
    assert b"<title>503 Service Unavailable</title>" in body


# Connections


def test_a_connection_without_a_request_is_closed_in_time_but_not_while_a_response_is_made() -> None:
    with live(limits={"keep_alive": 0.1}) as server, server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        delivery = server.take(REQUEST)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        server.layer.send(str(delivery.reply_channel), {"status": 204})
        client.settimeout(TIMEOUT)
        assert read_all(client) == b"HTTP/1.1 204 No Content\r\n\r\n"


def test_an_upload_takes_nothing_of_the_time_for_the_response() -> None:
    with live(http_timeout=scaled(0.5)) as server, server.raw() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab")
        client.settimeout(scaled(0.6))
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(TIMEOUT)
        client.sendall(b"cd")
        assert server.consume(REQUEST, {"status": 204})["body"] == b"abcd"
        assert read_all(client).startswith(b"HTTP/1.1 204 ")


def test_a_disconnect_that_finds_no_room_is_dropped_quietly(caplog: pytest.LogCaptureFixture) -> None:
    with live(ChannelLayer(channel_capacity={DISCONNECT: 1})) as server:
        for path in (b"/1", b"/2"):
            with server.raw() as client:
                client.sendall(b"GET " + path + b" HTTP/1.1\r\n" + CLOSE)
                server.take(REQUEST)
            if path == b"/1":
                eventually(lambda: not server.server._uvicorn.server_state.tasks)
        eventually(lambda: not server.server._uvicorn.server_state.tasks)
        assert exchange(server, GET, {"status": 204})[1].startswith(b"HTTP/1.1 204 ")
        assert server.take(DISCONNECT).message["path"] == "/1"
        assert server.has_none(DISCONNECT)
    assert "Traceback" not in caplog.text
