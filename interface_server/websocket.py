"""One WebSocket: its handshake, its frames through the gate, what workers send it, and its disconnect, once and last.

ASGI events come from the server and go to it, messages go to the layer through the hub. Knows no framing, no sockets.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from channels_classic.interface_server.client import Broadcast
from channels_classic.interface_server.decision import NORMAL, Decision, decide
from channels_classic.interface_server.frames import encode_frame
from channels_classic.interface_server.gate import Gate, Waiting
from channels_classic.interface_server.hub import Hub
from channels_classic.interface_server.outbox import Outbox
from channels_classic.interface_server.scope import Event, Receive, Scope, Send, connection_keys, raw_extension
from channels_classic.interface_server.writer import Fate
from channels_classic.layers import delivery
from channels_classic.layers.codec import Outcome

logger = logging.getLogger(__name__)

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"

NO_STATUS = 1005
ABNORMAL = 1006
POLICY = 1008
TOO_BIG = 1009
TRY_AGAIN_LATER = 1013

REFUSALS = {Outcome.RAISED: 403, Outcome.UNROUTED: 403, Outcome.EXPIRED: 503, Outcome.DROPPED: 503}
"""How a handshake is answered whose connect message ended like this before anybody decided."""


class State(Enum):
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
        "_gate",
        "_heard",
        "_held_on",
        "_hub",
        "_life_over",
        "_order",
        "_outbox",
        "_path",
        "_raw",
        "_receive",
        "_reply_channel",
        "_room",
        "_scope",
        "_stall_over",
        "_write",
        "local",
        "slot",
        "state",
    )

    def __init__(self, hub: Hub, scope: Scope, receive: Receive, send: Send) -> None:
        self.slot: int | None = None
        self.local = hub.registry.new_local()
        self.state = State.WAITING
        self._hub = hub
        self._scope = scope
        self._path: str = scope["path"]
        self._receive = receive
        self._outbox = Outbox(send, self._send_failed)
        self._gate = Gate(hub.layer.expiry)
        self._reply_channel = ""
        self._order = 0
        self._heard = False  # a worker took the connect message
        self._held_on: str | None = None
        self._room: asyncio.Future[None] | None = None
        self._stall_over = math.inf
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
            while (event := await self._receive())["type"] == RECEIVE:
                self._frame(event)
                if self._has_no_room():
                    await self._wait_for_room()
            code = event.get("code") or NO_STATUS
        finally:
            self._end(code)
        await self._outbox.sent()

    def _begin(self) -> None:
        hub, now = self._hub, self._hub.clock()
        self._reply_channel = hub.add(self)
        message = connection_keys(self._scope, self._reply_channel, "ws", hub.config.root_path)
        message["order"] = 0
        timeout = hub.config.websocket_connect_timeout
        if timeout >= 0:
            self._connect_over = now + timeout
        self._gate.put(Waiting(CONNECT, message, 0), now)
        self._pump(now)
        hub.wheel.at(self, self._deadline)

    def _frame(self, event: Event) -> None:
        if self.state is State.CLOSING:
            return
        self._order += 1
        data = event.get("text")
        key = "text"
        if data is None:
            data, key = event.get("bytes") or b"", "bytes"
        message = {"reply_channel": self._reply_channel, "path": self._path, "order": self._order, key: data}
        now = self._hub.clock()
        self._gate.put(Waiting(RECEIVE, message, self._order, len(data)), now)
        self._pump(now)

    def _has_no_room(self) -> bool:
        config = self._hub.config
        return self.state is not State.CLOSING and (
            self._gate.waiting >= config.waiting_frames or self._gate.size >= config.waiting_bytes
        )

    async def _wait_for_room(self) -> None:
        """Do not read on before some of the waiting frames passed, or the client is given up."""
        self._room = asyncio.get_running_loop().create_future()
        self._stall_over = self._hub.clock() + self._hub.config.waiting_timeout
        self._hub.wheel.at(self, self._stall_over)
        await self._room
        self._room = None
        self._stall_over = math.inf

    def _end(self, code: int) -> None:
        """The client is gone: it leaves its groups now, and its disconnect follows its last frame."""
        self.state = State.GONE
        self._connect_over = self._life_over = math.inf
        if self._gate.untouched:
            self._let_go()
            return
        self._order += 1
        message = {"reply_channel": self._reply_channel, "code": code, "path": self._path, "order": self._order}
        now = self._hub.clock()
        self._gate.put(Waiting(DISCONNECT, message, self._order, last=True), now)
        self._hub.gone(self)
        self._pump(now)
        self._hub.wheel.at(self, self._deadline)

    def _let_go(self) -> None:
        self._tried()
        self._hub.remove(self)

    # To the layer, through the gate

    def _pump(self, now: float) -> None:
        """Send what may pass."""
        waiting = self._gate.next(now)
        if waiting is not None:
            if self._hub.backlog.must_wait(waiting.channel):
                self._hold(waiting.channel, waiting.order, now)
            else:
                self._pass(waiting, waiting.token)
        if self._room is not None and not self._room.done() and not self._has_no_room():
            self._room.set_result(None)

    def _pass(self, waiting: Waiting, token: str | None) -> None:
        self._hub.send(delivery.Send(waiting.channel, waiting.message, token=token), self._settled)
        self._hub.wheel.at(self, self._gate.deadline)

    def _hold(self, channel: str, order: int, now: float) -> None:
        """A message that passed was certainly not written: it waits for another try."""
        if self._gate.refuse(str(order), now):
            self._held_on = channel
            self._hub.backlog.refused(channel, self)
            return
        self._hub.losses.count("full", channel)
        if channel == DISCONNECT:
            self._let_go()

    def retry(self) -> None:
        """There may be room on the channel that this client waits for."""
        now = self._hub.clock()
        self._gate.retry()
        waiting = self._gate.next(now)
        if waiting is not None:
            self._pass(waiting, waiting.token)
        else:
            self._tried()

    def _tried(self) -> None:
        """Nothing of this client waits for room any more."""
        if self._held_on is not None:
            channel, self._held_on = self._held_on, None
            self._hub.backlog.passed(channel, self)

    def _settled(self, send: delivery.Send, fate: Fate) -> None:
        """A message to the layer has its fate."""
        if fate is Fate.FULL or fate is Fate.HELD:
            self._hold(send.name, send.message["order"], self._hub.clock())
            return
        self._tried()
        if fate is Fate.LOST:
            # It may have been written, so it is not sent again, and the gate stays shut until its lease is over.
            self._hub.losses.count("broker", send.name)
        elif fate is Fate.INVALID:
            self._close(TOO_BIG)
            self._gate.drop(str(send.message["order"]), self._hub.clock())
        if send.name == DISCONNECT:
            self._let_go()

    def report(self, token: str, outcome: Outcome) -> None:
        """A worker reports on a message of this client."""
        now = self._hub.clock()
        channel = self._gate.channel
        if channel == CONNECT:
            self._heard = True
            if self.state is State.WAITING and outcome in REFUSALS:
                self._refuse(REFUSALS[outcome])
        if self._gate.report(token, outcome, now):
            self._pump(now)
        self._hub.wheel.at(self, self._deadline)
        if channel is not None:
            self._hub.backlog.taken(channel)

    def layer_back(self) -> None:
        """What is outstanding, or its report, may be lost with the layer."""
        self._gate.shorten(self._hub.clock())
        self._hub.wheel.at(self, self._deadline)

    def hurry(self) -> None:
        """Let everything that waits pass, in order."""
        for waiting in self._gate.overtake(self._hub.clock()):
            self._pass(waiting, None)

    # Time

    @property
    def _deadline(self) -> float:
        return min(self._connect_over, self._life_over, self._stall_over, self._gate.deadline)

    def due(self, now: float) -> float:
        """Do what is due."""
        if now >= self._connect_over:
            self._connect_timed_out()
        if now >= self._life_over:
            self._life_over = math.inf
            self._close(NORMAL)
        if now >= self._stall_over:
            self._hub.notices.warn(
                logger,
                "The WebSocket %s is closed with 1013: its frames waited for %g s. Run more workers for %s.",
                self._path,
                self._hub.config.waiting_timeout,
                RECEIVE,
            )
            self._close(TRY_AGAIN_LATER)
        if now >= self._gate.deadline:
            self._gate_due(now)
        return self._deadline

    def _gate_due(self, now: float) -> None:
        channel = self._gate.channel
        overtaking = self._gate.due(now)
        if overtaking:
            self._hub.notices.warn(
                logger,
                "The disconnect of the WebSocket %s does not wait any longer for the consumer of its last %s message.",
                self._path,
                channel,
            )
            for waiting in overtaking:
                self._pass(waiting, None)
        else:
            self._hub.notices.warn(
                logger,
                "Nothing was heard of a %s message of the WebSocket %s: its next one is sent.",
                channel,
                self._path,
            )
            self._pump(now)

    def _connect_timed_out(self) -> None:
        timeout = self._hub.config.websocket_connect_timeout
        if self._gate.untouched:
            text = "The WebSocket %s is refused: its %s message could not be sent within %g s."
        elif not self._heard:
            text = "The WebSocket %s is refused: no worker took its %s message within %g s. Is `runworker` running?"
        else:
            text = (
                "The WebSocket %s is refused: the consumer of its %s message neither accepted nor closed it within "
                '%g s; it should send {"accept": True} to the reply channel.'
            )
        self._hub.notices.warn(logger, text, self._path, CONNECT, timeout)
        self._refuse(503 if self._gate.untouched else 403)

    # To the client

    def reply(self, message: Mapping[str, Any]) -> None:
        """A message came for the reply channel."""
        try:
            decision = decide(message, waiting=self.state is State.WAITING)
        except ValueError as error:
            self._meaningless(error)
        else:
            self._carry_out(decision)

    def broadcast(self, broadcast: Broadcast) -> None:
        """A message came for a group."""
        if self.state is not State.OPEN:
            self.reply(broadcast.message)
            return
        try:
            decision = broadcast.decision
        except ValueError as error:
            self._meaningless(error)
            return
        payload = decision.payload
        if payload is None or not self._write_now(broadcast.frame(payload)):
            self._carry_out(decision)
        elif decision.close is not None:
            self._close(decision.close)

    def _meaningless(self, error: ValueError) -> None:
        self._hub.notices.warn(logger, "A message for the WebSocket %s was ignored: %s.", self._path, error)

    def _carry_out(self, decision: Decision) -> None:
        if decision.deny:
            self._refuse(403)
        if decision.accept:
            self._accept()
        if decision.payload is not None:
            self._deliver(decision.payload)
        if decision.close is not None:
            self._close(decision.close)

    def _accept(self) -> None:
        if self.state is not State.WAITING:
            return
        self.state = State.OPEN
        self._connect_over = math.inf
        lifetime = self._hub.config.websocket_timeout
        if lifetime >= 0:
            self._life_over = self._hub.clock() + lifetime
            self._hub.wheel.at(self, self._life_over)
        known = self._hub.config.ws_protocols
        offered = self._scope.get("subprotocols") or ()
        chosen = next((protocol for protocol in offered if protocol in known), None)
        self._outbox.put({"type": "websocket.accept", "subprotocol": chosen, "headers": []})

    def _deliver(self, payload: str | bytes) -> None:
        if self.state is not State.OPEN or self._write_now(None, payload):
            return
        key = "text" if isinstance(payload, str) else "bytes"
        self._outbox.put({"type": "websocket.send", key: payload}, len(payload))
        if self._outbox.overfull:
            self._give_up()

    def _write_now(self, frame: bytes | None, payload: str | bytes = b"") -> bool:
        """Write past the server's `send`, if it lets us and nothing is on its way there that would be overtaken."""
        if self._write is None or not self._outbox.idle:
            return False
        return self._write(encode_frame(payload) if frame is None else frame)

    def _refuse(self, status: int) -> None:
        """Answer the handshake with an HTTP status; where the server offers only one, that is 403."""
        if self.state is not State.WAITING:
            return
        self.state = State.CLOSING
        self._connect_over = math.inf
        if status != 403 and "websocket.http.response" in (self._scope.get("extensions") or {}):
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5")]
            self._outbox.put({"type": "websocket.http.response.start", "status": status, "headers": headers})
            self._outbox.put({"type": "websocket.http.response.body", "body": b"Service unavailable.\n"})
        else:
            self._outbox.put({"type": "websocket.close"})
        self._read_on()

    def _close(self, code: int) -> None:
        if self.state is State.WAITING:
            self._refuse(403)
        if self.state is State.OPEN:
            self.state = State.CLOSING
            self._outbox.put({"type": "websocket.close", "code": code})
            self._read_on()

    def _give_up(self) -> None:
        """The client does not read what it is sent."""
        self._hub.notices.warn(logger, "The WebSocket %s is closed: its client does not read.", self._path)
        self._outbox.clear()
        self._close(POLICY)
        if self._raw is not None:
            self._raw["abort"]()

    def _read_on(self) -> None:
        """Read again, to meet the end of the connection."""
        self._stall_over = math.inf
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _send_failed(self, error: BaseException) -> None:
        # The server says that the client is gone; what it has to say about that comes through `receive`.
        logger.debug("Sending to the WebSocket %s failed: %r", self._path, error)
