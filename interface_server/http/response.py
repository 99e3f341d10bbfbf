"""A response on its way from the workers to the client: checked part by part, spooled while the client is slow.

Where it ends is decided here: with a length that is wrong, a proxy would take the rest for another response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .spool import ResponseSpool, SpoolQuota

PIECE = 64 * 1024
"""Bytes of content in one event, which a client must take before its time to stall begins anew."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

LENGTH = b"content-length"

EVENT_STREAM = b"text/event-stream"

UNBUFFERED = (b"x-accel-buffering", b"no")
"""The header with which an application asks proxies not to collect a response, as nginx understands it."""

OURS = (LENGTH, b"transfer-encoding", b"date")
"""Headers that the server writes; a second one of any of them is an error (RFC 9110, section 5.2)."""

EMPTY = (204, 304)
"""Statuses of responses that end with their headers (RFC 9112, section 6.3)."""


class IgnoredPart(ValueError):
    """Raised for a message that is not a valid part of the response at this point; a valid one may follow."""


class Response:
    """One response: messages come in by `add`, events for the client go out by `next_events`.

    With `held` nothing goes out before the response is complete or released, unless its end is marked anyway.
    """

    def __init__(self, method: str, quota: SpoolQuota, *, held: bool = False) -> None:
        self.is_held = held
        """It waits for its end, because only a length tells its client whether it is complete."""
        self.has_begun = False
        self.is_complete = False
        """All of it has arrived."""
        self.written = 0
        """Bytes of content that went out."""
        self.spool = ResponseSpool(quota)
        self._method = method
        self._head: dict[str, Any] | None = None
        self._content: Content
        self.is_finished = False
        """Its last piece went out."""
        self.is_event_stream = False
        """Its content type is that of server-sent events, whose clients connect again when it ends."""

    @property
    def is_started(self) -> bool:
        """True if its head was sent."""
        return self.has_begun and self._head is None

    def add(self, message: Mapping[str, Any]) -> None:
        """Take the next part. Raises `IgnoredPart`, `ValueError` for what cannot be sent, and `NoSpace`."""
        content = message.get("content") or b""
        more = bool(message.get("more_content", False))
        begins = message.get("status") is not None
        if begins is self.has_begun:
            raise IgnoredPart("the first part, and only that, has a status")
        if not isinstance(content, bytes):
            raise ValueError(f"its content is of type {type(content).__name__}, expected bytes")
        if begins:
            head, self._content = begin(message, self._method, None if more else len(content))
            content = self._content.part(content, more)
            self._head, self.has_begun = head, True
            self.is_event_stream = any(
                name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in head["headers"]
            )
            is_live = self.is_event_stream or UNBUFFERED in head["headers"]
            self.is_held = self.is_held and self._content.ends_with_connection and not is_live
        else:
            content = self._content.part(content, more)
        self.spool.write(content)
        self.is_complete = not more
        if self.is_held and self.is_complete:
            assert self._head is not None
            self._head["headers"].append((LENGTH, b"%d" % self.spool.size))
            self.is_held = False

    def release(self) -> None:
        """Let it go out although it is incomplete: then the end of the connection marks its end."""
        self.is_held = False

    def next_events(self) -> list[dict[str, Any]]:
        """Return the events that the client gets next; none when it has everything that arrived so far."""
        if self.is_finished or self.is_held:
            return []
        events = [] if self._head is None else [self._head]
        self._head = None
        piece = self.spool.read(PIECE)
        self.written += len(piece)
        self.is_finished = self.is_complete and not self.spool.size
        if piece or events or self.is_finished:
            events.append({"type": "http.response.body", "body": piece, "more_body": not self.is_finished})
        return events


class Content:
    """The bytes that a response may still have: none when `empty`, else as many as it declared, if it did."""

    def __init__(self, empty: bool, length: int | None) -> None:
        self._empty = empty
        self._left = self._length = length

    @property
    def ends_with_connection(self) -> bool:
        """True if nothing but chunks, or the end of the connection, marks its end."""
        return not self._empty and self._length is None

    def part(self, content: bytes, more: bool) -> bytes:
        """Return the part of `content` to write; `more` follows. Raises `ValueError` if that contradicts the length."""
        if self._empty:
            return b""
        if self._left is not None:
            self._left -= len(content)
            if self._left < 0 or (self._left and not more):
                words = "more" if self._left < 0 else "fewer"
                raise ValueError(f"its content has {words} bytes than its Content-Length of {self._length}")
        return content


def begin(message: Mapping[str, Any], method: str, size: int | None) -> tuple[dict[str, Any], Content]:
    """Return the event that begins a response, and its `Content`; `size` is that of all content, where it is known.

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
    if len(set(values)) > 1 or not values[0].isdigit() or len(values[0]) > 20:
        raise ValueError(f"its Content-Length is {b', '.join(values)!r}, expected one number")
    return int(values[0])


def header_pair(pair: Any) -> tuple[bytes, bytes]:
    """Return a header as bytes, the name in lower case. Raises `ValueError` for characters that would end the line."""
    try:
        name, value = (part.encode("latin-1") if isinstance(part, str) else memoryview(part).tobytes() for part in pair)
    except (TypeError, ValueError) as error:
        # Without the value, which may be a cookie; likewise below.
        first = pair[0] if isinstance(pair, (list, tuple)) and pair else type(pair).__name__
        shown = str(first).partition(":")[0]
        raise ValueError(f"its header is {shown!r}, expected a name and a value, bytes or Latin-1 text") from error
    if not _NAME.fullmatch(name) or _CONTROL.search(value):
        raise ValueError(f"its header {name!r} holds characters that are not allowed there")
    return name.lower(), value
