"""Sends held until the consumer that made them returns, and what they say about its reply channel.

In come the sends of ``Channel`` and ``Group``; out they go, in order, when the worker says ``consumer_finished``.
Importable as ``channels_classic.message.pending_message_store`` too, as in Channels 1.1.8.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from channels_classic.layers.base import BeforeRun, before_run
from channels_classic.signals import consumer_finished, consumer_started

if TYPE_CHECKING:
    from channels_classic.channel import Channel, Group

    Pair = tuple[Channel | Group, dict[str, Any]]
    Deliver = Callable[[list[Pair]], None]

logger = logging.getLogger(__name__)


class Trace:
    """What a consumer did with one reply channel: ``answered`` it, ``handed_on`` its name, both or neither.

    Handed on means: the name went out in a message to another channel or group, or was added to a group. A name that
    left by other ways (a database row, a call on the raw layer) is not seen.
    """

    __slots__ = ("answered", "joined", "mentioned", "reply_channel")

    def __init__(self, reply_channel: str) -> None:
        self.reply_channel = reply_channel
        self.answered = False
        self.mentioned = False
        self.joined = False

    @property
    def handed_on(self) -> bool:
        """Whether something else may answer: a message ``mentioned`` the name, or a group was ``joined``."""
        return self.mentioned or self.joined

    def sent(self, name: str, content: dict[str, Any]) -> None:
        """Note a message to a channel or group."""
        if name == self.reply_channel:
            self.answered = True
        elif not self.mentioned:
            self.mentioned = _mentions(content, self.reply_channel)

    def added(self, channel_name: str) -> None:
        """Note a channel added to a group."""
        if channel_name == self.reply_channel:
            self.joined = True


def _mentions(value: object, name: str) -> bool:
    """Whether ``name`` occurs in ``value``, however deep, also inside a text such as JSON."""
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
    """The sends of one running consumer. Contexts copied from it may outlive it, so it knows that it is over."""

    __slots__ = ("over", "pairs", "prepended", "since", "trace")

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.prepended = 0
        self.since = 0.0
        self.trace: Trace | None = None
        self.over = False


# Context variables: an async view sees those of the consumer that runs it, a thread started by a consumer does not.
_held: ContextVar[_Held | None] = ContextVar("channels_classic_held", default=None)
_deliver: ContextVar[Deliver | None] = ContextVar("channels_classic_deliver", default=None)


class PendingMessageStore:
    """The sends of the consumer that runs in the current context.

    They are delivered also when the consumer raised. ``retry_time`` and ``retry_interval``, in seconds, are how long
    a full channel is waited for, per message, and how often it is tried.
    """

    retry_time: float = 2
    retry_interval: float = 0.2

    @property
    def active(self) -> bool:
        """Whether the current context is inside a consumer, so that sends are held."""
        return self._current() is not None

    def prepare(self, **kwargs: Any) -> None:
        """Start holding sends; what an earlier consumer left behind is dropped."""
        _held.set(_Held())

    def append(self, sender: Channel | Group, message: dict[str, Any]) -> None:
        """Hold a message at the end. The dict is copied, so that it may be changed and sent again; what is in it is
        not."""
        held = self._require_current()
        if not held.since:
            held.since = time.monotonic()
        held.pairs.append((sender, message.copy()))

    def prepend(self, sender: Channel | Group, message: dict[str, Any]) -> None:
        """Hold a message before all appended ones, behind those prepended earlier; it must not be changed afterwards.

        It counts as sent for ``watch``.
        """
        held = self._require_current()
        held.pairs.insert(held.prepended, (sender, message))
        held.prepended += 1
        self.sent(sender.name, message)

    def send_and_flush(self, **kwargs: Any) -> None:
        """Send what is held and hold no longer; nothing happens outside a consumer.

        A message that cannot be sent is lost and the next ones are tried; the loss is logged once. Then the first
        error is raised: ``RuntimeError`` for a channel that stayed full, what the layer raised otherwise.
        """
        held = self._current()
        if held is None:
            return
        held.over = True
        _held.set(None)
        deliver = _deliver.get()
        if deliver is None:
            self._send_each(held.pairs)
        else:
            deliver(held.pairs)

    @contextmanager
    def deliver_with(self, deliver: Deliver, write_first: BeforeRun | None = None) -> Iterator[None]:
        """Inside the block, in this context, flushing calls ``deliver(pairs)`` once per consumer, also with no pairs.

        ``pairs`` are ``(Channel or Group, content)``, in order. What ``deliver`` raises reaches direct callers of
        ``send_and_flush`` and is logged when a consumer ends. ``write_first`` is called before anything else goes to
        the layer: what was delivered may not be there yet.
        """
        tokens = _deliver.set(deliver), before_run.set(write_first)
        try:
            yield
        finally:
            _deliver.reset(tokens[0])
            before_run.reset(tokens[1])

    def watch(self, reply_channel: str) -> Trace:
        """The record of what the running consumer does with ``reply_channel`` from now on; call it after
        ``prepare``."""
        trace = Trace(reply_channel)
        self._require_current().trace = trace
        return trace

    def held(self) -> tuple[int, float]:
        """How many messages are held, and for how many seconds the first of them has been."""
        held = self._current()
        return (len(held.pairs), time.monotonic() - held.since) if held is not None and held.pairs else (0, 0.0)

    def sent(self, name: str, content: dict[str, Any]) -> None:
        """Take note of a message that a consumer sends, now or later."""
        held = self._current()
        if held is not None and held.trace is not None:
            held.trace.sent(name, content)

    def added(self, channel_name: str) -> None:
        """Take note of a channel that a consumer adds to a group."""
        held = self._current()
        if held is not None and held.trace is not None:
            held.trace.added(channel_name)

    def flush_after_consumer(self, **kwargs: Any) -> None:
        """As ``send_and_flush``, for the ``consumer_finished`` signal: what fails is in the log and spares the
        worker."""
        deliver = _deliver.get()
        try:
            self.send_and_flush()
        except Exception:
            if deliver is not None:
                logger.exception("The messages of a consumer could not be delivered.")

    @staticmethod
    def _current() -> _Held | None:
        held = _held.get()
        return None if held is None or held.over else held

    def _require_current(self) -> _Held:
        held = self._current()
        if held is None:
            raise RuntimeError("No consumer runs in this context, so nothing can be held: call prepare() first.")
        return held

    def _send_each(self, pairs: list[Pair]) -> None:
        errors: list[Exception] = []
        for sender, content in pairs:
            try:
                self._send_patiently(sender, content)
            except Exception as error:
                errors.append(error)
        if errors:
            logger.error(
                "%s of the %s messages a consumer sent are lost; the first: %s",
                len(errors),
                len(pairs),
                errors[0],
                exc_info=errors[0],
            )
            raise errors[0]

    def _send_patiently(self, sender: Channel | Group, content: dict[str, Any]) -> None:
        deadline = time.monotonic() + self.retry_time
        while True:
            try:
                return sender.send(content, immediately=True)
            except sender.channel_layer.ChannelFull as error:
                if time.monotonic() >= deadline:
                    raise RuntimeError(
                        f"The message for {sender.name!r} is lost: the channel stayed full for {self.retry_time} "
                        "seconds after the consumer returned. Is anything reading it?"
                    ) from error
            time.sleep(self.retry_interval)


pending_message_store = PendingMessageStore()

consumer_started.connect_usual(pending_message_store.prepare)
consumer_finished.connect_usual(pending_message_store.flush_after_consumer)
