"""WebSockets byte for byte, as in the ASGI draft and Daphne 1.4.2: each row of the table of replies, each end.

All tests share one server; each has a path of its own, by which it knows its messages.
"""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_classic.interface_server.asgi import Receive, Scope, SendEvent
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.server import websocket_protocol
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Server
from channels_classic.layers.planner import Delivery
from tests.interface_server.live import Live, live
from tests.support.waiting import scaled

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"
HEADERS = (
    b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n\r\n"
)
MARK = b"\x81\x04mark"
"""The frame of a text that is sent behind what a test looks at."""

_paths = (f"/{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


class Client:
    """A client that speaks bytes, and what a worker knows of it."""

    def __init__(self, server: Live, headers: bytes = HEADERS, query: str = "", *, path: str = "") -> None:
        self.server = server
        self.path = path or next(_paths)
        self.socket = server.raw()
        self.socket.sendall(b"GET %s HTTP/1.1\r\n%s\r\n" % ((self.path + query).encode(), headers))
        self.connect = self.take(CONNECT)
        self.name = str(self.connect.reply_channel)

    def take(self, channel: str) -> Delivery:
        """The next message of this client."""
        while (delivery := self.server.take(channel)).message["path"] != self.path:
            if delivery.token is not None:
                self.server.report(delivery)
        return delivery

    def consume(self, channel: str) -> dict[str, Any]:
        delivery = self.take(channel)
        if delivery.token is not None:
            self.server.report(delivery)
        return delivery.message

    def reply(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.server.layer.send(self.name, message)

    def accept(self) -> None:
        """Be let in."""
        self.reply({"accept": True})
        assert self.read(len(ACCEPTED)) == ACCEPTED
        self.server.report(self.connect)

    def read(self, count: int) -> bytes:
        """Return this many bytes, without the date, or fewer if the other side closes before."""
        received = b""
        with suppress(ConnectionResetError):
            while len(received) < count and (part := self.socket.recv(65536)):
                received = re.sub(rb"[dD]ate: [^\r]*\r\n", b"", received + part)
        return received

    def read_all(self) -> bytes:
        return self.read(1_000_000)

    def ended(self) -> dict[str, Any]:
        """Its disconnect, when its handshake has been reported."""
        message = self.consume(DISCONNECT)
        self.socket.close()
        return message


@pytest.fixture
def client(server: Live) -> Iterator[Client]:
    found = Client(server)
    with closing(found.socket):
        yield found


# Handshakes


@pytest.mark.parametrize(
    ("reply", "frames"),
    [
        ({"accept": True}, b""),
        ({"accept": True, "text": ""}, b"\x81\x00"),
        ({"accept": True, "text": "hi"}, b"\x81\x02hi"),
        ({"accept": True, "bytes": b"\xaa"}, b"\x82\x01\xaa"),
        ({"text": "é"}, b"\x81\x02\xc3\xa9"),
        ({"bytes": b"\xaa"}, b"\x82\x01\xaa"),
        ({"accept": True, "close": True}, b"\x88\x02\x03\xe8"),
        ({"accept": True, "text": "hi", "close": 4001}, b"\x81\x02hi\x88\x02\x0f\xa1"),
        ({"text": "hi", "close": True}, b"\x81\x02hi\x88\x02\x03\xe8"),
        ({"bytes": b"\xaa", "close": True}, b"\x82\x01\xaa\x88\x02\x03\xe8"),
    ],
)
def test_a_reply_that_accepts_on_the_wire(client: Client, reply: dict[str, Any], frames: bytes) -> None:
    client.reply(reply, {"text": "mark"})
    expected = ACCEPTED + frames + (b"" if "close" in reply else MARK)
    assert client.read(len(expected)) == expected


@pytest.mark.parametrize(
    "reply",
    [
        {"accept": False},
        {"accept": False, "text": "no"},
        {"accept": False, "bytes": b"no"},
        {"close": True},
        {"close": 1},
        {"close": 123_456},
    ],
)
def test_a_reply_that_refuses_on_the_wire(client: Client, reply: dict[str, Any]) -> None:
    client.reply(reply)
    head, _, body = client.read_all().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert body == b""
    client.server.report(client.connect)
    assert client.ended()["code"] == 1006


@pytest.mark.parametrize("reply", [{"text": ""}, {"bytes": b""}, {"close": False}, {"text": None, "close": False}])
def test_a_reply_that_leaves_the_handshake_undecided(client: Client, reply: dict[str, Any]) -> None:
    client.reply(reply, {"close": True})
    assert client.read_all().startswith(b"HTTP/1.1 403 ")


def test_the_headers_of_a_handshake_arrive_as_they_were_sent(server: Live) -> None:
    client = Client(server, HEADERS + b"Origin: http://x.example\r\nX-Two: 1\r\nx_no: 2\r\nX-Two:  3 \r\n", "?a=%20?b")
    message = client.connect.message
    assert message["headers"] == [
        [b"host", b"x"],
        [b"upgrade", b"websocket"],
        [b"connection", b"Upgrade"],
        [b"sec-websocket-key", b"x3JJHMbDL1EzLkh9GBhXDw=="],
        [b"sec-websocket-version", b"13"],
        [b"origin", b"http://x.example"],
        [b"x-two", b"1"],
        [b"x-two", b"3"],
    ]
    assert message["query_string"] == b"a=%20?b"
    client.socket.close()


@settings(max_examples=25)
@given(
    st.text(st.characters(codec="ascii", exclude_characters="?#", min_codepoint=0x21, max_codepoint=0x7E), max_size=20),
    st.lists(st.integers(0x20, 0x7E).map(lambda code: bytes([code])), max_size=30).map(b"".join),
)
def test_any_handshake_arrives_as_it_was_sent(server: Live, query: str, value: bytes) -> None:
    client = Client(server, HEADERS + b"X-Any: " + value + b"\r\n", "?" + query)
    with closing(client.socket):
        assert client.connect.message["query_string"] == query.encode()
        assert client.connect.message["headers"][-1] == [b"x-any", value.strip()]
        client.accept()


@pytest.mark.parametrize("origin", [b"file://", b"null", b"http://elsewhere.example", None])
def test_every_origin_is_let_in_and_told(server: Live, origin: bytes | None) -> None:
    client = Client(server, HEADERS + (b"Origin: " + origin + b"\r\n" if origin else b""))
    with closing(client.socket):
        client.accept()
    told = [value for name, value in client.connect.message["headers"] if name == b"origin"]
    assert told == ([origin] if origin else [])


@pytest.mark.parametrize("value", [b"websocket", b"WebSocket", b"WEBSOCKET"])
def test_the_upgrade_header_alone_decides_that_it_is_a_websocket(server: Live, value: bytes) -> None:
    client = Client(server, HEADERS.replace(b"Upgrade: websocket", b"Upgrade: " + value))
    with closing(client.socket):
        client.accept()
    assert server.has_none("http.request")
    assert server.has_none("http.disconnect")


def test_a_client_that_leaves_before_it_is_answered_is_told_as_1006(client: Client) -> None:
    client.socket.close()
    client.server.report(client.connect)
    message = client.ended()
    assert (message["code"], message["order"]) == (1006, 1)


def test_a_handshake_that_timed_out_is_told_as_1006() -> None:
    with live(websocket_connect_timeout=0.1) as server:
        client = Client(server)
        server.report(client.connect)
        assert client.read_all().startswith(b"HTTP/1.1 403 ")
        assert client.ended()["code"] == 1006


def test_a_request_and_a_socket_have_names_in_one_inbox(client: Client) -> None:
    connection = client.server.http()
    connection.request("GET", "/")
    name = client.server.consume("http.request", {"status": 204})["reply_channel"]
    connection.getresponse().read()
    connection.close()
    assert name.partition("!")[0] == client.name.partition("!")[0]
    assert name != client.name


# Frames


@pytest.mark.parametrize(
    ("reply", "frames"),
    [
        ({"text": "a"}, b"\x81\x01a"),
        ({"bytes": b"\xaa\xbb"}, b"\x82\x02\xaa\xbb"),
        ({"accept": True}, b""),
        ({"accept": True, "text": "a"}, b"\x81\x01a"),
        ({"accept": False}, b""),
        ({"accept": False, "text": "a"}, b"\x81\x01a"),
        ({"text": ""}, b"\x81\x00"),
        ({"text": "", "bytes": b"\xaa"}, b"\x82\x01\xaa"),
        ({"text": "a", "close": False}, b"\x81\x01a"),
        ({"close": 5}, b""),
        ({"text": "a", "bytes": b"b"}, b""),
        ({"text": "a", "close": True}, b"\x81\x01a\x88\x02\x03\xe8"),
        ({"close": True}, b"\x88\x02\x03\xe8"),
        ({"close": 1000}, b"\x88\x02\x03\xe8"),
        ({"close": 3000}, b"\x88\x02\x0b\xb8"),
        ({"close": 4999}, b"\x88\x02\x13\x87"),
        ({"text": "x" * 126}, b"\x81\x7e\x00\x7e" + b"x" * 126),
        ({"bytes": b"x" * 65536}, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"x" * 65536),
    ],
)
def test_a_reply_to_an_open_socket_on_the_wire(client: Client, reply: dict[str, Any], frames: bytes) -> None:
    client.accept()
    client.reply(reply, {"text": "mark"})
    expected = frames if b"\x88" in frames else frames + MARK
    assert client.read(len(expected)) == expected


def masked(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload), 1, 2, 3, 4]) + bytes(
        byte ^ mask for byte, mask in zip(payload, itertools.cycle((1, 2, 3, 4)), strict=False)
    )


