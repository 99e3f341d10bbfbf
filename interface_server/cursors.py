"""The sub-protocol by which clients recover what they missed of groups. Pure.

A client offers `channels.recover.v1`, and `channels.cursors.` followed by the cursors it has: a JSON object from
group to cursor in base64url, without padding. On a socket with this protocol each message begins with a line. It is
empty, or holds the group and the cursor of a message that the group keeps. A message that is such a line alone ends
with `at` (the client has everything up to this cursor) or `gap` (some messages before it are gone).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

PROTOCOL = "channels.recover.v1"
CURSORS = "channels.cursors."
"""The start of the second sub-protocol."""

MOST_CURSORS = 256
MOST_CHARACTERS = 100
"""Most characters of the name of a group, and of a cursor."""


def with_cursor(cursor: str, payload: str | bytes) -> str | bytes:
    """Return a message as a client with this protocol gets it."""
    return f"{cursor}\n{payload}" if isinstance(payload, str) else cursor.encode() + b"\n" + payload


def note(group: str, cursor: str, *, gap: bool) -> str:
    """Return a frame that has a cursor and no message."""
    return f"{group} {cursor} {'gap' if gap else 'at'}\n"


def cursors_of(offered: Iterable[str]) -> dict[str, str] | None:
    """Return the cursors in the sub-protocols that a client offers; None for a client that does not recover.

    Whatever a client writes is passed on to consumers as text; anything that is not a cursor is left out.
    """
    offered = list(offered)
    if PROTOCOL not in offered:
        return None
    text = next((name.removeprefix(CURSORS) for name in offered if name.startswith(CURSORS)), "")
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) if text else {}
    except (binascii.Error, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or len(found) > MOST_CURSORS:
        return {}
    return {group: cursor for group, cursor in found.items() if _is_short(group) and _is_short(cursor)}


def _is_short(text: Any) -> bool:
    """Return True for text that may be the name of a group, or a cursor: both have ASCII letters only."""
    return isinstance(text, str) and text.isascii() and len(text) <= MOST_CHARACTERS
