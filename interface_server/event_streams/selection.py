"""The requests that are for event streams: those that open one, and those that post a message to one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..asgi import Scope

MEDIA_TYPE = "text/event-stream"

TOKEN_HEADER = b"event-stream-token"
"""The header with which a client posts a message to its stream."""


class StreamRefusal(NamedTuple):
    """The answer to a request that opens no stream."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


HEAD = StreamRefusal(405, "An event stream has no length and no end: use GET.", ((b"allow", b"GET, POST"),))
HTTP_1_0 = StreamRefusal(
    426,
    "An event stream needs HTTP/1.1. Behind nginx set `proxy_http_version 1.1`.",
    ((b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade, close")),
)
FOREIGN = StreamRefusal(
    403, "An event stream is opened by EventSource or by fetch, in the mode `cors` or `same-origin`."
)


def opens_stream(scope: Scope, patterns: Sequence[str]) -> bool:
    """Return True for a request that asks for the media type of event streams on a path that has them."""
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and _matches(scope, patterns) and _asks(scope)


def refusal_of(scope: Scope) -> StreamRefusal | None:
    """Return the answer to a request that asks for a stream and cannot have one."""
    if scope["method"] == "HEAD":
        return HEAD
    if scope.get("http_version") == "1.0":
        return HTTP_1_0
    # A page of a foreign site can send a request without CORS, with its visitor's cookies and no Origin. It could not
    # read the stream, but would open it. Browsers say so in this header (W3C Fetch Metadata), except over plain HTTP.
    modes = values(scope, b"sec-fetch-mode")
    return FOREIGN if any(mode not in ("cors", "same-origin") for mode in modes) else None


def token_of(scope: Scope, patterns: Sequence[str]) -> str | None:
    """Return the token of a request that posts a message to a stream; None for any other request."""
    if scope["method"] != "POST" or not _matches(scope, patterns):
        return None
    found = values(scope, TOKEN_HEADER)
    return found[0] if len(found) == 1 else "" if found else None


def values(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header."""
    return [value.decode("utf-8", "replace") for key, value in scope.get("headers") or () if key.lower() == name]


def _matches(scope: Scope, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(scope["path"], pattern) for pattern in patterns)


def _asks(scope: Scope) -> bool:
    """Return True if the media type itself is named (RFC 9110, section 12.5.1); `*/*` does not ask for a stream."""
    for item in ",".join(values(scope, b"accept")).split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        if media_type == MEDIA_TYPE:
            return not any(parameter.replace(" ", "").rstrip("0.") in ("q=", "q") for parameter in parameters)
    return False
