"""Tests of the place where a request begins in what was read, without a parser."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.server.unread import Unread


def test_each_head_is_found_behind_what_was_reported() -> None:
    unread = Unread()
    unread.add(b"\r\nPOST /1\r\n\r\nabc\r\n\r\nPOST /2\r\n\r\n2;x\r\n")
    assert unread.take_head().startswith(b"POST /1")
    unread.skip(3)
    assert unread.take_head().startswith(b"POST /2")
    unread.skip_line()
    unread.trim()
    unread.add(b"de\r\n0\r")
    unread.skip(2)
    unread.skip_line()
    unread.trim()
    unread.add(b"\nA: b\r\n\r\nGET /3")
    for _ in ("the last chunk", "its trailer", "its end"):
        unread.skip_line()
    assert unread.head == b"GET /3"


def test_what_was_not_read_cannot_be_reported() -> None:
    unread = Unread()
    unread.add(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ValueError, match="not found"):
        unread.take_head()
    unread.clear()
    with pytest.raises(ValueError, match="not found"):
        unread.skip_line()
