"""The table of the ASGI draft for messages to a WebSocket, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic.interface_server.replies import ParsedReply, parse_reply

WAITING = [
    ({"accept": True}, ParsedReply(accept=True)),
    ({"accept": True, "text": "a"}, ParsedReply(accept=True, payload="a")),
    ({"accept": True, "bytes": b"a"}, ParsedReply(accept=True, payload=b"a")),
    ({"accept": True, "close": True}, ParsedReply(accept=True, close=1000)),
    ({"accept": True, "text": "a", "close": 4001}, ParsedReply(accept=True, payload="a", close=4001)),
    ({"accept": False}, ParsedReply(deny=True)),
    ({"accept": False, "text": "a"}, ParsedReply(deny=True)),
    ({"accept": False, "close": 4001}, ParsedReply(deny=True)),
    ({"text": "a"}, ParsedReply(accept=True, payload="a")),
    ({"bytes": b"a"}, ParsedReply(accept=True, payload=b"a")),
    ({"text": "a", "close": True}, ParsedReply(accept=True, payload="a", close=1000)),
    ({"close": True}, ParsedReply(deny=True)),
    ({"close": 4001}, ParsedReply(deny=True)),
    ({"text": ""}, ParsedReply()),
    ({"bytes": b"", "close": False}, ParsedReply()),
    ({"text": "", "close": True}, ParsedReply(deny=True)),
    ({"accept": True, "text": ""}, ParsedReply(accept=True, payload="")),
    ({"accept": False, "text": ""}, ParsedReply(deny=True)),
    ({"accept": None, "close": False}, ParsedReply()),
]

OPEN = [
    ({"text": "a"}, ParsedReply(payload="a")),
    ({"bytes": b"a", "text": None}, ParsedReply(payload=b"a")),
    ({"accept": True, "text": "a"}, ParsedReply(payload="a")),
    ({"accept": False, "text": "a"}, ParsedReply(payload="a")),
    ({"accept": False}, ParsedReply()),
    ({"text": "a", "close": True}, ParsedReply(payload="a", close=1000)),
    ({"close": True}, ParsedReply(close=1000)),
    ({"close": 3000}, ParsedReply(close=3000)),
    ({"close": 1013}, ParsedReply(close=1013)),
    ({"close": False}, ParsedReply()),
    ({"close": 0}, ParsedReply()),
    ({"text": ""}, ParsedReply(payload="")),
    ({"bytes": b""}, ParsedReply(payload=b"")),
    ({"text": "", "bytes": b"a"}, ParsedReply(payload=b"a")),
    ({"text": "a", "bytes": b""}, ParsedReply(payload="a")),
    ({"text": "", "bytes": b""}, ParsedReply(payload="")),
    ({"text": "", "close": True}, ParsedReply(payload="", close=1000)),
]

MEANINGLESS: list[dict[Any, Any]] = [
    {"text": "a", "bytes": b"a"},
    {"text": b"a"},
    {"bytes": "a"},
    {"txt": "a"},
    {"txt": "a", 5: "b"},  # which the layers carry
    {"text": 0},
    {"text": ["a"]},
    {"bytes": 0, "close": True},
    {"accept": "yes"},
    {"accept": ""},
    {"accept": None},
    {},
]

NO_CODES: list[Any] = [5, 999, 1004, 1005, 1006, 1015, 2999, 5000, -1, "yes", ""]


@pytest.mark.parametrize(("message", "parsed"), WAITING)
def test_what_a_message_asks_of_an_undecided_handshake(message: dict[str, Any], parsed: ParsedReply) -> None:
    assert parse_reply(message, waiting=True) == parsed


@pytest.mark.parametrize(("message", "parsed"), OPEN)
def test_what_a_message_asks_of_an_open_socket(message: dict[str, Any], parsed: ParsedReply) -> None:
    assert parse_reply(message, waiting=False) == parsed


@pytest.mark.parametrize("message", MEANINGLESS)
@pytest.mark.parametrize("waiting", [True, False])
def test_a_message_without_meaning_is_refused_in_a_sentence(message: dict[str, Any], waiting: bool) -> None:
    with pytest.raises(ValueError, match=r"expected|not both"):
        parse_reply(message, waiting=waiting)


@pytest.mark.parametrize("code", NO_CODES)
def test_a_close_code_that_no_endpoint_may_send_is_refused_in_a_sentence(code: Any) -> None:
    with pytest.raises(ValueError, match=rf"^'close' is {code!r} of type \w+: expected true, 1000 to 1014"):
        parse_reply({"close": code}, waiting=False)


@pytest.mark.parametrize("code", [5, 1005, 5000])
def test_a_handshake_is_refused_whatever_the_code(code: int) -> None:
    assert parse_reply({"close": code}, waiting=True) == ParsedReply(deny=True)


def test_the_sentence_shows_what_was_given_but_not_all_of_it() -> None:
    with pytest.raises(ValueError, match=r"^'text' is \{'a': 1\} of type dict, expected text$"):
        parse_reply({"text": {"a": 1}}, waiting=False)
    with pytest.raises(ValueError, match=r"^'bytes' is 'x+\.\.\.x+' of type str, expected bytes$") as caught:
        parse_reply({"bytes": "x" * 1_000_000}, waiting=False)
    assert len(str(caught.value)) < 150
