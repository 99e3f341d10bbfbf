"""Frames to messages: each rule of RFC 6455 on what a client may send, however its bytes are cut."""

from __future__ import annotations

import zlib
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from channels_classic.interface_server.server.websocket_reader import (
    BINARY,
    CLOSE,
    MAX_FRAGMENTS,
    PING,
    PONG,
    TEXT,
    InvalidFrame,
    MessageReader,
    close_frame,
    control_frame,
)

MASK = b"\x01\x80\xff\x37"


def frame(first: int, payload: bytes = b"", *, length: bytes | None = None) -> bytes:
    """One masked frame; with `length`, the bytes that say how long it is."""
    size = len(payload)
    if length is not None:
        pass
    elif size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first]) + length + MASK + bytes(a ^ b for a, b in zip(payload, cycle(MASK), strict=False))


def deflate() -> PerMessageDeflate:
    return PerMessageDeflate(False, False, 12, 12, {})


def read(
    data: bytes, step: int = 0, *, max_size: int = 100_000, extension: PerMessageDeflate | None = None
) -> list[Any]:
    """All events of `data`, which comes `step` bytes at a time."""
    reader = MessageReader(max_size, extension)
    events = []
    step = step or max(len(data), 1)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while event := reader.next():
            events.append(event)
    return events


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (frame(0x81, b"hello"), (TEXT, "hello")),
        (frame(0x81), (TEXT, "")),
        (frame(0x82, b"\xff\x00"), (BINARY, b"\xff\x00")),
        (frame(0x82), (BINARY, b"")),
        (frame(0x82, b"a" * 125), (BINARY, b"a" * 125)),
        (frame(0x82, b"a" * 126), (BINARY, b"a" * 126)),
        (frame(0x82, b"a" * 65535), (BINARY, b"a" * 65535)),
        (frame(0x82, b"a" * 65536), (BINARY, b"a" * 65536)),
        (frame(0x89, b"x" * 125), (PING, b"x" * 125)),
        (frame(0x8A), (PONG, b"")),
        (frame(0x88), (CLOSE, (1005, ""))),
        (frame(0x88, b"\x03\xe8"), (CLOSE, (1000, ""))),
        (frame(0x88, b"\x0f\xa1" + "tschüs".encode()), (CLOSE, (4001, "tschüs"))),
    ],
)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_frame_is_one_event(data: bytes, event: Any, step: int) -> None:
    assert read(data, step) == [event]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(TEXT), st.text(max_size=300)),
            st.tuples(st.just(BINARY), st.binary(max_size=300)),
            st.tuples(st.just(PING), st.binary(max_size=125)),
        ),
        max_size=20,
    ),
    st.integers(0, 400),
)
def test_messages_come_out_as_they_were_put_in(events: list[tuple[int, Any]], step: int) -> None:
    data = b"".join(frame(0x80 | op, content.encode() if op == TEXT else content) for op, content in events)
    assert read(data, step) == events


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=10), st.integers(0, 50))
def test_fragments_are_one_message_and_control_frames_between_them_come_first(parts: list[bytes], step: int) -> None:
    data = frame(0x02, parts[0])
    for part in parts[1:-1]:
        data += frame(0x89, b"p") + frame(0x00, part)
    data += frame(0x80, parts[-1])
    assert read(data, step) == [*[(PING, b"p")] * (len(parts) - 2), (BINARY, b"".join(parts))]


def test_frames_that_are_no_message_are_counted() -> None:
    reader = MessageReader(1000)
    reader.feed(frame(0x81, b"a") + frame(0x01, b"b") + frame(0x89) + frame(0x00) + frame(0x80))
    while reader.next():
        pass
    assert reader.overhead == 3


