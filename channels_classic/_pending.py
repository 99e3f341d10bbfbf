"""Sends of a running consumer, held until it returns, and a record of what they mean for its reply channel.

`Channel` and `Group` pass in what a consumer sends; it leaves in that order when `consumer_finished` is sent.
Importable as `channels_classic.message.pending_message_store` too, as in Channels 1.1.8.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.util import register_after_fork
from typing import Any, Protocol

from channels_classic.conf import CHANNELS_IMPLICIT_ACCEPT
from channels_classic.layers.base import BeforeRun, before_run
from channels_classic.signals import consumer_finished, consumer_started

logger = logging.getLogger("django.channels")


class Sender(Protocol):
    """A `Channel` or `Group`, as far as holding a message needs it."""

    name: str
    channel_layer: Any

    def send(self, content: dict[str, Any], immediately: bool = False) -> None:
        """Send a message."""


Pair = tuple[Sender, dict[str, Any]]
Deliver = Callable[[list[Pair]], None]


class Trace:
    """Actions of a consumer on one reply channel: it `answered` it, `delegated` the answer, both or neither.

    Delegated means that the name was sent in a message to another channel or group, or was added to a group. A name
    that is passed on in other ways (in a database row, by a call on the layer itself) is not noticed.
    """

    __slots__ = ("answered", "joined", "mentioned", "reply_channel")

    def __init__(self, reply_channel: str) -> None:
        self.reply_channel = reply_channel
        self.answered = False
        self.mentioned = False
        self.joined = False

    @property
    def delegated(self) -> bool:
        """True if another sender may answer: a message `mentioned` the name, or a group was `joined`."""
        return self.mentioned or self.joined

    @property
    def is_accepted(self) -> bool:
        """True if a consumer of `websocket.connect` that returned accepts by `CHANNELS_IMPLICIT_ACCEPT`."""
        return not self.answered and bool(CHANNELS_IMPLICIT_ACCEPT.get())

    def sent(self, name: str, content: dict[str, Any]) -> None:
        """Record a message to a channel or group."""
        if name == self.reply_channel:
            self.answered = True
        elif not self.mentioned:
            self.mentioned = _mentions(content, self.reply_channel)

    def added(self, channel_name: str) -> None:
        """Record that a channel was added to a group."""
        if channel_name == self.reply_channel:
            self.joined = True


def _mentions(value: object, name: str) -> bool:
    """Return whether `name` occurs in `value`, at any depth, also inside a text such as JSON."""
    if isinstance(value, str):
        return name in value
    if isinstance(value, bytes):
        return name.encode() in value
    if isinstance(value, dict):
        return any(_mentions(item, name) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_mentions(item, name) for item in value)
    return False


class _Held:
    """The sends of one running consumer. Contexts copied from its own may outlive it, hence `is_over`."""

    __slots__ = ("is_over", "pairs", "prepended", "since", "trace")

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.prepended = 0
        self.since: float | None = None
        self.trace: Trace | None = None
        self.is_over = False

    def insert(self, position: int, sender: Sender, message: dict[str, Any]) -> None:
        if self.since is None:
            self.since = time.monotonic()
        self.pairs.insert(position, (sender, message))


# Context variables: an async view sees those of the consumer that runs it, a thread started by a consumer does not.
_held: ContextVar[_Held | None] = ContextVar("channels_classic_held", default=None)
_deliver: ContextVar[Deliver | None] = ContextVar("channels_classic_deliver", default=None)


class PendingMessageStore:
    """The sends of the consumer that runs in the current context.

    They are delivered also when the consumer raised. `retry_time` is how many seconds to try again when a channel is
    full, for each message, and `retry_interval` the seconds between two attempts.
    """

    retry_time: float = 2
    retry_interval: float = 0.2

    @property
    def active(self) -> bool:
        """True if the current context is inside a consumer, so that sends are held."""
        return self._current() is not None

    def prepare(self, **kwargs: Any) -> None:
        """Start holding sends; those that an earlier consumer left are dropped."""
        held = self._current()
        if held is None or held.pairs or held.trace:
            _held.set(_Held())

    def append(self, sender: Sender, message: dict[str, Any]) -> None:
        """Hold a message after all others.

        The dict is copied, but not its values, so that it may be changed and sent again.
        """
        held = self._require_current()
        held.insert(len(held.pairs), sender, message.copy())

    def prepend(self, sender: Sender, message: dict[str, Any]) -> None:
        """Hold a message before all appended ones, after those prepended earlier; it must not be changed afterwards.

        It counts as sent for `watch`.
        """
        held = self._require_current()
        held.insert(held.prepended, sender, message)
        held.prepended += 1
        self.sent(sender.name, message)

    def send_and_flush(self, **kwargs: Any) -> None:
        """Send what is held and stop holding; do nothing outside a consumer.

        If a message cannot be sent it is lost and the next ones are sent; losses are logged once. Then the first
        error is raised: `RuntimeError` for a channel that stayed full, otherwise the error of the layer.
        """
        held = self._current()
        if held is None:
            return
        held.is_over = True
        _held.set(None)
        deliver = _deliver.get()
        if deliver is None:
            self._send_each(held.pairs)
        else:
            deliver(held.pairs)

    @contextmanager
    def deliver_with(self, deliver: Deliver, write_first: BeforeRun | None = None) -> Iterator[None]:
        """Inside the block, in this context, flushing calls `deliver(pairs)` once per consumer, also with no pairs.

        `pairs` are `(Channel or Group, content)`, in order. What `deliver` raises reaches direct callers of
        `send_and_flush` and is logged when a consumer ends. `write_first` is called before anything else goes to
        the layer: what was delivered may not have arrived yet.
        """
        tokens = _deliver.set(deliver), before_run.set(write_first)
        try:
            yield
        finally:
            _deliver.reset(tokens[0])
            before_run.reset(tokens[1])

    def watch(self, reply_channel: str) -> Trace:
        """Return a record of what the running consumer does with `reply_channel` from now on; call it after
        `prepare`."""
        trace = Trace(reply_channel)
        self._require_current().trace = trace
        return trace

    def held(self) -> tuple[int, float]:
        """Return how many messages are held, and for how many seconds the first of them has been."""
        held = self._current()
        if held is None or held.since is None:
            return 0, 0.0
        return len(held.pairs), time.monotonic() - held.since

    def sent(self, name: str, content: dict[str, Any]) -> None:
        """Record a message that a consumer sends, now or later."""
        held = self._current()
        if held is not None and held.trace is not None:
            held.trace.sent(name, content)

    def added(self, channel_name: str) -> None:
        """Record that a consumer adds a channel to a group."""
        held = self._current()
        if held is not None and held.trace is not None:
            held.trace.added(channel_name)

    def flush_after_consumer(self, **kwargs: Any) -> None:
        """Call `send_and_flush` for the `consumer_finished` signal: errors are logged, and the worker goes on."""
        deliver = _deliver.get()
        try:
            self.send_and_flush()
        except Exception:
            if deliver is not None:
                logger.exception("The messages of a consumer could not be delivered.")

    @staticmethod
    def _current() -> _Held | None:
        held = _held.get()
        return None if held is None or held.is_over else held

    def _require_current(self) -> _Held:
        held = self._current()
        if held is None:
            raise RuntimeError("No consumer runs in this context, so nothing can be held: call prepare() first.")
        return held

    def _send_each(self, pairs: list[Pair]) -> None:
        errors: list[Exception] = []
        for sender, content in pairs:
            try:
                self._send_with_retries(sender, content)
            except Exception as error:
                errors.append(error)
        if errors:
            logger.error(
                "%s of the %s messages that a consumer sent are lost; the first: %s",
                len(errors),
                len(pairs),
                errors[0],
                exc_info=errors[0],
            )
            raise errors[0]

    def _send_with_retries(self, sender: Sender, content: dict[str, Any]) -> None:
        deadline = time.monotonic() + self.retry_time
        while True:
            try:
                return sender.send(content, immediately=True)
            except sender.channel_layer.ChannelFull as error:
                if time.monotonic() >= deadline:
                    raise RuntimeError(
                        f"The message for {sender.name!r} is lost: the channel stayed full for {self.retry_time} "
                        "seconds after the consumer returned. Does a worker read it?"
                    ) from error
            time.sleep(self.retry_interval)


pending_message_store = PendingMessageStore()


def _leave_consumer(store: PendingMessageStore) -> None:
    """In a child of `multiprocessing`: send at once, since the consumer ends in the parent."""
    for variable in (_held, _deliver, before_run):
        variable.set(None)


# Not in every child: one that returns from a consumer, as both sides of `os.fork` do, sends nothing of it twice.
register_after_fork(pending_message_store, _leave_consumer)

consumer_started.connect_usual(pending_message_store.prepare)
consumer_finished.connect_usual(pending_message_store.flush_after_consumer)
