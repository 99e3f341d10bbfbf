"""The fields of server-sent events, and the cursors in their ids. Pure. Sections are those of the WHATWG's HTML.

The id of an event holds the cursors of all recoverable groups that the client has messages of, because a browser sends
back the last id alone: `auction.42 17-5, news 17-9`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .cursors import MOST_CHARACTERS

HEARTBEAT = b":\n\n"
"""A comment, which clients ignore (section 9.2.7 recommends one about every 15 seconds, because of old proxies)."""

MOST_ID = 4096
"""Most characters of an id: a browser sends it in a header, and proxies take 8 KiB of one."""

_LINE_END = re.compile("\r\n|\n|\r")
"""Section 9.2.5: a line ends with any of the three."""


def encode_event(data: str, event_id: str = "", name: str = "") -> bytes:
    r"""Return an event that a client reads as `data`; `\r` and `\r\n` in it arrive as `\n`.

    Section 9.2.6: each line of the data is a field of its own, one space behind the colon is removed, and an event
    without a field `data` is not dispatched. Raises `UnicodeEncodeError` for half a surrogate pair.
    """
    head = (f"event: {name}\n" if name else "") + (f"id: {event_id}\n" if event_id else "")
    lines = "\ndata: ".join(_LINE_END.split(data))
    return f"{head}data: {lines}\n\n".encode()


def encode_id(event_id: str) -> bytes:
    """Return fields that set the last event id and dispatch no event (section 9.2.6: the data is empty)."""
    return f"id: {event_id}\n\n".encode()


def encode_retry(seconds: float) -> bytes:
    """Return a field that sets the time after which a client connects again; it is in milliseconds, ASCII digits."""
    return b"retry: %d\n\n" % (seconds * 1000)


def join_cursors(cursors: Mapping[str, str]) -> str:
    """Return an id with these cursors. Names of groups and cursors have no comma, space, line end or NUL."""
    return ", ".join(f"{group} {cursor}" for group, cursor in cursors.items())


def split_cursors(event_id: str) -> dict[str, str]:
    """Return the cursors in an id that a client sent: any text, in which anything that is not a cursor is ignored."""
    if len(event_id) > MOST_ID:
        return {}
    pairs = (item.split() for item in event_id.split(","))
    found = (pair for pair in pairs if len(pair) == 2 and max(map(len, pair)) <= MOST_CHARACTERS)
    return dict(found)