def test_a_character_may_be_cut_by_fragments() -> None:
    data = "é".encode()
    assert read(frame(0x01, data[:1]) + frame(0x80, data[1:])) == [(TEXT, "é")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (frame(0xC1, b"a"), 1002),  # compressed, which was not agreed
        (frame(0xA1, b"a"), 1002),
        (frame(0x91, b"a"), 1002),
        (frame(0x83), 1002),
        (frame(0x8B), 1002),
        (frame(0x09), 1002),  # a ping in fragments
        (frame(0x89, b"a" * 126), 1002),
        (frame(0x88, b"a" * 126), 1002),
        (frame(0x80), 1002),  # nothing to continue
        (frame(0x00), 1002),
        (frame(0x01) + frame(0x81), 1002),  # a message in the middle of another one
        (frame(0x88, b"\x03"), 1002),
        *[(frame(0x88, code.to_bytes(2, "big")), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)],
        (frame(0x88, b"\x03\xe8\xff"), 1007),
        (frame(0x81, b"\xc3"), 1007),
        (frame(0x01, b"\xc3") + frame(0x80, b"\x28"), 1007),
        (frame(0x82, b"a" * 1001), 1009),
        (frame(0x82, length=b"\xfe\x03\xe9"), 1009),  # before its content comes
        (frame(0x82, length=b"\xff" + b"\xff" * 8), 1009),
        (frame(0x02, b"a" * 600) + frame(0x80, b"a" * 401), 1009),
        (frame(0x02) + frame(0x00) * MAX_FRAGMENTS, 1008),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_an_invalid_frame_is_answered_with_its_code(data: bytes, code: int, step: int) -> None:
    with pytest.raises(InvalidFrame) as raised:
        read(data, step, max_size=1000)
    assert raised.value.code == code


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3\x28", b"\xf4\x90", b"\xe2\x82x"])
def test_a_text_that_is_no_utf_8_is_refused_at_the_fragment_that_shows_it(broken: bytes) -> None:
    beginning = frame(0x01, b"good" + broken[:1]) + frame(0x89, b"p")
    with pytest.raises(InvalidFrame) as raised:
        read(beginning + frame(0x00, broken[1:]))
    assert raised.value.code == 1007


def test_a_character_at_the_end_of_a_text_must_be_complete() -> None:
    cut = "€".encode()[:2]
    assert read(frame(0x01, b"a") + frame(0x00, cut)) == []
    with pytest.raises(InvalidFrame):
        read(frame(0x01, b"a") + frame(0x00, cut) + frame(0x80))


def test_bytes_in_fragments_are_not_taken_for_text() -> None:
    assert read(frame(0x02, b"\xff") + frame(0x80, b"\xc3")) == [(BINARY, b"\xff\xc3")]
    assert read(frame(0x01, b"a") + frame(0x80, b"b") + frame(0x02, b"\xff") + frame(0x80, b"")) == [
        (TEXT, "ab"),
        (BINARY, b"\xff"),
    ]


def test_a_control_frame_is_read_while_a_message_is_as_large_as_it_may_be() -> None:
    assert read(frame(0x02, b"a" * 1000) + frame(0x89) + frame(0x80), max_size=1000)[0] == (PING, b"")


@pytest.mark.parametrize("size", [0, 10, 1000])
def test_compressed_messages_are_unpacked(size: int) -> None:
    packed = deflate().encode(Frame(Opcode.TEXT, b"a" * size))
    data = frame(0xC1, bytes(packed.data)) + frame(0x81, b"plain")
    assert read(data, max_size=1000, extension=deflate()) == [(TEXT, "a" * size), (TEXT, "plain")]
    half = len(packed.data) // 2
    cut = frame(0x41, bytes(packed.data[:half])) + frame(0x80, bytes(packed.data[half:]))
    assert read(cut, max_size=1000, extension=deflate()) == [(TEXT, "a" * size)]


def finished(content: bytes) -> bytes:
    """One whole stream, which ends with a final block."""
    packer = zlib.compressobj(wbits=-12)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("end", [b"\0", b""], ids=["as the RFC has it", "without the byte of a new stream"])
def test_a_stream_that_ends_in_a_message_is_followed_by_another(takeover: bool, end: bytes) -> None:
    assert finished(b"Hello") == bytes.fromhex("f348cdc9c90700"), "the example of RFC 7692, section 7.2.3.4"
    data = frame(0xC1, finished(b"Hello") + end) + frame(0xC1, finished(b"a" * 500) + end)
    data += frame(0x41, finished(b"b")) + frame(0x80, bytes(deflate().encode(Frame(Opcode.TEXT, b"c" * 500)).data))
    extension = PerMessageDeflate(not takeover, False, 12, 12, {})
    assert read(data, extension=extension) == [(TEXT, "Hello"), (TEXT, "a" * 500), (TEXT, "b" + "c" * 500)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0xC2, finished(b"a") * 3), 1002),
        (frame(0xC2, finished(b"a" * 1000) + finished(b"a")), 1009),
        (frame(0xC2, finished(b"a" * 1000) + bytes(deflate().encode(Frame(Opcode.TEXT, b"b")).data)), 1009),
        (frame(0x42, finished(b"a" * 1000)) + frame(0x80, b"\x4a\x02\x00"), 1009),
        (frame(0x41, b"a") + frame(0xC0, b"a"), 1002),
    ],
)
def test_what_follows_the_end_of_a_stream_is_limited_too(data: bytes, code: int) -> None:
    with pytest.raises(InvalidFrame) as raised:
        read(data, max_size=1000, extension=deflate())
    assert raised.value.code == code


def test_a_message_that_is_too_large_unpacked_is_refused() -> None:
    packed = deflate().encode(Frame(Opcode.TEXT, b"a" * 1001))
    with pytest.raises(InvalidFrame) as raised:
        read(frame(0xC1, bytes(packed.data)), max_size=1000, extension=deflate())
    assert raised.value.code == 1009


def test_what_waits_is_known() -> None:
    reader = MessageReader(1000)
    reader.feed(frame(0x02, b"a" * 100) + frame(0x00, b"b" * 50)[:-1])
    assert reader.next() is None
    assert reader.buffered == 100 + 6 + 49
    reader.feed(frame(0x00, b"b" * 50)[-1:])
    assert reader.next() is None
    assert reader.buffered == 150
    reader.feed(frame(0x80))
    assert reader.next() == (BINARY, b"a" * 100 + b"b" * 50)
    assert reader.buffered == 0


def test_frames_to_clients() -> None:
    assert close_frame(1000) == b"\x88\x02\x03\xe8"
    assert close_frame(4001, "é") == b"\x88\x04\x0f\xa1\xc3\xa9"
    assert close_frame(1005) == b"\x88\x00"
    assert control_frame(PONG, b"abc") == b"\x8a\x03abc"
