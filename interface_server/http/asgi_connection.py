"""The connection of one request, as ASGI and the extension of our own server show it.

Reports when the client leaves, sends events no longer than the client may take for them, and cuts it off. Knows no
state of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..asgi import Receive, Scope, SendEvent, raw_extension
from .body import DISCONNECT


class AsgiConnection:
    """Watches the client, writes to it, cuts it off."""

    def __init__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        self._receive = receive
        self._send = send
        self._raw = raw_extension(scope)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def is_own(self) -> bool:
        """True if the server is our own, which offers more than ASGI."""
        return self._raw is not None

    @property
    def can_reset(self) -> bool:
        """True if a client can tell a connection that is cut off from one that ends; assumed of other servers."""
        return self._raw is None or bool(self._raw["can_reset"]())

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` when the client leaves: our own server does it, others need a task that waits."""
        if self._raw is not None:
            self._raw["watch"](on_gone)
        else:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_until_gone(on_gone))

    def unwatch(self, on_gone: Callable[[], None]) -> None:
        """Stop calling `on_gone`."""
        if self._raw is not None:
            self._raw["unwatch"](on_gone)
        if self._watcher is not None:
            self._watcher.cancel()

    async def _wait_until_gone(self, on_gone: Callable[[], None]) -> None:
        while (await self._receive())["type"] != DISCONNECT:
            pass
        on_gone()

    async def send(self, event: dict[str, Any], timeout: float, on_stall: Callable[[], None]) -> None:
        """Send an event; call `on_stall` if the client does not take it within `timeout` seconds.

        After `abort` our own server returns from `send` at once. That is awaited here, not in a task: one would end
        one turn of the event loop later, and by then the connection may serve the next pipelined request.
        """
        if self._raw is not None:
            timer = asyncio.get_running_loop().call_later(timeout, on_stall)
            try:
                await self._send(event)
            finally:
                timer.cancel()
            return
        sending = asyncio.ensure_future(self._send(event))
        try:
            done, _ = await asyncio.wait([sending], timeout=timeout)
        finally:
            sending.cancel()
        if done:
            sending.result()
        else:
            on_stall()

    def abort(self) -> bool:
        """Close the connection at once and return True, if the server offers that."""
        if self._raw is None:
            return False
        self._raw["abort"]()
        return True