def test_what_is_in_pieces_arrives_whole_and_pings_are_not_counted(client: Client) -> None:
    client.accept()
    client.socket.sendall(
        masked(0x01, "é".encode()[:1]) + masked(0x89, b"ping") + masked(0x00, "é".encode()[1:]) + masked(0x80, b"!")
    )
    assert client.read(6) == b"\x8a\x04ping"
    client.socket.sendall(masked(0x8A, b"pong nobody asked for") + masked(0x82, b"\xff") + masked(0x81, b""))
    messages = [client.consume(RECEIVE) for _ in range(3)]
    common = {"reply_channel": client.name, "path": client.path}
    assert messages == [
        {**common, "order": 1, "text": "é!"},
        {**common, "order": 2, "bytes": b"\xff"},
        {**common, "order": 3, "text": ""},
    ]


# Ends


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03\xe8", 1000), (b"\x03\xe9bye", 1001), (b"\x0f\xa1", 4001), (b"", 1005)],
)
def test_a_client_that_says_good_bye_gets_its_own_code_back(client: Client, payload: bytes, code: int) -> None:
    client.accept()
    client.socket.sendall(masked(0x88, payload))
    answer = client.read_all()
    assert answer[:1] == b"\x88"
    assert answer[2:4] == payload[:2]
    assert client.ended() == {"reply_channel": client.name, "path": client.path, "code": code, "order": 1}


