"""Finds and runs the consumer of one message; returns its outcome and what it sent.

No exception of a route, a callback, a signal receiver or a consumer leaves this module, not even SystemExit, which
would end the thread and leave its messages unanswered. The result carries Ctrl-C along. Sends are only collected here;
the loop writes them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.db import close_old_connections

from channels_classic._current import current_message
from channels_classic._isolation import MessageContexts
from channels_classic._pending import Pair, Sender
from channels_classic.channel import Group
from channels_classic.layers.codec import Outcome
from channels_classic.layers.flows import answering
from channels_classic.layers.losses import count_loss, kind_of
from channels_classic.layers.names import inbox_of
from channels_classic.layers.planner import Delivery, Outgoing
from channels_classic.message import Message, pending_message_store
from channels_classic.routing import Match

from .attempt import Attempt
from .awaitables import refuse_unfinished
from .context import Context
from .control_flow import shown
from .hooks import ConsumerHooks
from .result import ConsumerResult
from .stats import ConsumerStats, Stats
from .tracing import tracing_of_this_process

logger = logging.getLogger("django.channels")

StartCoroutine = Callable[[Match, Message, ConsumerResult], None]


class ConsumerRunner:
    """Runs the consumers of one worker thread, one at a time; `start_coroutine` is given those that are `async def`."""

    def __init__(
        self, context: Context, contexts: MessageContexts, statistics: Stats, start_coroutine: StartCoroutine
    ) -> None:
        self._context = context
        self._contexts = contexts
        self._wrapper = context.wrapper
        self._statistics = statistics
        self._start_coroutine = start_coroutine
        self.result: ConsumerResult | None = None
        """The result of the message whose consumer runs."""
        self._hooks = ConsumerHooks(context.sender)
        self._attempt: Attempt | None = None
        self.is_waiting = False
        """True while a coroutine waits for its turn, and then until the loop has handed it over."""
        self._verbose = False
        self._tracing = tracing_of_this_process()

    def enter_thread(self) -> None:
        """Begin in the thread that runs the consumers."""
        self._hooks.enter_thread()

    @property
    def running(self) -> str | None:
        """The name of the consumer that runs now. Other threads may look."""
        attempt = self._attempt
        return attempt.stats.name if self.result is not None and attempt is not None else None

    def begin_batch(self) -> None:
        """Look up whether each message gets a log line: once per batch, which is cheaper than for each message."""
        self._verbose = logger.isEnabledFor(logging.DEBUG)

    def deliver(self, pairs: list[Pair]) -> None:
        """Collect what a consumer sent."""
        if self.result is not None:
            send_elsewhere(collect(pairs, self.result.sends, self._wrapper))

    def consume(self, delivery: Delivery) -> ConsumerResult | None:
        """Run the consumer of a message; return its result, or None when it continues as a coroutine."""
        self.result = ConsumerResult(delivery, delivery.reply_channel)
        self._attempt = None
        try:
            if self._context.clock() >= delivery.deadline:
                expire(self._context, self.result)
                return self.result
            return self._contexts.new().run(self._consume, delivery, self.result)
        finally:
            self.result = None

    def _consume(self, delivery: Delivery, result: ConsumerResult) -> ConsumerResult | None:
        found = self._find(delivery, result)
        if found is None:
            self._statistics.named("(no consumer)").add(0.0, result.outcome)
            return result
        message, match = found
        if self._context.callback is not None:
            self._call_back(delivery.channel, message, result)
        stats = self._statistics.of(match[0])
        if stats.is_async:
            return self._start(match, message, result, stats)
        self._run(match, message, result, stats)
        return result

    def _start(
        self, match: Match, message: Message, result: ConsumerResult, stats: ConsumerStats
    ) -> ConsumerResult | None:
        """Start a coroutine, and return None; its result, if the system allows no more threads or descriptors."""
        self.is_waiting = True
        try:
            self._start_coroutine(match, message, result)
        except (RuntimeError, OSError) as error:
            self.is_waiting = False
            attempt = Attempt(self._context, match, message, result, stats)
            attempt.fail(error)
            attempt.finish(attempt.duration, self._verbose)
            return result
        return None

    def _find(self, delivery: Delivery, result: ConsumerResult) -> tuple[Message, Match] | None:
        """Return a message with its consumer; None, logged, if the routing has none or failed."""
        try:
            message = Message(delivery.message, delivery.channel, self._wrapper)
            current_message.set(message)
            message.in_turn = delivery.token is not None
            if message.in_turn:
                answering.set(result.running_report)
            message.is_stopping = self._context.is_stopping  # type: ignore[method-assign]  # in place of the default
            if message.get("__retries__") == self._context.message_retries:
                message.__doomed__ = True  # type: ignore[attr-defined]  # as in Channels 1.1.8: informational
            match = self._wrapper.router.match(message)
        except BaseException as error:
            result.note_interrupt(error)
            self._context.failures.error(
                f"The routing of {delivery.channel}",
                "The routing failed on a message of %s.",
                delivery.channel,
                exc_info=error,
            )
            return None
        if match is not None:
            return message, match
        self._context.failures.error(
            f"No route for {delivery.channel}",
            "No route takes a message of %s: %s",
            delivery.channel,
            shown(delivery.message),
        )
        result.outcome = Outcome.UNROUTED
        return None

    def _call_back(self, channel: str, message: Message, result: ConsumerResult) -> None:
        try:
            self._context.callback(channel, message)  # type: ignore[misc]  # the caller has looked
        except BaseException as error:
            result.note_interrupt(error)
            self._context.failures.error(
                "The callback of the worker",
                "The callback of the worker failed on a message of %s.",
                channel,
                exc_info=error,
            )

    def _run(self, match: Match, message: Message, result: ConsumerResult, stats: ConsumerStats) -> None:
        self._attempt = attempt = Attempt(self._context, match, message, result, stats)
        consumer, kwargs = match
        try:
            self._hooks.start()
            attempt.begin()
            if self._tracing is not None and self._tracing.is_used:
                consumer = self._tracing.traced(consumer, stats.name)
            returned = consumer(message, **kwargs)
            if returned is not None:
                refuse_unfinished(consumer, returned)
            attempt.succeed()
        except BaseException as error:
            attempt.fail(error)
        duration = attempt.check_held()
        self._hooks.finish()
        attempt.finish(duration, self._verbose)
        result.is_over = True

    def give_up(self, error: Exception, where: str) -> None:
        """From the watchdog: report the running consumer as timed out; `where` is its stack."""
        attempt = self._attempt
        if attempt is not None:
            self._contexts.new().run(attempt.time_out, error, where)
            close_old_connections()  # those of the calling thread


def expire(context: Context, result: ConsumerResult) -> None:
    """Give up a message that has become too old to be started, and count it."""
    result.outcome = Outcome.EXPIRED
    context.layer.losses.count("expired", inbox_of(result.delivery.channel))


def collect(pairs: list[Pair], sends: list[Outgoing], wrapper: Any) -> list[Pair]:
    """Append what a consumer sent to `sends`; return the messages that are for other layers."""
    others = []
    for sender, content in pairs:
        layer, own = sender.channel_layer, wrapper.channel_layer
        if layer is wrapper or layer is own or getattr(layer, "channel_layer", None) is own:
            if isinstance(sender, Group):
                sends.append(Outgoing(sender.name, content, True, but=sender.but, retention=sender.retention))
            else:
                sends.append(Outgoing(sender.name, content))
        else:
            others.append((sender, content))
    return others


def send_elsewhere(pairs: list[Pair]) -> None:
    """Send messages that are for other layers. A full one is tried again for `retry_time` in all.

    Each message is removed before it is sent, so two threads that share the list send none of them twice.
    """
    deadline = time.monotonic() + pending_message_store.retry_time
    while pairs:
        try:
            sender, content = pairs.pop(0)
        except IndexError:  # the other thread has taken the last one
            return
        _send_elsewhere(sender, content, deadline)


def _send_elsewhere(sender: Sender, content: dict[str, Any], deadline: float) -> None:
    while True:
        try:
            return sender.send(content, immediately=True)
        except Exception as error:
            full = isinstance(error, sender.channel_layer.ChannelFull)
            if not full or time.monotonic() >= deadline:
                logger.exception("Lost a message for %s on another layer.", sender.name)
                count_loss(sender.channel_layer, "full" if full else kind_of(error), sender.name)
                return None
        time.sleep(pending_message_store.retry_interval)
