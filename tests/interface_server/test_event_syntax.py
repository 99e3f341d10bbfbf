"""The fields of event streams, read back as WHATWG HTML, section 9.2.6, "Interpreting an event stream", says."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.event_syntax import (
    HEARTBEAT,
    MOST_ID,
    encode_event,
    encode_id,
    encode_retry,
    join_cursors,
    split_cursors,
)
from tests.support.event_source import Event, StreamParser


def read(*parts: bytes) -> StreamParser:
    parser = StreamParser()
    for part in parts:
        parser.feed(part)
    return parser


@pytest.mark.parametrize(
    "text",
    [
        "Hello",
        "",
        " one space is kept",
        "two\nlines",
        "\n",
        "\n\n",
        "at the end\n",
        "id: 7\nretry: 1\nevent: x",
        ": no comment",
        "data: data",
        "\ufeffmark",
        "nul \0, ünï, 🎉, \x1b[0m, \u2028 \x85 \x0b \x0c no line ends",
        '{"a": "b\\n"}',
    ],
)
def test_a_text_arrives_unchanged_whatever_is_in_it(text: str) -> None:
    assert read(encode_event(text)).events == [Event(text)]


@pytest.mark.parametrize(("sent", "read_as"), [("a\rb", "a\nb"), ("a\r\nb", "a\nb"), ("a\n\rb\r", "a\n\nb\n")])
def test_each_line_end_of_the_standard_arrives_as_a_line_feed(sent: str, read_as: str) -> None:
    assert read(encode_event(sent)).events == [Event(read_as)]


def test_an_event_has_an_id_and_a_name_if_they_are_given() -> None:
    assert encode_event("a\nb", "room 1-2", "gap") == b"event: gap\nid: room 1-2\ndata: a\ndata: b\n\n"
    parser = read(encode_event("a", "1", "x"), encode_event("b"))
    assert parser.events == [Event("a", "x"), Event("b")]
    assert parser.last_event_id == "1"  # it stays until another one comes


def test_an_id_alone_is_remembered_and_no_event() -> None:
    parser = read(encode_id("room 1-2"))
    assert (parser.events, parser.last_event_id) == ([], "room 1-2")


def test_a_heartbeat_is_a_comment_and_a_time_is_in_whole_milliseconds() -> None:
    parser = read(HEARTBEAT, encode_retry(2.3456), HEARTBEAT)
    assert (parser.events, parser.comments, parser.retry) == ([], 2, 2345)


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode_event("\ud800")


def test_an_id_holds_the_cursors_of_all_groups() -> None:
    cursors = {"auction.42": "17-5", "news": "17-9"}
    assert join_cursors(cursors) == "auction.42 17-5, news 17-9"
    assert split_cursors(join_cursors(cursors)) == cursors


@pytest.mark.parametrize("text", ["", ",", "room", "room 1 2", "x" * 101 + " 1-1", "room " + "x" * 101, "\0", ", ,, ,"])
def test_an_id_that_holds_no_cursor_gives_none(text: str) -> None:
    assert split_cursors(text) == {}


def test_an_id_that_is_too_long_gives_no_cursors() -> None:
    assert split_cursors("room 1-1," * (MOST_ID // 9 + 1)) == {}
    assert split_cursors("room 1-1, broken, hall 1-2") == {"room": "1-1", "hall": "1-2"}
