"""The interface server as an ASGI 3 application: connection events in, messages on channels out, replies back.

It needs a channel layer and nothing of the user's project, and runs under any ASGI server, alone or beside other
applications.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from channels_classic._log_escapes import protect_loggers
from channels_classic.layers.base import BaseChannelLayer

from .action_log import ActionLogger, ActionLogMiddleware
from .asgi import Receive, Scope, SendEvent
from .config import InterfaceConfig
from .error_pages import answer_health
from .event_streams.answers import answer_post, refuse
from .event_streams.selection import opens_stream, refusal_of, token_of
from .event_streams.stream import EVENT_STREAM, EventStream
from .http.request import Request
from .http.spool import SpoolQuota, most_files
from .layer.session import LayerSession
from .proxy_headers import ProxyHeaders
from .websocket.connection import WebSocket

SESSION = "channels_classic.session"
"""The key of the session in the state of the lifespan scope, for the server to stop it gracefully."""


class InterfaceServer:
    """An ASGI 3 application that hands every connection to the workers of a channel layer.

    The layer is first used with the first scope of any type: some servers send no lifespan events, and some fork after
    importing the application. `action_logger` is called for the actions that Daphne reported to its own.
    """

    def __init__(
        self,
        layer: BaseChannelLayer,
        config: InterfaceConfig | None = None,
        action_logger: ActionLogger | None = None,
    ) -> None:
        protect_loggers()
        self.layer = layer
        self.config = config or InterfaceConfig()
        self._proxy_headers = ProxyHeaders(self.config)
        self._bodies, self._responses = (
            SpoolQuota(self.config.spool_memory, self.config.spool_disk, most_files()) for _ in range(2)
        )
        self._session: asyncio.Future[LayerSession] | None = None
        self._owner: tuple[int, object] | None = None
        self._scopes: dict[str, Callable[[Scope, Receive, SendEvent], Awaitable[None]]] = {
            "http": self._http,
            "websocket": self._websocket,
            "lifespan": self._lifespan,
        }

        self._application = ActionLogMiddleware(self._serve, action_logger) if action_logger else self._serve

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        """Serve one scope."""
        self._proxy_headers.apply(scope)
        patterns = self.config.event_streams
        if not (patterns and opens_stream(scope, patterns) and refusal_of(scope) is None):
            await self._application(scope, receive, send)
            return
        stream = EventStream(scope, receive, send, self.config)
        try:
            await self._application(stream.scope, stream.receive, stream.send)
        finally:
            stream.release()

    async def _serve(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        serve = self._scopes.get(scope["type"])
        if serve is None:
            raise ValueError(
                f"Scopes of type {scope['type']!r} are unknown: expected one of {', '.join(self._scopes)}."
            )
        await serve(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        session = await self._started()
        if scope["path"] == self.config.health_path:
            await answer_health(session.health, scope["method"], send)
            return
        if self.config.event_streams and await self._serve_event_streams(session, scope, receive, send):
            return
        await Request(session, scope, receive, send, self._bodies, self._responses).run()

    async def _serve_event_streams(
        self, session: LayerSession, scope: Scope, receive: Receive, send: SendEvent
    ) -> bool:
        """Answer a request that asks for a stream and cannot have one, or posts to one; return False for others."""
        patterns = self.config.event_streams
        refusal = refusal_of(scope) if opens_stream(scope, patterns) else None
        token = token_of(scope, patterns)
        if refusal is not None:
            await refuse(refusal, send)
        elif token is not None:
            await answer_post(session, self._bodies, token, scope, receive, send)
        return refusal is not None or token is not None

    async def _websocket(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        session = await self._started()
        socket = WebSocket(session, scope, receive, send)
        if EVENT_STREAM in scope:
            scope[EVENT_STREAM].join(session, socket)
        await socket.run()

    async def _lifespan(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        await receive()
        try:
            await self._started()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        if "state" in scope:
            scope["state"][SESSION] = self._session.result() if self._session else None
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        except asyncio.CancelledError:
            return  # the event loop ends at once, by a second signal
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _started(self) -> LayerSession:
        """Return the session of this process and event loop, starting it first if there is none."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._owner != (os.getpid(), loop):
            self._owner = (os.getpid(), loop)
            self._session = loop.create_future()
            session = LayerSession(self.layer, self.config)
            try:
                await session.start()
            except BaseException as error:
                self._owner = None
                self._session.set_exception(error)
                self._session.exception()  # marks it as retrieved: otherwise asyncio logs it if no other scope waits
                raise
            self._session.set_result(session)
        return self._session.result() if self._session.done() else await asyncio.shield(self._session)

    async def stop(self) -> None:
        """Close the layer, after sending the last messages of the clients."""
        session, self._session, self._owner = self._session, None, None
        if session is not None and session.done() and not session.exception():
            self._bodies.reclaim_all()  # otherwise the stop would wait for their owners, as it does for clients
            await session.result().stop(self.before_layer_ends)

    async def before_layer_ends(self, session: LayerSession) -> None:
        """Do nothing. A program that runs workers too lets them finish here: the layer may end with the process."""
