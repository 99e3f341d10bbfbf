"""How a response begins, and how much content it may have: what a consumer said comes in, what is written out. Pure.

Where it ends is decided here: with a length that is wrong, a proxy would take the rest for the answer to somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

LENGTH = b"content-length"

OURS = (LENGTH, b"transfer-encoding", b"date")
"""Headers that the server writes; a second one of any of them is an error (RFC 9110, section 5.2)."""

EMPTY = (204, 304)
"""Statuses of responses that end with their headers (RFC 9112, section 6.3)."""


class Content:
    """What a response may still carry: nothing when `empty`, else as many bytes as were declared, if they were."""

    def __init__(self, empty: bool, length: int | None) -> None:
        self._empty = empty
        self._left = self._length = length

    def part(self, content: bytes, more: bool) -> bytes:
        """What of `content` is written; `more` follows. Raises `ValueError` when that is not what was declared."""
        if self._empty:
            return b""
        if self._left is not None:
            self._left -= len(content)
            if self._left < 0 or (self._left and not more):
                words = "more" if self._left < 0 else "fewer"
                raise ValueError(f"its content has {words} bytes than its Content-Length of {self._length}")
        return content


def begin(message: Mapping[str, Any], method: str, size: int | None) -> tuple[dict[str, Any], Content]:
    """The event that begins a response, and what may follow; `size` is that of its content where all of it is known.

    Raises `ValueError` for what must not go over the wire.
    """
    status = message["status"]
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"its status is {status!r}, expected an integer from 200 to 599")
    given = message.get("headers") or []
    if not isinstance(given, list):
        raise ValueError(f"its headers are of type {type(given).__name__}, expected a list of pairs")
    headers = [header_pair(pair) for pair in given]
    length = _declared([value for name, value in headers if name == LENGTH])
    headers = [pair for pair in headers if pair[0] not in OURS]
    empty = status in EMPTY
    if not empty and method != "HEAD" and length is None:
        length = size
    if not empty and length is not None:
        headers.append((LENGTH, b"%d" % length))
    event = {"type": "http.response.start", "status": status, "headers": headers}
    return event, Content(empty or method == "HEAD", length)


def _declared(values: list[bytes]) -> int | None:
    if not values:
        return None
    if len(set(values)) > 1 or not values[0].isdigit():
        raise ValueError(f"its Content-Length is {b', '.join(values)!r}, expected one number")
    return int(values[0])


def header_pair(pair: Any) -> tuple[bytes, bytes]:
    """Return a header as bytes, the name in lower case. Raises `ValueError` for characters that would end the line."""
    try:
        name, value = (part.encode("latin-1") if isinstance(part, str) else memoryview(part).tobytes() for part in pair)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its header is {pair!r}, expected a name and a value, bytes or Latin-1 text") from error
    if not _NAME.fullmatch(name) or _CONTROL.search(value):
        raise ValueError(f"its header {name!r}: {value!r} holds characters that are not allowed there")
    return name.lower(), value
