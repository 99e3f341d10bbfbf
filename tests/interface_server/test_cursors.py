"""The sub-protocol of clients that recover: what they offer, and what they get."""

from __future__ import annotations

import base64
import json

import pytest

from channels_classic.interface_server.cursors import CURSORS, MOST_CURSORS, PROTOCOL, cursors_of, note, with_cursor


def offer(value: object) -> list[str]:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return ["chat", PROTOCOL, CURSORS + base64.urlsafe_b64encode(text).decode().rstrip("=")]


def test_a_client_that_does_not_recover_has_no_cursors() -> None:
    assert cursors_of([]) is None
    assert cursors_of(["chat", CURSORS + "e30"]) is None


def test_the_cursors_of_a_client_are_read() -> None:
    assert cursors_of([PROTOCOL]) == {}
    assert cursors_of(offer({"room": "12-3", "hall": "x"})) == {"room": "12-3", "hall": "x"}


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"{", b"\xff", [], "room", 1, None, b"[" * 100_000, {"x" * 101: "1-1", "room": 3}, {"room": "x" * 101}),
        # Halves of a surrogate pair, which no message can carry.
        *({"room": "\ud800"}, {"\udfff": "1-1"}, {"räum": "1-1"}),
    ],
)
def test_what_is_no_cursor_is_left_out(value: object) -> None:
    assert cursors_of(offer(value)) == {}


def test_too_many_cursors_are_none() -> None:
    assert cursors_of(offer({str(number): "1-1" for number in range(MOST_CURSORS + 1)})) == {}
    assert cursors_of([PROTOCOL, CURSORS + "!"]) == {}
    assert cursors_of([PROTOCOL, CURSORS]) == {}


def test_messages_and_notes_have_a_line_at_their_head() -> None:
    assert with_cursor("room 1-2", "text\n") == "room 1-2\ntext\n"
    assert with_cursor("", b"\xff") == b"\n\xff"
    assert note("room", "1-2", gap=True) == "room 1-2 gap\n"
    assert note("room", "1-2", gap=False) == "room 1-2 at\n"
