"""Responses that the interface server makes itself: error pages and the health check."""

from __future__ import annotations

from http import HTTPStatus

from channels_classic._health import READY, Health, answer

from .asgi import SendEvent

RETRY_AFTER = (b"retry-after", b"5")
"""Header of a 503: seconds until the client should try again."""

_SENTENCES = {
    408: "The request body took too long to arrive.",
    413: "The request body is too large.",
    500: "Something went wrong on the server.",
    503: "The service is not available at the moment. Please try again shortly.",
}

_REFUSAL_HEADERS = {
    426: "upgrade: websocket\r\nsec-websocket-version: 13\r\n",
    503: f"{RETRY_AFTER[0].decode()}: {RETRY_AFTER[1].decode()}\r\n",
}
"""Further headers of some refusals: RFC 9110, section 15.5.22, and RFC 6455, section 4.4."""


async def answer_health(state: Health, method: str, send: SendEvent) -> None:
    """Answer a load balancer: 200 if clients can be served, else 503."""
    status, body = answer(state, READY, method)
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
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


def refusal(status: int) -> bytes:
    """Return the complete response to a request that is refused before the application learns of it."""
    title = f"{status} {HTTPStatus(status).phrase}"
    head = (
        f"HTTP/1.1 {title}\r\ncontent-type: text/plain\r\ncontent-length: {len(title) + 1}\r\nconnection: close\r\n"
        f"{_REFUSAL_HEADERS.get(status, '')}"
    )
    return f"{head}\r\n{title}\n".encode("ascii")
