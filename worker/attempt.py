"""One attempt to run a consumer: the same story for functions and for coroutines.

    try:                                    try:
        hooks.start()                           await hooks.start_async()
        attempt.begin()                         attempt.begin()
        consumer(message)                       await consumer(message)
        attempt.succeed()                       attempt.succeed()
    except BaseException as error:          except BaseException as error:
        attempt.fail(error)                     await attempt.fail_async(error)
    duration = attempt.check_held()         duration = attempt.check_held()
    hooks.finish()                          await hooks.finish_async()
    attempt.finish(duration)                attempt.finish(duration)

Failing turns whatever was raised into an outcome: control exceptions are handled, everything else is logged and sent to
the receivers of `consumer_failed` while it is handled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from channels_classic._current import current_message
from channels_classic._pending import Trace, pending_message_store
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Outgoing
from channels_classic.message import Message
from channels_classic.routing import Match
from channels_classic.signals import consumer_failed

from .context import Context
from .control_flow import CONTROL_EXCEPTIONS, handle
from .result import ConsumerResult
from .stats import ConsumerStats

logger = logging.getLogger("django.channels")

SLOW = 1.0
"""Seconds for which a consumer may hold its sends before a warning suggests `immediately=True`."""

TRACED = frozenset({"http.request", "websocket.connect"})
"""Channels whose consumers owe the client an answer."""

_forks: list[None] = []
"""Length grows by one per fork; cheaper than `os.getpid()` per message."""

os.register_at_fork(after_in_child=lambda: _forks.append(None))


class Attempt:
    """One run of the consumer in `match`; `result` gets the outcome.

    `may_wait` allows control exceptions to block. A cancelled coroutine fails with `timeout`, if that is set before.
    """

    __slots__ = (
        "_begun",
        "_context",
        "_forks",
        "_may_wait",
        "_trace",
        "consumer",
        "kwargs",
        "message",
        "result",
        "started",
        "stats",
        "timeout",
    )

    def __init__(
        self,
        context: Context,
        match: Match,
        message: Message,
        result: ConsumerResult,
        stats: ConsumerStats,
        may_wait: bool = True,
    ) -> None:
        self.consumer, self.kwargs = match
        result.consumer = self.consumer
        self.message = message
        self.result = result
        self.stats = stats
        self.timeout: Exception | None = None
        self.started = context.clock()
        self._context = context
        self._may_wait = may_wait
        self._trace: Trace | None = None
        self._begun = False
        self._forks = len(_forks)

    @property
    def duration(self) -> float:
        """Seconds since the attempt was made."""
        return self._context.clock() - self.started

    def begin(self) -> None:
        """Record that the receivers of `consumer_started` have run and the consumer is called next."""
        self._begun = True
        if self.message.channel.name in TRACED and self.result.reply_channel and pending_message_store.active:
            self._trace = pending_message_store.watch(self.result.reply_channel)

    def succeed(self) -> None:
        """Record that the consumer returned."""
        if len(_forks) != self._forks:
            _leave_fork(None)
        self.result.outcome = Outcome.CONSUMED

    def fail(self, raised: BaseException) -> None:
        """Handle an exception of the consumer, or of a receiver of `consumer_started`."""
        error = self._settle(raised)
        if error is not None:
            self._send_failed(error)

    async def fail_async(self, raised: BaseException) -> None:
        """Do what `fail` does on an event loop."""
        error = self._settle(raised)
        if error is not None:
            await consumer_failed.asend_robust(**self._failure(error))

    def _settle(self, raised: BaseException) -> BaseException | None:
        """Determine the outcome; if the consumer failed, log its error and return it."""
        if len(_forks) != self._forks:
            _leave_fork(raised)
        if self._begun and isinstance(raised, CONTROL_EXCEPTIONS):
            try:
                self.result.outcome = handle(raised, self.message, self.result, self._context, self._may_wait)
                return None
            except BaseException as error:
                raised = error
        # Also SystemExit: a consumer must not end the worker.
        self.result.outcome = Outcome.RAISED
        self.result.note_interrupt(raised)
        if self.timeout is not None and isinstance(raised, asyncio.CancelledError):
            self.timeout.__cause__ = raised  # its traceback shows where the coroutine waited
            raised = self.timeout
        self._log(raised)
        return raised

    def time_out(self, error: Exception, where: str) -> None:
        """From another thread, in a new context: report the consumer as failed while it runs; `where` is its stack."""
        current_message.set(self.message)
        self._log(error, where)
        self._send_failed(error)

    def _send_failed(self, error: BaseException) -> None:
        """Send `consumer_failed`; a receiver that raises SystemExit ends neither a worker thread nor the watchdog."""
        try:
            consumer_failed.send_robust(**self._failure(error))
        except BaseException as raised:
            self.result.note_interrupt(raised)
            logger.exception("A receiver of consumer_failed failed.")

    def _log(self, error: BaseException, where: str = "") -> None:
        """Log channel, consumer, duration, path and traceback; or `where`, the stack of a consumer that still runs."""
        path = self.message.content.get("path")
        self._context.failures.error(
            f"The consumer {self.stats.name} of {self.message.channel.name}",
            "The consumer %s of %s failed after %.3f s%s.%s",
            self.stats.name,
            self.message.channel.name,
            self.duration,
            f" at {path!r:.200}" if path else "",
            f" {error}\n{where}" if where else "",
            exc_info=None if where else error,
            keep_lines=True,
        )

    def _failure(self, error: BaseException) -> dict[str, Any]:
        return {
            "sender": self._context.sender,
            "message": self.message,
            "consumer": self.consumer,
            "exception": error,
            "duration": self.duration,
        }

    def check_held(self) -> float:
        """Warn about messages that a slow consumer held; return its duration. Call before the messages are flushed."""
        duration = self.duration
        if duration > SLOW:
            self._warn_of_held_messages()
        return duration

    def finish(self, duration: float, verbose: bool) -> None:
        """Count the attempt and check how the client was answered; call when the messages have been flushed."""
        self.stats.add(duration, self.result.outcome)
        if self._trace is not None:
            self._check_answer(self._trace)
        if verbose:
            outcome = self.result.outcome.name.lower() if self.result.outcome is not None else "put back"
            logger.debug(
                "%s -> %s: %s in %.1f ms", self.result.delivery.channel, self.stats.name, outcome, duration * 1000
            )

    def _check_answer(self, trace: Trace) -> None:
        """Record whether another consumer may answer the client; accept or warn when nothing will."""
        self.result.delegated = trace.delegated
        if self.result.delivery.channel != "websocket.connect" or self.result.outcome is not Outcome.CONSUMED:
            return
        # Joining a group is not an answer: a consumer that only joins has forgotten to accept.
        if trace.is_accepted:
            self.result.sends.append(Outgoing(trace.reply_channel, {"accept": True}))
        elif not trace.answered and not trace.mentioned:
            logger.warning(
                "The consumer %s of websocket.connect neither accepted nor closed: the client waits until the "
                'handshake times out. Send {"accept": True} to message.reply_channel, or raise DenyConnection.',
                self.stats.name,
            )

    def _warn_of_held_messages(self) -> None:
        """Warn once per consumer that its messages could have been sent long before it returned."""
        held, seconds = pending_message_store.held()
        if held and seconds > SLOW and not self.stats.was_slow:
            self.stats.was_slow = True
            logger.warning(
                "The consumer %s of %s held %d message(s) for %.1f s until it returned: use immediately=True for "
                "messages that must not wait.",
                self.stats.name,
                self.result.delivery.channel,
                held,
                seconds,
            )


def _leave_fork(error: BaseException | None) -> None:
    """End a process that a consumer forked and let return: two processes must not share one connection."""
    if error is not None and not isinstance(error, SystemExit):
        logger.error("A process that a consumer forked failed.", exc_info=error)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(error is not None)
