"""ASGI middleware that reports the actions of clients to a callable, such as the access log.

The actions and their details are those that Daphne passed to its `action_logger`, and so to `runserver` of 1.1.8.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from channels_classic._throttled_log import ThrottledLog

from .asgi import Application, Receive, Scope, SendEvent, client_id

logger = logging.getLogger("channels_classic.interface_server")

ActionLogger = Callable[[str, str, dict[str, Any]], None]

_WEBSOCKET_ACTIONS = {
    "websocket.accept": "connected",
    "websocket.close": "rejected",  # a close before the accept
    "websocket.http.response.start": "rejected",
}


class ActionLogMiddleware:
    """Wraps an application and reports complete responses and the stages of WebSockets."""

    def __init__(self, application: Application, action_logger: ActionLogger) -> None:
        self._application = application
        self._action_logger = action_logger
        self._throttled_log = ThrottledLog()
        self._watched = {"http": self._http, "websocket": self._websocket}

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        """Serve one scope."""
        await self._watched.get(scope["type"], self._application)(scope, receive, send)

    def _report(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Report an action. A full disk or a bug in the callable must not fail a client."""
        try:
            self._action_logger(protocol, action, details)
        except Exception as error:
            self._throttled_log.warn(logger, "The action logger, such as --access-log, failed: %r", error)

    async def _http(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        started = time.monotonic()
        query = f"?{scope['query_string'].decode('latin-1')}" if scope.get("query_string") else ""
        details = {"method": scope["method"], "path": _path(scope) + query, "size": 0, **_common(scope)}

        async def watched_send(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                details["status"] = message["status"]
                return
            details["size"] += len(message.get("body", b""))
            if not message.get("more_body"):
                self._report("http", "complete", {**details, "time_taken": time.monotonic() - started})

        await self._application(scope, receive, watched_send)

    async def _websocket(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        started = time.monotonic()
        details = {"path": _path(scope), **_common(scope)}
        last = "connecting"
        self._report("websocket", last, details)

        async def watched_send(message: Any) -> None:
            nonlocal last
            await send(message)
            if last == "connecting" and message["type"] in _WEBSOCKET_ACTIONS:
                last = _WEBSOCKET_ACTIONS[message["type"]]
                self._report("websocket", last, details)

        try:
            await self._application(scope, receive, watched_send)
        finally:
            if last == "connected":
                self._report("websocket", "disconnected", {**details, "time_taken": time.monotonic() - started})


def _common(scope: Scope) -> dict[str, Any]:
    """Return the details that a request and a handshake have."""
    return {
        "client": _client(scope),
        "id": client_id(scope),
        "http_version": scope.get("http_version", "1.1"),
        "referer": _header(scope, b"referer"),
        "user_agent": _header(scope, b"user-agent"),
    }


def _header(scope: Scope, name: bytes) -> str | None:
    found = next((value for key, value in scope.get("headers") or () if key.lower() == name), None)
    return None if found is None else found.decode("latin-1")


def _path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.decode("latin-1")


def _client(scope: Scope) -> str | None:
    host, port = scope.get("client") or ("", 0)
    if not host:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
