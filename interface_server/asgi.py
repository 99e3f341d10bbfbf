"""ASGI types, and the message keys made from an ASGI scope. Pure.

As in the ASGI draft 1.x, sections "HTTP" and "WebSocket": paths are text, header names lower case, duplicates kept.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import unquote

ROOT_PATH = b"daphne-root-path"
"""The header in which a proxy names the path the site is mounted at; never passed on."""

_ID = "channels_classic.id"

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

MAX_TRACESTATE = 512
"""Bytes of `tracestate` that are passed on: as many as W3C Trace Context, section 3.3.1.5, asks for."""

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
SendEvent = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, SendEvent], Awaitable[None]]


def client_id(scope: Scope) -> str:
    """Return the name of a request or socket, which nobody can guess: in its reply channel and in the logs."""
    if _ID not in scope:
        scope[_ID] = secrets.token_hex(8)
    found: str = scope[_ID]
    return found


def trace_context(pairs: Iterable[Sequence[bytes]]) -> dict[str, str]:
    """Return the keys of a message for the W3C trace context in request headers; none if that is invalid."""
    given = [(name, value) for name, value in pairs if name in (b"traceparent", b"tracestate")]
    if not given:
        return {}
    parents = [value for name, value in given if name == b"traceparent"]
    if len(parents) != 1 or not _TRACEPARENT.fullmatch(parents[0]):
        return {}
    found = {"traceparent": parents[0].decode()}
    state = b",".join(value for name, value in given if name == b"tracestate")
    if state and len(state) <= MAX_TRACESTATE and state.isascii():
        found["tracestate"] = state.decode()
    return found


def connection_keys(scope: Scope, reply_channel: str, scheme: str, root_path: str) -> dict[str, Any]:
    """Return the keys that `http.request` and `websocket.connect` have in common."""
    pairs = headers(scope.get("headers") or ())
    return {
        "reply_channel": reply_channel,
        "scheme": scope.get("scheme") or scheme,
        "path": scope["path"],
        "query_string": scope.get("query_string") or b"",
        "root_path": scope.get("root_path") or unquote(root_path),
        "headers": pairs,
        "client": _address(scope.get("client")),
        "server": _address(scope.get("server")),
        **trace_context(pairs),
    }


def headers(pairs: Iterable[tuple[bytes, bytes]]) -> list[list[bytes]]:
    """Return header pairs for a message, in order.

    Names with an underscore are dropped: as WSGI variables they look like names with a hyphen, so a client could forge
    a header that a proxy sets.
    """
    lowered = ([name.lower(), value.strip()] for name, value in pairs if b"_" not in name)
    return [pair for pair in lowered if pair[0] != ROOT_PATH]


def _address(pair: Iterable[Any] | None) -> list[Any] | None:
    """Return `[host, port]`, or None for an endpoint without them, such as a Unix socket."""
    host, port = pair or (None, None)
    return [host, port] if host is not None and port is not None else None


def raw_extension(scope: Scope) -> Mapping[str, Any] | None:
    """Return what this package's own server offers beyond ASGI; None under another server."""
    extensions = scope.get("extensions") or {}
    found: Mapping[str, Any] | None = extensions.get("channels_classic.raw")
    return found