def test_a_client_that_answers_our_good_bye_ends_with_its_code(client: Client) -> None:
    client.accept()
    client.reply({"close": 4001})
    assert client.read(4) == b"\x88\x02\x0f\xa1"
    client.socket.sendall(masked(0x88, b"\x0f\xa1"))
    assert client.read_all() == b""
    assert client.ended()["code"] == 4001


def test_a_client_that_does_not_answer_our_good_bye_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT", 0.1)
    with live() as server:
        client = Client(server)
        client.accept()
        client.reply({"close": 4001})
        assert client.consume(DISCONNECT)["code"] == 4001
        assert client.read_all() == b"\x88\x02\x0f\xa1"
        client.socket.close()


def test_frames_behind_our_good_bye_are_no_messages(client: Client) -> None:
    client.accept()
    client.reply({"close": True})
    assert client.read(4) == b"\x88\x02\x03\xe8"
    client.socket.sendall(masked(0x81, b"late") + masked(0x88, b"\x03\xe8"))
    assert client.ended()["order"] == 1


def test_messages_for_a_client_that_is_gone_reach_nobody(client: Client) -> None:
    client.accept()
    client.socket.close()
    client.ended()
    client.reply({"text": "late"})
    other = Client(client.server)
    with closing(other.socket):
        other.accept()
        other.reply({"text": "mark"})
        assert other.read(len(MARK)) == MARK


def test_an_idle_socket_is_pinged_and_closed_when_it_does_not_answer() -> None:
    with live(ping_interval=0.1, ping_timeout=scaled(0.5)) as server:
        client = Client(server)
        client.accept()
        for _ in range(2):
            ping = client.read(2)
            assert ping[:1] == b"\x89"
            client.socket.sendall(masked(0x8A, ping[2 : 2 + ping[1]]))
        while frame := client.read(2):
            assert frame[:1] in (b"\x89", b"\x88")
        assert client.ended()["code"] in (1006, 1011)


def test_a_whole_conversation_on_the_wire(client: Client) -> None:
    client.reply({"accept": True})
    assert client.read(len(ACCEPTED)) == ACCEPTED
    client.server.report(client.connect)
    client.reply({"text": "Hello World!"}, {"bytes": b"\xaa\xbb\xcc\xdd"}, {"close": True})
    wire = b"\x81\x0cHello World!\x82\x04\xaa\xbb\xcc\xdd\x88\x02\x03\xe8"
    assert client.read(len(wire)) == wire
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read_all() == b""


@pytest.mark.parametrize(("accepts", "answer"), [(True, b"\x88\x02\x03\xf3"), (False, b"HTTP/1.1 500 ")])
def test_an_application_that_fails_closes_its_socket_and_leaves_a_traceback(
    caplog: pytest.LogCaptureFixture, accepts: bool, answer: bytes
) -> None:
    async def application(scope: Scope, receive: Receive, send: SendEvent) -> None:
        if scope["type"] == "websocket":
            if accepts:
                await send({"type": "websocket.accept"})
            raise LookupError("for once")
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    server = Server(application, InterfaceConfig(), Listen(port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.ready.wait(scaled(10))
        with socket.create_connection(server.sockets[0].getsockname()[:2], 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\n" + HEADERS + b"\r\n")
            received = b"".join(iter(lambda: client.recv(65536), b""))
        assert received.rpartition(b"\r\n\r\n")[2 if accepts else 0].startswith(answer)
    finally:
        server.stop()
        thread.join(scaled(10))
    assert "LookupError: for once" in caplog.text
