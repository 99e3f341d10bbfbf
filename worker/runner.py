"""Finds and runs the consumer of one message; returns its outcome and what it sent.

No exception of a route, a callback, a signal receiver or a consumer leaves this module, except Ctrl-C, which the result
carries along. Sends are only collected here; the loop writes them.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from django.db import close_old_connections

from channels_classic._pending import Pair, Sender
from channels_classic.channel import Group
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Delivery, Outgoing
from channels_classic.message import Message, Trace, pending_message_store
from channels_classic.routing import Match

from .awaitables import refuse_awaitable
from .control_flow import CONTROL_EXCEPTIONS, handle, shown
from .failures import consumer_has_failed
from .hooks import ConsumerHooks
from .result import ConsumerResult
from .stats import ConsumerStats, Stats

if TYPE_CHECKING:
    from .async_runner import AsyncConsumerRunner
    from .worker import Worker

logger = logging.getLogger("django.channels")

SLOW = 1.0
"""Seconds for which a consumer may hold its sends before a warning suggests `immediately=True`."""

TRACED = frozenset({"http.request", "websocket.connect"})
"""Channels whose consumers owe the client an answer."""

_forks: list[None] = []
"""Length grows by one per fork; cheaper than `os.getpid()` per message."""

os.register_at_fork(after_in_child=lambda: _forks.append(None))


class ConsumerRunner:
    """Runs the consumers of one worker thread, one at a time; `async def` consumers are only started."""

    def __init__(self, worker: Worker, statistics: Stats, async_runner: AsyncConsumerRunner) -> None:
        self._worker = worker
        self._wrapper = worker.channel_layer
        self._statistics = statistics
        self._async_runner = async_runner
        self.result: ConsumerResult | None = None
        """What the message comes to whose consumer runs."""
        self._hooks = ConsumerHooks(type(worker))
        self._forks = len(_forks)
        self._running: tuple[object, Message, float] | None = None
        self._is_stopping = lambda: worker.termed
        self.verbose = False
        """Whether each message gets a log line; looked up once per batch."""

    def deliver(self, pairs: list[Pair]) -> None:
        """Collect what a consumer sent."""
        if self.result is not None:
            collect(pairs, self.result.sends, self._wrapper)

    def consume(self, delivery: Delivery) -> ConsumerResult | None:
        """Run the consumer of a message; return its result, or None when it continues as a coroutine."""
        self.result = ConsumerResult(delivery, delivery.reply_channel)
        try:
            return self._consume(delivery, self.result)
        finally:
            self.result = None

    def _consume(self, delivery: Delivery, result: ConsumerResult) -> ConsumerResult | None:
        try:
            message = Message(delivery.message, delivery.channel, self._wrapper)
            message.in_turn = delivery.token is not None
            message.is_stopping = self._is_stopping  # type: ignore[method-assign]  # the worker's, in place of the default
            if message.get("__retries__") == self._worker.message_retries:
                message.__doomed__ = True  # type: ignore[attr-defined]  # as in Channels 1.1.8: informational
            match = self._wrapper.router.match(message)
        except Exception:
            logger.exception("The routing failed on a message of %s.", delivery.channel)
            match, message = None, None
        if match is None or message is None:
            if message is not None:
                logger.error("No route takes a message of %s: %s", delivery.channel, shown(delivery.message))
                result.outcome = Outcome.UNROUTED
            self._statistics.named("(no consumer)").add(0.0, result.outcome)
            return result
        if self._worker.callback is not None:
            self._call_back(delivery.channel, message)
        stats = self._statistics.of(match[0])
        if stats.is_async:
            self._async_runner.start(match, message, result)
            return None
        self._run(match, message, result, stats)
        return result

    def _call_back(self, channel: str, message: Message) -> None:
        try:
            self._worker.callback(channel, message)  # type: ignore[misc]  # the caller has looked
        except Exception:
            logger.exception("The callback of the worker failed on a message of %s.", channel)

    def _run(self, match: Match, message: Message, result: ConsumerResult, stats: ConsumerStats) -> None:
        consumer, kwargs = match
        trace: Trace | None = None
        started = time.perf_counter()
        self._running = consumer, message, started
        try:
            self._hooks.start()
            if result.delivery.channel in TRACED:
                trace = watched(result)
            try:
                returned = consumer(message, **kwargs)
                if returned is not None:
                    refuse_awaitable(consumer, returned)
                result.outcome = Outcome.CONSUMED
            except CONTROL_EXCEPTIONS as error:
                result.outcome = handle(error, message, result, self._worker)
            if len(_forks) != self._forks:
                _leave_fork(None)
        except BaseException as error:
            # Also SystemExit: a consumer must not end the worker.
            if len(_forks) != self._forks:
                _leave_fork(error)
            consumer_has_failed(self._worker, consumer, message, error, time.perf_counter() - started)
            result.outcome = Outcome.RAISED
            if isinstance(error, KeyboardInterrupt):
                result.interrupt = error
        duration = time.perf_counter() - started
        if duration > SLOW:
            warn_of_held_messages(stats, result)
        self._hooks.finish()
        stats.add(duration, result.outcome)
        if trace is not None:
            check_answer(trace, result, stats)
        if self.verbose:
            say_how_it_ended(result, stats, duration)

    def give_up(self, error: Exception, where: str) -> None:
        """From the watchdog: report the running consumer as timed out; `where` is its stack."""
        if self._running is not None:
            consumer, message, started = self._running
            consumer_has_failed(self._worker, consumer, message, error, time.perf_counter() - started, where)
            close_old_connections()  # those of the calling thread


# Shared with the runner of coroutines
def collect(pairs: list[Pair], sends: list[Outgoing], wrapper: Any) -> None:
    """Append what a consumer sent to `sends`; messages for another layer are sent there at once."""
    for sender, content in pairs:
        layer, own = sender.channel_layer, wrapper.channel_layer
        if layer is wrapper or layer is own or getattr(layer, "channel_layer", None) is own:
            sends.append(Outgoing(sender.name, content, isinstance(sender, Group)))
        else:
            _send_elsewhere(sender, content)


def watched(result: ConsumerResult) -> Trace | None:
    """Start a record of how a consumer answers its client, if there is one."""
    if result.reply_channel and pending_message_store.active:
        return pending_message_store.watch(result.reply_channel)
    return None


def check_answer(trace: Trace, result: ConsumerResult, stats: ConsumerStats) -> None:
    """Note whether another consumer may answer the client; accept or warn when nothing will."""
    result.delegated = trace.handed_on
    if result.delivery.channel != "websocket.connect" or result.outcome is not Outcome.CONSUMED:
        return
    # Joining a group is not an answer: a consumer that only joins has forgotten to accept.
    if trace.is_accepted:
        result.sends.append(Outgoing(trace.reply_channel, {"accept": True}))
    elif not trace.answered and not trace.mentioned:
        logger.warning(
            "The consumer %s of websocket.connect neither accepted nor closed: the client waits until the handshake "
            'times out. Send {"accept": True} to message.reply_channel, or raise DenyConnection.',
            stats.name,
        )


def warn_of_held_messages(stats: ConsumerStats, result: ConsumerResult) -> None:
    """Warn once per consumer that its messages could have been sent long before it returned."""
    held, seconds = pending_message_store.held()
    if held and seconds > SLOW and not stats.was_slow:
        stats.was_slow = True
        logger.warning(
            "The consumer %s of %s held %d message(s) for %.1f s until it returned: use immediately=True for messages "
            "that must not wait.",
            stats.name,
            result.delivery.channel,
            held,
            seconds,
        )


def say_how_it_ended(result: ConsumerResult, stats: ConsumerStats, duration: float) -> None:
    """Log one line per message, for `-v 2`."""
    outcome = result.outcome.name.lower() if result.outcome is not None else "put back"
    logger.debug("%s -> %s: %s in %.1f ms", result.delivery.channel, stats.name, outcome, duration * 1000)


def _leave_fork(error: BaseException | None) -> None:
    """End a process that a consumer forked and let return: two processes must not share one connection."""
    if error is not None and not isinstance(error, SystemExit):
        logger.error("A process that a consumer forked failed.", exc_info=error)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(error is not None)


def _send_elsewhere(sender: Sender, content: dict[str, Any]) -> None:
    deadline = time.monotonic() + pending_message_store.retry_time
    while True:
        try:
            return sender.send(content, immediately=True)
        except Exception as error:
            full = isinstance(error, sender.channel_layer.ChannelFull)
            if not full or time.monotonic() >= deadline:
                logger.exception("Lost a message for %s on another layer.", sender.name)
                return None
        time.sleep(pending_message_store.retry_interval)
