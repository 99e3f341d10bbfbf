"""ASGI types, and the message keys made from an ASGI scope. Pure.

As in the ASGI draft 1.x, sections "HTTP" and "WebSocket": paths are text, header names lower case, duplicates kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

ROOT_PATH = b"daphne-root-path"
"""The header in which a proxy names the path the site is mounted at; never passed on."""

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
SendEvent = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, SendEvent], Awaitable[None]]


def connection_keys(scope: Scope, reply_channel: str, scheme: str, root_path: str) -> dict[str, Any]:
    """Return the keys that `http.request` and `websocket.connect` have in common."""
    return {
        "reply_channel": reply_channel,
        "scheme": scope.get("scheme") or scheme,
        "path": scope["path"],
        "query_string": scope.get("query_string") or b"",
        "root_path": scope.get("root_path") or unquote(root_path),
        "headers": headers(scope.get("headers") or ()),
        "client": _address(scope.get("client")),
        "server": _address(scope.get("server")),
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
