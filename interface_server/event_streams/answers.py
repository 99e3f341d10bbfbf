"""Answers to requests beside event streams: those that post a message to one, and those that cannot open one."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ..asgi import Receive, Scope, SendEvent, raw_extension
from ..config import ClientLimits, InterfaceConfig
from ..http.body import RequestBody
from ..http.spool import SpoolQuota
from ..layer.posts import Token
from ..layer.session import LayerSession
from .selection import StreamRefusal

_ANSWERS = {
    204: StreamRefusal(204, ""),
    400: StreamRefusal(400, "A message to an event stream is text in UTF-8."),
    403: StreamRefusal(403, "This is not the token of an event stream on this path."),
    408: StreamRefusal(408, "The message took too long to arrive."),
    410: StreamRefusal(410, "The event stream has ended."),
    413: StreamRefusal(413, "The message is larger than --max-message allows."),
    429: StreamRefusal(
        429, "The stream has sent more than its consumers took: send this message again.", ((b"retry-after", b"1"),)
    ),
    503: StreamRefusal(503, "The process of the event stream does not answer.", ((b"retry-after", b"5"),)),
}


async def refuse(refusal: StreamRefusal, send: SendEvent, body: RequestBody | None = None) -> None:
    """Send an answer, then read what is left of the `body` for a moment, so that the client reads the answer."""
    content = f"{refusal.text}\n".encode() if refusal.text else b""
    headers = [(b"cache-control", b"no-store"), *refusal.headers]
    if content:
        headers += [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": body is not None})
    if body is not None:
        await body.drain()
        await send({"type": "http.response.body", "body": b""})


async def answer_post(
    session: LayerSession, quota: SpoolQuota, text: str, scope: Scope, receive: Receive, send: SendEvent
) -> None:
    """Read a message, pass it to the stream that the token in `text` names, and answer."""
    limits = (raw_extension(scope) or {}).get("limits") or ClientLimits()
    body = RequestBody(quota, scope, receive, _body_config(session.config, limits.max_message))
    try:
        status = await _take(session, body, text, scope["path"])
        if not body.disconnected:
            await refuse(_ANSWERS[status], send, body)
    finally:
        body.close()


async def _take(session: LayerSession, body: RequestBody, text: str, path: str) -> int:
    token = Token.parse(text)
    if token is None:
        return 403
    if session.posts.is_known_dead(token):
        return 410
    status = await body.receive()
    if status is not None or body.disconnected:
        return status or 408
    try:
        message = body.whole().decode()
    except UnicodeDecodeError:
        return 400
    return await session.posts.send(token, path, message)


@lru_cache(maxsize=16)
def _body_config(config: InterfaceConfig, most: int) -> InterfaceConfig:
    """Return the limits on the body of a message: that of a WebSocket message too."""
    return replace(config, max_body=min(most, config.max_body or most))
