"""Parses messages on the reply channel of a WebSocket, by the table of the ASGI draft. Pure."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .close_codes import NORMAL, is_close_code

KEYS = frozenset({"accept", "bytes", "text", "close"})


@dataclass(slots=True)  # frozen would be slower
class ParsedReply:
    """The actions a reply asks for, in the order of the fields. `close` is a close code."""

    accept: bool = False
    deny: bool = False
    payload: str | bytes | None = None
    close: int | None = None


def parse_reply(message: Mapping[str, Any], *, waiting: bool) -> ParsedReply:
    """Return the actions that `message` asks for; with `waiting` the handshake is undecided.

    Raises `ValueError` for a message that is not a valid reply.
    """
    unknown = message.keys() - KEYS
    if unknown:
        raise ValueError(
            f"a WebSocket message has the unknown key {min(map(repr, unknown))}: expected {', '.join(sorted(KEYS))}"
        )
    accept, close = message.get("accept"), message.get("close")
    if accept not in (None, True, False):
        raise ValueError(f"'accept' is {_shown(accept)}, expected true or false")
    payload = _payload(message)
    if payload is accept is close is None:
        raise ValueError(f"{dict(message)!r} has no effect: expected at least one of {', '.join(sorted(KEYS))}")
    if waiting and accept is not None and not accept:
        return ParsedReply(deny=True)
    if waiting and not accept and not payload:  # an empty payload decides nothing, by the draft
        return ParsedReply(deny=bool(close))
    return ParsedReply(accept=waiting, payload=payload, close=_code(close))


def _payload(message: Mapping[str, Any]) -> str | bytes | None:
    """Return the content of the frame to send, if any. Of text and bytes, one that is empty yields to the other."""
    text, data = message.get("text"), message.get("bytes")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"'text' is {_shown(text)}, expected text")
    if data is not None and not isinstance(data, bytes):
        raise ValueError(f"'bytes' is {_shown(data)}, expected bytes")
    if text and data:
        raise ValueError("a WebSocket message carries text or bytes, not both")
    return text or data or (text if text is not None else data)


def _shown(value: Any) -> str:
    """Return a short representation of a value for a log line."""
    return f"{reprlib.repr(value)} of type {type(value).__name__}"


def _code(close: Any) -> int | None:
    if close in (None, False):  # 0 as well, which had no effect in Channels 1.x
        return None
    if close is True:
        return NORMAL
    if isinstance(close, int) and is_close_code(close):
        return close
    raise ValueError(f"'close' is {_shown(close)}: expected true, 1000 to 1014 except 1004 to 1006, or 3000 to 4999")
