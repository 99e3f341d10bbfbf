"""What one WebSocket sends, on its way to the layer: in order, through the gate, and back again when there is no room.

In come the handshake, frames and the end of the connection; out go messages through the hub. Knows nothing of what the
client is sent.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Outgoing

from ..layer.session import LayerSession
from ..layer.timers import Timed
from ..layer.writer import SendResult
from .gate import Gate, InboundMessage

logger = logging.getLogger(__name__)

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"


class InboundQueue:
    """The messages of one WebSocket. `over` is called when its last one has left, `too_large` when one never can.

    `client` is what the wheel asks in its stead.
    """

    __slots__ = (
        "_client",
        "_gate",
        "_held_on",
        "_order",
        "_over",
        "_path",
        "_reply_channel",
        "_resume_reading",
        "_session",
        "_stalled_at",
        "_too_large",
        "is_sent",
    )

    def __init__(
        self, session: LayerSession, client: Timed, path: str, over: Callable[[], None], too_large: Callable[[], None]
    ) -> None:
        self._session = session
        self._client = client
        self._path = path
        self._over = over
        self._too_large = too_large
        self._gate = Gate(session.layer.expiry)
        self._reply_channel = ""
        self._order = 0
        self._held_on: tuple[str, int] | None = None
        self._resume_reading: Callable[[], None] | None = None
        self._stalled_at = math.inf
        self.is_sent = False
        """Whether the layer took the first message, as far as is known."""

    @property
    def nothing_sent(self) -> bool:
        """Whether the layer knows nothing of this client."""
        return self._gate.nothing_sent

    @property
    def connects(self) -> bool:
        """Whether the handshake is what the workers have of this client."""
        return self._gate.channel == CONNECT

    # Messages

    def connect(self, message: dict[str, object]) -> None:
        """The handshake came."""
        self._reply_channel = str(message["reply_channel"])
        self._put(InboundMessage(CONNECT, {**message, "order": 0}, 0))

    def frame(self, data: str | bytes) -> None:
        """A frame came."""
        key = "text" if isinstance(data, str) else "bytes"
        self._order += 1
        message = {"reply_channel": self._reply_channel, "path": self._path, "order": self._order, key: data}
        self._put(InboundMessage(RECEIVE, message, self._order, len(data)))

    def end(self, code: int) -> None:
        """The client is gone; this is its last message."""
        if self.nothing_sent:
            self._leave()
            return
        self._order += 1
        message = {"reply_channel": self._reply_channel, "code": code, "path": self._path, "order": self._order}
        self._put(InboundMessage(DISCONNECT, message, self._order, last=True))

    def _put(self, waiting: InboundMessage) -> None:
        now = self._session.clock()
        self._gate.put(waiting, now)
        self._pump(now)
        self._session.timers.schedule(self._client, self._gate.deadline)

    def _leave(self) -> None:
        self._unblocked()
        self._over()

    # Room

    @property
    def has_room(self) -> bool:
        """Whether more may be read."""
        config = self._session.config
        return self._gate.waiting < config.waiting_frames and self._gate.size < config.waiting_bytes

    def pause_reading(self, resume_reading: Callable[[], None]) -> None:
        """There is no room: call `resume_reading` once there is, or when `stop_waiting_for_room` was called."""
        if self._resume_reading is None:
            self._resume_reading = resume_reading
            self._stalled_at = self._session.clock() + self._session.config.waiting_timeout
            self._session.timers.schedule(self._client, self._stalled_at)

    def stop_waiting_for_room(self) -> None:
        """Read on without room."""
        self._stalled_at = math.inf
        resume_reading, self._resume_reading = self._resume_reading, None
        if resume_reading is not None:
            resume_reading()

    # Through the gate

    def _pump(self, now: float) -> None:
        """Send what may pass."""
        waiting = self._gate.next(now)
        if waiting is not None:
            if self._session.retry_queues.must_wait(waiting.channel):
                self._hold(waiting.channel, waiting.order, now)
            else:
                self._pass(waiting, waiting.token)
        if self._resume_reading is not None and self.has_room:
            self.stop_waiting_for_room()

    def _pass(self, waiting: InboundMessage, token: str | None) -> None:
        self._session.send(Outgoing(waiting.channel, waiting.message, token=token), self._settled)

    def _hold(self, channel: str, order: int, now: float) -> None:
        """A message that passed was certainly not written: it waits for another try."""
        if self._gate.refuse(str(order), now):
            self._held_on = channel, order
            self._session.retry_queues.refused(channel, self)
            return
        self._session.losses.count("full", channel)
        if channel == DISCONNECT:
            self._leave()

    def retry(self) -> None:
        """There may be room on the channel that this client waits for."""
        now = self._session.clock()
        self._gate.retry()
        waiting = self._gate.next(now)
        if waiting is not None:
            self._pass(waiting, waiting.token)
        else:
            self._unblocked()
        self._session.timers.schedule(self._client, self._gate.deadline)

    def _unblocked(self, order: int | None = None) -> None:
        """Nothing of this client waits for room any more, if it was the message `order` that did.

        The report on a message may come before the layer's answer to its sender does. Then the next one waits already,
        and the answer must not take it out of its line.
        """
        if self._held_on is not None and order in (None, self._held_on[1]):
            (channel, _), self._held_on = self._held_on, None
            self._session.retry_queues.passed(channel, self)

    def _settled(self, send: Outgoing, result: SendResult) -> None:
        """A message to the layer has its fate."""
        if result in (SendResult.FULL, SendResult.UNAVAILABLE, SendResult.REFUSED):
            self._hold(send.name, send.message["order"], self._session.clock())
            return
        self._unblocked(send.message["order"])
        self.is_sent = self.is_sent or result is SendResult.ACCEPTED
        if result is SendResult.LOST:
            # It may have been written, so it is not sent again, and the gate stays shut until its lease is over.
            self._session.losses.count("broker", send.name)
        elif result is SendResult.INVALID:
            self._too_large()
            if self._gate.drop(str(send.message["order"]), self._session.clock()):
                self._pump(self._session.clock())
        if send.name == DISCONNECT:
            self._leave()

    def report(self, token: str, outcome: Outcome) -> None:
        """A worker reports on a message of this client."""
        now = self._session.clock()
        channel = self._gate.channel
        if self._gate.report(token, outcome, now):
            if outcome is Outcome.DIED and channel is not None:
                self._session.losses.count("died", channel)
            self._pump(now)
        self._session.timers.schedule(self._client, self._gate.deadline)
        if channel is not None:
            self._session.retry_queues.taken(channel)

    def shorten(self) -> None:
        """What is outstanding, or its report, may be lost with the layer."""
        self._gate.shorten(self._session.clock())
        self._session.timers.schedule(self._client, self._gate.deadline)

    def flush(self) -> None:
        """Let everything that waits pass, in order."""
        for waiting in self._gate.overtake(self._session.clock()):
            self._pass(waiting, None)

    # Time

    @property
    def deadline(self) -> float:
        """When `due` has something to do."""
        return min(self._stalled_at, self._gate.deadline)

    def due(self, now: float) -> bool:
        """Do what is due. True when the socket waited for room for so long that it is to be closed."""
        if now >= self._gate.deadline:
            channel = self._gate.channel
            overtaking = self._gate.due(now)
            if not overtaking and channel is not None:
                self._session.losses.count("unheard", channel)
            for waiting in overtaking:
                self._pass(waiting, None)
            text = (
                "The disconnect of the WebSocket %s does not wait any longer for the consumer of its last %s message."
                if overtaking
                else "Nothing was heard of the last message of the WebSocket %s to %s: its next one is sent."
            )
            self._session.throttled_log.warn(logger, text, self._path, channel)
            self._pump(now)
        if now < self._stalled_at:
            return False
        self._stalled_at = math.inf
        return True
