"""The cases of the Autobahn test suite, by number: a raw client against an echo consumer on real sockets.

The suite itself needs Python 2; the frames of its cases are written here. Where it calls a behaviour "non-strict" ours
may differ: invalid UTF-8 is found at the end of a message, and a broken frame may overtake the echo of the message
before it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.interface_server.live import Live, live
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    COMPRESSED,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    TEXT,
    Deflate,
    Frame,
    RawWebSocket,
    binary,
    close,
    fragments,
    text,
)

CHANNELS = ["websocket.connect", "websocket.receive", "websocket.disconnect"]
DEFLATE = "permessage-deflate"
HELLO = "Hello, world!"
VALID = "κόσμε ☃ 𝄞 \U0010ffff"


def echo(server: Live) -> None:
    """Accept every socket and send each message back, until a message without a reply channel comes."""
    while True:
        channel, message = server.layer.receive(CHANNELS, block=True)
        if channel is None or message is None:
            continue
        if "reply_channel" not in message:
            return
        replies: dict[str, dict[str, Any]] = {
            "websocket.connect": {"accept": True},
            "websocket.receive": {key: message[key] for key in ("text", "bytes") if key in message},
        }
        if channel in replies:
            server.layer.send(message["reply_channel"], replies[channel])


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "with compression offered"])
def server(request: pytest.FixtureRequest) -> Iterator[Live]:
    with live(compression=request.param) as running:
        worker = threading.Thread(target=echo, args=(running,))
        worker.start()
        yield running
        running.layer.send("websocket.connect", {"end": True})
        worker.join()


def ping(payload: bytes = b"") -> Frame:
    return Frame(FIN | PING, payload)


def pong(payload: bytes = b"") -> Frame:
    return Frame(FIN | PONG, payload)


ECHOED: dict[str, tuple[list[Frame], list[Frame], int]] = {
    # case: what is sent, what comes back, in pieces of this many bytes
    **{f"1.1.{n}": ([text("*" * size)], [text("*" * size)], 0) for n, size in enumerate((0, 125, 126, 127, 128), 1)},
    "1.1.6": ([text("*" * 65535)], [text("*" * 65535)], 0),
    "1.1.7": ([text("*" * 65536)], [text("*" * 65536)], 0),
    "1.1.8": ([text("*" * 65536)], [text("*" * 65536)], 997),
    **{f"1.2.{n}": ([binary(b"\xfe" * size)],) * 2 + (0,) for n, size in enumerate((0, 125, 126, 127, 128), 1)},
    "1.2.6": ([binary(b"\xfe" * 65535)], [binary(b"\xfe" * 65535)], 0),
    "1.2.7": ([binary(b"\xfe" * 65536)], [binary(b"\xfe" * 65536)], 0),
    "1.2.8": ([binary(b"\xfe" * 65536)], [binary(b"\xfe" * 65536)], 997),
    "2.1": ([ping()], [pong()], 0),
    "2.2": ([ping(b"Hello")], [pong(b"Hello")], 0),
    "2.3": ([ping(b"\0\xff\xfe\xfd")], [pong(b"\0\xff\xfe\xfd")], 0),
    "2.4": ([ping(b"\xfe" * 125)], [pong(b"\xfe" * 125)], 0),
    "2.6": ([ping(b"\xfe" * 125)], [pong(b"\xfe" * 125)], 1),
    "2.7": ([pong()], [], 0),
    "2.8": ([pong(b"unsolicited")], [], 0),
    "2.9": ([pong(b"unsolicited"), ping(b"payload")], [pong(b"payload")], 0),
    "2.10": ([ping(b"%d" % n) for n in range(10)], [pong(b"%d" % n) for n in range(10)], 0),
    "2.11": ([ping(b"%d" % n) for n in range(10)], [pong(b"%d" % n) for n in range(10)], 1),
    **{
        f"5.{n}": (fragments(TEXT, b"fragment1", b"fragment2"), [text("fragment1fragment2")], chop)
        for n, chop in ((3, 0), (4, 8), (5, 1))
    },
    **{
        f"5.{n}": (
            [Frame(TEXT, b"fragment1"), ping(b"between"), Frame(FIN | CONTINUATION, b"fragment2")],
            [pong(b"between"), text("fragment1fragment2")],
            chop,
        )
        for n, chop in ((6, 0), (7, 8), (8, 1))
    },
    **{
        f"5.{n}": (
            [
                Frame(TEXT, b"1"),
                Frame(CONTINUATION, b"2"),
                ping(b"one"),
                Frame(CONTINUATION, b"3"),
                Frame(CONTINUATION, b"4"),
                ping(b"two"),
                Frame(FIN | CONTINUATION, b"5"),
            ],
            [pong(b"one"), pong(b"two"), text("12345")],
            chop,
        )
        for n, chop in ((19, 0), (20, 1))
    },
    "6.1.2": (fragments(TEXT, b"", b"", b""), [text("")], 0),
    "6.1.3": (fragments(TEXT, b"", b"middle", b""), [text("middle")], 0),
    "6.2.1": ([text(VALID)], [text(VALID)], 0),
    "6.2.2": (fragments(TEXT, VALID.encode()[:5], VALID.encode()[5:]), [text(VALID)], 0),
    "6.2.3": (fragments(TEXT, *(bytes([byte]) for byte in VALID.encode())), [text(VALID)], 0),
    "6.2.4": (fragments(TEXT, *(bytes([byte]) for byte in "κόσμε".encode())), [text("κόσμε")], 1),
    "6.5": ([text("\0")], [text("\0")], 0),
    "6.9": ([text("\x7f\u07ff\uffff\U0010ffff")], [text("\x7f\u07ff\uffff\U0010ffff")], 0),
    "6.11": ([text("\ud7ff\ue000\ufffd")], [text("\ud7ff\ue000\ufffd")], 0),
    "6.22": ([text("\ufffe\U0001fffe\U0010ffff")], [text("\ufffe\U0001fffe\U0010ffff")], 0),
    "6.23": ([text("\ufff9\ufffa\ufffb\ufffc\ufffd")], [text("\ufff9\ufffa\ufffb\ufffc\ufffd")], 0),
    **{f"9.1.{n}": ([text("*" * size)], [text("*" * size)], 0) for n, size in ((1, 65536), (2, 262144), (3, 1 << 20))},
    "9.1.4": ([text("*" * (4 << 20))], [text("*" * (4 << 20))], 0),
    "9.2.3": ([binary(b"\0" * (1 << 20))], [binary(b"\0" * (1 << 20))], 0),
    "9.2.4": ([binary(b"\0" * (4 << 20))], [binary(b"\0" * (4 << 20))], 0),
    "9.3.7": (fragments(TEXT, *(b"*" * (1 << 18) for _ in range(16))), [text("*" * (4 << 20))], 0),
    "9.4.4": (fragments(BINARY, *(b"*" * 4096 for _ in range(1000))), [binary(b"*" * 4096 * 1000)], 0),
    "9.5.1": ([text("*" * (1 << 20))], [text("*" * (1 << 20))], 1024),
    "9.6.3": ([binary(b"*" * (1 << 20))], [binary(b"*" * (1 << 20))], 256),
    "9.7.2": ([text("*" * 16)] * 1000, [text("*" * 16)] * 1000, 0),
    "9.8.5": ([binary(b"*" * 1024)] * 1000, [binary(b"*" * 1024)] * 1000, 0),
    "10.1.1": (fragments(TEXT, *(b"*" * 1300 for _ in range(51))), [text("*" * 66300)], 0),
}


@pytest.mark.parametrize("case", ECHOED)
def test_what_is_valid_comes_back(server: Live, case: str) -> None:
    sent, expected, chop = ECHOED[case]
    with RawWebSocket(server.port) as client:
        client.send(*sent, chop=chop)
        assert [client.receive() for _ in expected] == expected
        client.send(close(1000))  # 7.1.1
        assert client.receive_all() == [close(1000)], "and nothing else"


RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
LATE = [text("later"), ping(b"later")]
BROKEN: dict[str, tuple[int, list[Frame]]] = {
    # case: the close code, the frames from the broken one on
    "2.5": (1002, [ping(b"\xfe" * 126)]),
    "3.1": (1002, [Frame(FIN | RSV1 | TEXT, b"a")]),
    "3.2": (1002, [Frame(FIN | RSV2 | TEXT, b"a"), ping()]),
    "3.5": (1002, [Frame(FIN | RSV3 | RSV1 | BINARY, b"a")]),
    "3.6": (1002, [Frame(FIN | RSV1 | RSV2 | PING, b"a")]),
    "3.7": (1002, [Frame(FIN | RSV1 | RSV2 | RSV3 | CLOSE)]),
    **{f"4.1.{opcode - 2}": (1002, [Frame(FIN | opcode, b"a")]) for opcode in range(3, 8)},
    **{f"4.2.{opcode - 10}": (1002, [Frame(FIN | opcode, b"a")]) for opcode in range(11, 16)},
    "5.1": (1002, fragments(PING, b"a", b"b")),
    "5.2": (1002, fragments(PONG, b"a", b"b")),
    "5.9": (1002, [Frame(FIN | CONTINUATION, b"nothing to continue"), text("a")]),
    "5.12": (1002, [Frame(CONTINUATION, b"nothing to continue"), text("a")]),
    "5.16": (1002, [Frame(CONTINUATION, b"a"), Frame(TEXT, b"b"), Frame(FIN | CONTINUATION, b"c")]),
    "5.18": (1002, [Frame(TEXT, b"a"), Frame(FIN | TEXT, b"b")]),
    "6.3.1": (1007, [text(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited")]),
    "6.3.2": (1007, fragments(TEXT, *(bytes([byte]) for byte in b"\xce\xba\xed\xa0\x80edited"))),
    "6.4.1": (1007, fragments(TEXT, b"\xce\xba", b"\xf4\x90\x80\x80", b"edited")),
    "6.4.4": (1007, fragments(TEXT, b"\xce\xba\xf4", b"\x90")),
    "6.6.1": (1007, [text(b"\xce")]),
    "6.8.1": (1007, [text(b"\xf8\x88\x80\x80\x80")]),
    "6.10.1": (1007, [text(b"\xf7\xbf\xbf\xbf")]),
    "6.12.1": (1007, [text(b"\x80")]),
    "6.14.1": (1007, [text(b"\xc0 \xc1 ")]),
    "6.16.1": (1007, [text(b"\xfe")]),
    "6.18.1": (1007, [text(b"\xc0\xaf")]),
    "6.20.1": (1007, [text(b"\xed\xa0\x80")]),
    "6.21.1": (1007, [text(b"\xed\xa0\x80\xed\xb0\x80")]),
    "7.3.2": (1002, [Frame(FIN | CLOSE, b"a")]),
    "7.3.6": (1002, [close(1000, "*" * 124)]),
    "7.5.1": (1007, [close(1000, b"\xce\xba\xed\xa0\x80")]),
    **{
        f"7.9.{n}": (1002, [close(code)])
        for n, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1)
    },
    "7.13.1": (1002, [close(5000)]),
    "7.13.2": (1002, [close(65535)]),
}


@pytest.mark.parametrize("chop", [0, 1])
@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_ends_the_socket_with_its_code(server: Live, case: str, chop: int) -> None:
    code, frames = BROKEN[case]
    if chop and sum(len(frame.payload) for frame in frames) > 1000:
        pytest.skip("too large to send byte by byte")
    with RawWebSocket(server.port) as client:
        client.send(text(HELLO))
        assert client.receive() == text(HELLO)
        with suppress(OSError):  # the server may close while the rest is being sent
            client.send(*frames, *(LATE if code == 1002 else LATE[:1]), chop=chop)
        received = client.receive_all()
    assert [frame.first for frame in received] == [FIN | CLOSE], received
    assert int.from_bytes(received[0].payload[:2], "big") == code


def test_a_message_beyond_the_limit_ends_the_socket_before_all_of_it_came(server: Live) -> None:  # 9.1.5
    with RawWebSocket(server.port) as client:
        client.send_bytes(text("*" * ((4 << 20) + 1)).encoded()[:1000])
        received = client.receive_all()
    assert [int.from_bytes(frame.payload[:2], "big") for frame in received] == [1009]


CLOSES: dict[str, tuple[list[Frame], list[Frame]]] = {
    "7.1.2": ([close(1000), close(1000)], [close(1000)]),
    "7.1.3": ([close(1000), ping(b"a")], [close(1000)]),
    "7.1.4": ([close(1000), text("a")], [close(1000)]),
    "7.1.5": ([Frame(TEXT, b"a"), close(1000), Frame(FIN | CONTINUATION, b"b")], [close(1000)]),
    "7.3.1": ([close(None)], [close(None)]),
    "7.3.4": ([close(1000, "Hello World!")], [close(1000)]),
    "7.3.5": ([close(1000, "*" * 123)], [close(1000)]),
    **{
        f"7.7.{n}": ([close(code)], [close(code)])
        for n, code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1)
    },
}


@pytest.mark.parametrize("case", CLOSES)
def test_a_close_is_answered_once_with_its_code(server: Live, case: str) -> None:
    sent, expected = CLOSES[case]
    with RawWebSocket(server.port) as client:
        client.send(*sent)
        received = client.receive_all()
    assert [Frame(frame.first, frame.payload[:2]) for frame in received] == expected


PARAMETERS = {
    "12": DEFLATE,
    "13.1": f"{DEFLATE}; client_no_context_takeover",
    "13.2": f"{DEFLATE}; server_no_context_takeover",
    "13.3": f"{DEFLATE}; client_max_window_bits; server_max_window_bits=9",
    "13.4": f"{DEFLATE}; client_max_window_bits=15; server_max_window_bits=15",
    "13.6": f"{DEFLATE}; client_max_window_bits=9; client_no_context_takeover; server_no_context_takeover",
    "13.7": f"{DEFLATE}; server_max_window_bits=9, {DEFLATE}; client_max_window_bits, {DEFLATE}",
}


@pytest.fixture(scope="module")
def compressing(server: Live) -> Live:
    with RawWebSocket(server.port, extensions=DEFLATE) as client:
        if not client.extensions:
            pytest.skip("this one does not compress")
    return server


@pytest.mark.parametrize("size", [16, 64, 256, 1024, 8192, 131072])
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_compressed_messages_come_back(compressing: Live, parameters: str, size: int) -> None:
    with RawWebSocket(compressing.port, extensions=PARAMETERS[parameters]) as client:
        deflate = Deflate(client.extensions)
        for number in range(20):
            payload = (b'{"number": %d, "text": "%s"}' % (number, b"abc" * size))[:size]
            client.send(deflate.frame(TEXT if number % 2 else BINARY, payload))
            answer = client.receive()
            assert answer is not None
            assert answer.first & 0x0F == (TEXT if number % 2 else BINARY)
            assert deflate.content(answer) == payload
        client.send(close(1000))
        assert client.receive_all() == [close(1000)]


def test_a_compressed_message_may_come_in_fragments_and_between_plain_ones(compressing: Live) -> None:
    with RawWebSocket(compressing.port, extensions=DEFLATE) as client:
        deflate = Deflate(client.extensions)
        whole = deflate.frame(TEXT, b"compressed" * 100)
        client.send(
            Frame(COMPRESSED | TEXT, whole.payload[:5]), ping(b"a"), Frame(FIN | CONTINUATION, whole.payload[5:])
        )
        client.send(text("plain"))
        received = [client.receive() for _ in range(3)]
        assert received[0] == pong(b"a")
        assert [deflate.content(frame) for frame in received[1:] if frame] == [b"compressed" * 100, b"plain"]


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(FIN | COMPRESSED | PING, b"a")],
        [Frame(FIN | COMPRESSED | TEXT, b"\xff\xff\xff no deflate")],
        [Frame(COMPRESSED | TEXT, b"a"), Frame(FIN | COMPRESSED | CONTINUATION, b"b")],
    ],
)
def test_broken_compression_ends_the_socket(compressing: Live, frames: list[Frame]) -> None:
    with RawWebSocket(compressing.port, extensions=DEFLATE) as client:
        client.send(*frames, *LATE)
        received = client.receive_all()
    assert [frame.first for frame in received] == [FIN | CLOSE]
    assert int.from_bytes(received[0].payload[:2], "big") in (1002, 1007)
