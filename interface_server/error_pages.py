"""Error pages of the interface server, and the check of response headers."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from .asgi import SendEvent

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

RETRY_AFTER = (b"retry-after", b"5")
"""Header of a 503 response: seconds until the client should try again."""

_SENTENCES = {
    413: "The request body is too large.",
    500: "Something went wrong on the server.",
    503: "The service is not available at the moment. Please try again shortly.",
}


def header_pair(pair: Any) -> tuple[bytes, bytes]:
    """Return a header as bytes, its name in lower case. Raises `ValueError` for invalid or control characters."""
    try:
        name, value = (part.encode("latin-1") if isinstance(part, str) else memoryview(part).tobytes() for part in pair)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its header is {pair!r}, expected a name and a value, bytes or Latin-1 text") from error
    if not _NAME.fullmatch(name) or _CONTROL.search(value):
        raise ValueError(f"its header {name!r}: {value!r} holds characters that are not allowed there")
    return name.lower(), value


async def answer_health(available: bool, send: SendEvent) -> None:
    """Answer a load balancer's health check."""
    status, body = (200, b"ok\n") if available else (503, b"The channel layer is down.\n")
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def page(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of a small error page."""
    title = f"{status} {HTTPStatus(status).phrase}"
    body = (
        f"<!DOCTYPE html><html><head><title>{title}</title></head>"
        f"<body><h1>{title}</h1><p>{_SENTENCES[status]}</p></body></html>\n"
    ).encode()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if status == 503:
        headers.append(RETRY_AFTER)
    return headers, body
