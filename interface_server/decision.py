"""What a message on the reply channel of a WebSocket asks for. Pure; the table of the ASGI draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NORMAL = 1000
KEYS = frozenset({"accept", "bytes", "text", "close"})


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, in this order. `payload` is text or bytes, never empty; `close` is the code."""

    accept: bool = False
    deny: bool = False
    payload: str | bytes | None = None
    close: int | None = None


def decide(message: Mapping[str, Any], *, waiting: bool) -> Decision:
    """What `message` asks for; `waiting`: the handshake is undecided. Raises `ValueError` for one without meaning."""
    unknown = message.keys() - KEYS
    if unknown:
        raise ValueError(
            f"a WebSocket message has no key {sorted(unknown)[0]!r}: expected are {', '.join(sorted(KEYS))}"
        )
    accept = message.get("accept")
    payload = _payload(message)
    close = message.get("close")
    if waiting and accept is not None and not accept:
        return Decision(deny=True)
    if waiting and not accept and payload is None:
        return Decision(deny=bool(close))
    return Decision(accept=waiting, payload=payload, close=_code(close) if close else None)


def _payload(message: Mapping[str, Any]) -> str | bytes | None:
    text, data = message.get("text"), message.get("bytes")
    if text and data:
        raise ValueError("a WebSocket message carries text or bytes, not both")
    if text:
        if not isinstance(text, str):
            raise ValueError(f"'text' is of type {type(text).__name__}, expected text")
        return text
    if data:
        if not isinstance(data, bytes):
            raise ValueError(f"'bytes' is of type {type(data).__name__}, expected bytes")
        return data
    return None


def _code(close: Any) -> int:
    if close is True:
        return NORMAL
    if isinstance(close, int) and is_close_code(close):
        return close
    raise ValueError(f"{close!r} is no close code: expected true, 1000 to 1014 but for 1004 to 1006, or 3000 to 4999")


def is_close_code(code: int) -> bool:
    """Whether an endpoint may send `code` (RFC 6455, section 7.4, and the IANA registry)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))
