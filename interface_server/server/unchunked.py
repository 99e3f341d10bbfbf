"""Responses for clients of HTTP/1.0, through members of uvicorn's request cycle that are not documented."""

from __future__ import annotations

from typing import Any

from ..asgi import Event, Receive, Scope, SendEvent


def unchunked(cycle: Any, application: Any) -> Any:
    """Wrap the application for a client of HTTP/1.0, which does not understand chunks.

    A response without a length ends with the connection (RFC 9112, section 6.3). uvicorn uses chunks for a response of
    unknown length, so each piece is given to it as one of known length.
    """

    async def without_chunks(scope: Scope, receive: Receive, send: SendEvent) -> None:
        bare = False

        async def send_piece(event: Event) -> None:
            nonlocal bare
            if event["type"] == "http.response.start":
                bare = not any(name.lower() == b"content-length" for name, _ in event.get("headers", ()))
                if bare:
                    cycle.chunked_encoding = False
            elif bare:
                cycle.expected_content_length = len(event.get("body", b""))
            await send(event)

        await application(scope, receive, send_piece)

    return without_chunks
