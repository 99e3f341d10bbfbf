"""The table of the ASGI draft for messages to a WebSocket, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic.interface_server.decision import Decision, decide

WAITING = [
    ({"accept": True}, Decision(accept=True)),
    ({"accept": True, "text": "a"}, Decision(accept=True, payload="a")),
    ({"accept": True, "bytes": b"a"}, Decision(accept=True, payload=b"a")),
    ({"accept": True, "close": True}, Decision(accept=True, close=1000)),
    ({"accept": True, "text": "a", "close": 4001}, Decision(accept=True, payload="a", close=4001)),
    ({"accept": False}, Decision(deny=True)),
    ({"accept": False, "text": "a"}, Decision(deny=True)),
    ({"accept": False, "close": 4001}, Decision(deny=True)),
    ({"text": "a"}, Decision(accept=True, payload="a")),
    ({"bytes": b"a"}, Decision(accept=True, payload=b"a")),
    ({"text": "a", "close": True}, Decision(accept=True, payload="a", close=1000)),
    ({"close": True}, Decision(deny=True)),
    ({"close": 4001}, Decision(deny=True)),
    ({"text": ""}, Decision()),
    ({"bytes": b"", "close": False}, Decision()),
    ({"accept": None}, Decision()),
    ({}, Decision()),
]

OPEN = [
    ({"text": "a"}, Decision(payload="a")),
    ({"bytes": b"a", "text": None}, Decision(payload=b"a")),
    ({"accept": True, "text": "a"}, Decision(payload="a")),
    ({"accept": False, "text": "a"}, Decision(payload="a")),
    ({"accept": False}, Decision()),
    ({"text": "a", "close": True}, Decision(payload="a", close=1000)),
    ({"close": True}, Decision(close=1000)),
    ({"close": 3000}, Decision(close=3000)),
    ({"close": 1013}, Decision(close=1013)),
    ({"close": False}, Decision()),
    ({"close": 0}, Decision()),
    ({"text": ""}, Decision()),
]

MEANINGLESS: list[dict[str, Any]] = [
    {"text": "a", "bytes": b"a"},
    {"text": b"a"},
    {"bytes": "a"},
    {"txt": "a"},
    {"close": 5},
    {"close": 1005},
    {"close": 5000},
    {"close": "yes"},
]


@pytest.mark.parametrize(("message", "decision"), WAITING)
def test_what_a_message_asks_of_an_undecided_handshake(message: dict[str, Any], decision: Decision) -> None:
    assert decide(message, waiting=True) == decision


@pytest.mark.parametrize(("message", "decision"), OPEN)
def test_what_a_message_asks_of_an_open_socket(message: dict[str, Any], decision: Decision) -> None:
    assert decide(message, waiting=False) == decision


@pytest.mark.parametrize("message", MEANINGLESS)
def test_a_message_without_meaning_is_refused_in_a_sentence(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|not both"):
        decide(message, waiting=False)
