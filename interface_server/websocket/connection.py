"""One WebSocket: its handshake, what workers and groups send it, and how it ends. What it sends itself is in `inbound`.

ASGI events come from the server and go to it, replies come from the hub. Knows no framing and no sockets.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from channels_classic.layers.codec import Outcome

from ..asgi import Receive, Scope, SendEvent, connection_keys, raw_extension
from ..frames import encode_frame
from ..layer.client import Broadcast
from ..layer.session import LayerSession
from ..replies import NORMAL, ParsedReply, parse_reply
from .inbound import CONNECT, RECEIVE, InboundQueue
from .send_queue import SendQueue

logger = logging.getLogger(__name__)

NO_STATUS = 1005
ABNORMAL = 1006
POLICY = 1008
TOO_BIG = 1009
TRY_AGAIN_LATER = 1013

REFUSALS = {
    Outcome.RAISED: 403,
    Outcome.UNROUTED: 403,
    Outcome.DIED: 503,
    Outcome.EXPIRED: 503,
    Outcome.DROPPED: 503,
}
"""How a handshake is answered whose connect message ended like this before anybody decided."""

GROUP_MESSAGES = 100
"""Group messages that wait for the handshake of one client; further ones miss it."""


class SocketState(Enum):
    """Where the connection stands."""

    WAITING = "waiting"
    """The client waits for the handshake to be answered."""
    OPEN = "open"
    CLOSING = "closing"
    """We refused it or said good-bye; nothing is sent any more."""
    GONE = "gone"
    """The client is no longer there; its last messages may still wait in the gate."""


class WebSocket:
    """A client of the hub for as long as a message of it waits, which may be after its connection ended."""

    __slots__ = (
        "_connect_over",
        "_early",
        "_heard",
        "_inbound",
        "_life_over",
        "_path",
        "_raw",
        "_receive",
        "_scope",
        "_send_queue",
        "_session",
        "_write",
        "local",
        "slot",
        "state",
    )

    def __init__(self, session: LayerSession, scope: Scope, receive: Receive, send: SendEvent) -> None:
        self.slot: int | None = None
        self.local = session.registry.new_local()
        self.state = SocketState.WAITING
        self._session = session
        self._scope = scope
        self._path: str = scope["path"]
        self._receive = receive
        self._send_queue = SendQueue(send, self._send_failed)
        self._inbound = InboundQueue(session, self, self._path, self._let_go, self._too_large)
        self._heard = False  # a worker took the connect message
        self._early: list[Broadcast] = []
        self._connect_over = math.inf
        self._life_over = math.inf
        self._raw = raw_extension(scope)
        self._write: Callable[[bytes], bool] | None = self._raw["write"] if self._raw else None

    # From the client

    async def run(self) -> None:
        """Serve the connection until the client is gone."""
        event = await self._receive()
        if event["type"] != CONNECT:
            return
        self._begin()
        code = ABNORMAL
        try:
            if self._raw is not None:
                self._raw["listen"](self._frame)
            while (event := await self._receive())["type"] == RECEIVE:
                text = event.get("text")
                if not self._frame(text if text is not None else event.get("bytes") or b""):
                    await self._room()
            code = event.get("code") or NO_STATUS
        finally:
            self._end(code)
        await self._send_queue.sent()

    def _frame(self, data: str | bytes) -> bool:
        """Take a message of the client → whether to read on."""
        if self.state is SocketState.CLOSING:
            return True
        self._inbound.frame(data)
        if self._inbound.has_room:
            return True
        if self._raw is not None:
            self._inbound.pause_reading(self._raw["read_on"])
        return False

    async def _room(self) -> None:
        """Return once it is time to read on."""
        came = asyncio.Event()
        self._inbound.pause_reading(came.set)
        await came.wait()

    def _begin(self) -> None:
        session = self._session
        timeout = session.config.websocket_connect_timeout
        if timeout >= 0:
            self._connect_over = session.clock() + timeout
            session.timers.schedule(self, self._connect_over)
        self._inbound.connect(connection_keys(self._scope, session.add(self), "ws", session.config.root_path))

    def _end(self, code: int) -> None:
        """The client is gone: it leaves its groups now, and its disconnect follows its last frame."""
        self.state = SocketState.GONE
        self._connect_over = self._life_over = math.inf
        self._session.gone(self)
        self._inbound.end(code)

    def _let_go(self) -> None:
        self._session.remove(self)

    def _too_large(self) -> None:
        self._close(TOO_BIG)

    # From the workers: how its messages ended

    def report(self, token: str, outcome: Outcome) -> None:
        """A worker reports on a message of this client."""
        if self._inbound.connects:
            self._heard = True
            if outcome in REFUSALS:
                self._refuse(REFUSALS[outcome])
        self._inbound.report(token, outcome)

    def layer_restored(self) -> None:
        """What is outstanding, or its report, may be lost with the layer."""
        self._inbound.shorten()

    def flush(self) -> None:
        """Let everything that waits pass, in order."""
        self._inbound.flush()

    # Time

    def due(self, now: float) -> float:
        """Do what is due."""
        if now >= self._connect_over:
            self._connect_timed_out()
        if now >= self._life_over:
            self._life_over = math.inf
            self._close(NORMAL)
        if self._inbound.due(now):
            self._session.throttled_log.warn(
                logger,
                "The WebSocket %s is closed with 1013: its frames waited for %g s. Run more workers for %s.",
                self._path,
                self._session.config.waiting_timeout,
                RECEIVE,
            )
            self._close(TRY_AGAIN_LATER)
        return min(self._connect_over, self._life_over, self._inbound.deadline)

    def _connect_timed_out(self) -> None:
        unsent = not self._inbound.is_sent and not self._heard
        if unsent:
            text = "The WebSocket %s is refused: its %s message could not be sent within %g s."
        elif not self._heard:
            text = "The WebSocket %s is refused: no worker took its %s message within %g s. Is `runworker` running?"
        else:
            text = (
                "The WebSocket %s is refused: the consumer of its %s message neither accepted nor closed it within "
                '%g s; it should send {"accept": True} to the reply channel.'
            )
        self._session.throttled_log.warn(
            logger, text, self._path, CONNECT, self._session.config.websocket_connect_timeout
        )
        self._refuse(503 if unsent else 403)

    # To the client

    def reply(self, message: Mapping[str, Any]) -> None:
        """A message came for the reply channel."""
        try:
            parsed = parse_reply(message, waiting=self.state is SocketState.WAITING)
        except ValueError as error:
            self._meaningless(error)
        else:
            self._carry_out(parsed)

    def broadcast(self, broadcast: Broadcast) -> None:
        """A message came for a group.

        Its text does not accept a handshake that nobody has decided: who joins a group is not yet let in. It waits.
        """
        parsed, frame = broadcast.parsed, broadcast.frame
        if self.state is SocketState.WAITING and frame is not None and broadcast.message.get("accept") is None:
            self._hold(broadcast)
        elif self.state is not SocketState.OPEN or parsed is None:
            self.reply(broadcast.message)
        elif frame is None or not self._write_now(frame):
            self._carry_out(parsed)
        elif parsed.close is not None:
            self._close(parsed.close)

    def _hold(self, broadcast: Broadcast) -> None:
        if len(self._early) < GROUP_MESSAGES:
            self._early.append(broadcast)
        else:
            self._session.losses.count("full", self._path)

    def _meaningless(self, error: ValueError) -> None:
        self._session.throttled_log.warn(logger, "A message for the WebSocket %s was ignored: %s.", self._path, error)

    def _carry_out(self, parsed: ParsedReply) -> None:
        if parsed.deny:
            self._refuse(403)
        if parsed.accept:
            self._accept()
        if parsed.payload is not None:
            self._deliver(parsed.payload)
        if parsed.close is not None:
            self._close(parsed.close)

    def _accept(self) -> None:
        if self.state is not SocketState.WAITING:
            return
        self.state = SocketState.OPEN
        self._connect_over = math.inf
        lifetime = self._session.config.websocket_timeout
        if lifetime >= 0:
            self._life_over = self._session.clock() + lifetime
            self._session.timers.schedule(self, self._life_over)
        known = self._session.config.ws_protocols
        offered = self._scope.get("subprotocols") or ()
        chosen = next((protocol for protocol in offered if protocol in known), None)
        self._send_queue.put({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
        early, self._early = self._early, []
        for broadcast in early:
            self.broadcast(broadcast)

    def _deliver(self, payload: str | bytes) -> None:
        if self.state is not SocketState.OPEN or self._write_now(encode_frame(payload)):
            return
        key = "text" if isinstance(payload, str) else "bytes"
        self._send_queue.put({"type": "websocket.send", key: payload}, len(payload))
        if self._send_queue.overfull:
            self._give_up()

    def _write_now(self, frame: bytes) -> bool:
        """Write past the server's `send`, if it lets us and nothing is on its way there that would be overtaken."""
        return self._write is not None and self._send_queue.idle and self._write(frame)

    def _refuse(self, status: int) -> None:
        """Answer the handshake with an HTTP status; where the server offers only one, that is 403."""
        if self.state is not SocketState.WAITING:
            return
        self.state = SocketState.CLOSING
        self._connect_over = math.inf
        if status != 403 and "websocket.http.response" in (self._scope.get("extensions") or {}):
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5")]
            self._send_queue.put({"type": "websocket.http.response.start", "status": status, "headers": headers})
            self._send_queue.put({"type": "websocket.http.response.body", "body": b"Service unavailable.\n"})
        else:
            self._send_queue.put({"type": "websocket.close"})
        self._inbound.stop_waiting_for_room()

    def _close(self, code: int) -> None:
        if self.state is SocketState.WAITING:
            self._refuse(403)
        if self.state is SocketState.OPEN:
            self.state = SocketState.CLOSING
            self._send_queue.put({"type": "websocket.close", "code": code})
            self._inbound.stop_waiting_for_room()  # to meet the end of the connection

    def _give_up(self) -> None:
        """The client does not read what it is sent."""
        self._session.throttled_log.warn(logger, "The WebSocket %s is closed: its client does not read.", self._path)
        self._send_queue.clear()
        self._close(POLICY)
        if self._raw is not None:
            self._raw["abort"]()

    def _send_failed(self, error: BaseException) -> None:
        # The server says that the client is gone; what it has to say about that comes through `receive`.
        logger.debug("Sending to the WebSocket %s failed: %r", self._path, error)
