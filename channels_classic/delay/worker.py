"""The delay server: takes messages from the channel `asgi.delay`, stores them, and sends each when it is due.

A message there is `{"channel": name, "content": {…}, "delay": milliseconds}`; the delay counts from when it is taken.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.db import Error

from channels_classic._isolation import MessageContexts
from channels_classic._supervisor.signal_pipe import end_at_once, is_free
from channels_classic._transactions import open_transactions, roll_back
from channels_classic.delay.models import DelayedMessage
from channels_classic.delay.storage import Storage, delayed_message
from channels_classic.exceptions import ChannelsError, StepRefused
from channels_classic.layers.names import DELAY_CHANNEL
from channels_classic.signals import check_connections

__all__ = ["Worker"]

logger = logging.getLogger("django.channels")

_PAUSE = 0.1
"""Seconds between checks of an empty channel."""

_AT_ONCE = 100
"""Rows that are read together."""

_BACKOFF = (0.1, 2.0)
"""Seconds between attempts while the layer or the database fails: at first, at most."""

_LOG_INTERVAL = 60.0
"""Seconds in which one kind of failure is logged at most once."""


class _Failures:
    """Failures of the layer and of the database: pauses grow, and the log gets one line for each kind."""

    def __init__(self) -> None:
        self._logged: dict[type[Exception], float] = {}
        self._pause = _BACKOFF[0]

    def begin(self, error: Exception) -> None:
        """Log a failure, unless one of its kind was logged lately, and wait before the next attempt."""
        now = time.monotonic()
        if now - self._logged.get(type(error), -math.inf) > _LOG_INTERVAL:
            self._logged[type(error)] = now
            self._log(error)
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, _BACKOFF[1])

    def end(self) -> None:
        """Log that everything works again, if there was a failure."""
        if self._logged:
            logger.info("The delay server works again.")
            self._logged.clear()
            self._pause = _BACKOFF[0]

    @staticmethod
    def _log(error: Exception) -> None:
        if isinstance(error, Error):
            logger.error(
                "The database of delayed messages failed: %s. New messages stay on the channel %s until it works. "
                "If the table is missing, run `manage.py migrate`.",
                str(error).strip().rstrip("."),
                DELAY_CHANNEL,
            )
        elif isinstance(error, ChannelsError):
            logger.error("%s The delay server retries.", error)
        else:
            logger.error("The delay server failed; retrying.", exc_info=error)


class Worker:
    """Stores and sends delayed messages, in the calling thread.

    The table is searched for due messages every `database_sleep_duration` seconds. Setting `termed` ends `run`;
    with `signal_handlers` signals do what they do to a worker: SIGTERM, SIGINT and SIGHUP set it, SIGHUP also
    `to_be_replaced`, and SIGUSR1 asks for statistics in the log. `in_job` is true while a message is stored or sent.
    Several workers may share a database: each message is sent by the one that deletes its row.
    """

    def __init__(self, channel_layer: Any, signal_handlers: bool = True, database_sleep_duration: float = 1) -> None:
        self.channel_layer = channel_layer
        self.signal_handlers = signal_handlers
        self.database_sleep_duration = database_sleep_duration
        self.termed = False
        self.in_job = False
        self.to_be_replaced = False
        self._storage = Storage(channel_layer)
        self._transactions: frozenset[str] = frozenset()
        self._stored = self._sent = self._stop_signal = 0
        self._is_ending = False  # by a signal
        self._wants_statistics = False
        self._terminal = os.isatty(0)

    def install_signal_handler(self) -> None:
        """Let SIGTERM and SIGINT end `run`; in the main thread only."""
        signal.signal(signal.SIGTERM, self.sigterm_handler)
        signal.signal(signal.SIGINT, self.sigterm_handler)

    def sigterm_handler(self, signo: int, stack_frame: FrameType | None) -> None:
        """End `run` once the message that is being stored or sent is finished; the second signal ends the process."""
        if self._stop_signal:
            self._quit(signo)
        self._stop_signal = signo
        self.to_be_replaced = False
        self.termed = self._is_ending = True
        logger.info("Shutdown signal received%s", ": finishing the current message" if self.in_job else "")

    def run(self) -> None:
        """Store and send until `termed`; may be called again afterwards.

        Failures of the layer and of the database are logged and do not end it. While the database fails no message is
        taken: they stay on the channel, and one that was taken before the failure goes back there.
        """
        self._stop_signal, self._is_ending, self.to_be_replaced = 0, False, False
        last_check = -math.inf
        failures = _Failures()
        contexts = MessageContexts()
        self._transactions = open_transactions()  # of the code that calls this, as in tests
        with self._signals():
            logger.info("Listening on %s", DELAY_CHANNEL)
            try:
                while not self.termed:
                    try:
                        self._end_transactions()
                        check_connections()
                        self._storage.check()
                        contexts.new().run(self._store_next)
                        if time.monotonic() - last_check > self.database_sleep_duration:
                            self._send_due()
                            last_check = time.monotonic()
                        if self._wants_statistics:
                            self._log_statistics()
                    except Exception as error:
                        failures.begin(error)
                    else:
                        failures.end()
                    self.in_job = False
            finally:
                self.in_job = False
                self._storage.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Catch signals inside the block, with `signal_handlers` and in the main thread."""
        if not self.signal_handlers or threading.current_thread() is not threading.main_thread():
            yield
            return
        others: dict[int, Any] = {
            signal.SIGUSR1: self._ask_for_statistics,
            signal.SIGHUP: self._hang_up,
            signal.SIGQUIT: self._quit,
        }
        free = {number: handler for number, handler in others.items() if is_free(number)}
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, *free)}
        self.install_signal_handler()
        for number, handler in free.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _quit(self, signo: int, stack_frame: FrameType | None = None) -> NoReturn:
        end_at_once(signo, logger)

    def _hang_up(self, signo: int, stack_frame: FrameType | None) -> None:
        if not self._stop_signal:
            # A terminal that is closed sends SIGHUP too; then no new server is wanted.
            self.to_be_replaced = not self._terminal or os.isatty(0)
            self.termed = self._is_ending = True
            logger.info("SIGHUP: finishing the current message")

    def _ask_for_statistics(self, signo: int, stack_frame: FrameType | None) -> None:
        self._wants_statistics = True

    def _log_statistics(self) -> None:
        self._wants_statistics = False
        losses = getattr(self.channel_layer, "losses", None)  # a layer written for Channels 1.x counts none
        logger.info(
            "Statistics: %d delayed message(s) stored and %d sent since the start; %d wait in the database, "
            "%d of them due; lost messages: %s.",
            self._stored,
            self._sent,
            DelayedMessage.objects.count(),
            DelayedMessage.objects.is_due().count(),
            (losses and losses.as_dict()) or "none",
        )

    def _store_next(self) -> None:
        """Store the next message, if there is one; an invalid one is logged, counted and dropped."""
        _, message = self.channel_layer.receive([DELAY_CHANNEL], block=False)
        if message is None:
            time.sleep(_PAUSE)
            return
        self.in_job = True
        try:
            delayed = delayed_message(message)
        except (TypeError, ValueError, OverflowError, ValidationError) as error:
            self._storage.drop(message, error)
        else:
            self._storage.store(delayed)
            self._stored += 1

    def _send_due(self) -> None:
        """Send the messages that are due, oldest first, until a signal asks for the end.

        One that the layer refuses is due again later: most often that concerns a single channel, or a shard that is
        down, and the others need not wait. If it refuses many, it is tried again after a pause.
        """
        contexts = MessageContexts()
        refusals: list[StepRefused] = []
        due = DelayedMessage.objects.is_due().order_by("due_date", "pk")
        while len(refusals) < _AT_ONCE and (messages := list(due[:_AT_ONCE])):
            for message in messages:
                if self._is_ending:
                    return
                try:
                    contexts.new().run(self._send, message)
                    self._end_transactions()
                except StepRefused as error:
                    refusals.append(error)
        if refusals:
            raise refusals[0]
        logger.debug("No more delayed messages are due")

    def _end_transactions(self) -> None:
        for alias in roll_back(self._transactions):
            logger.error("A receiver left a transaction of the database %r open: it was rolled back.", alias)

    def _send(self, message: DelayedMessage) -> None:
        self.in_job = True
        logger.info("Sending the delayed message %s for %s", message.pk, message.channel_name)
        try:
            self._sent += message.send(channel_layer=self.channel_layer)
        except (TypeError, ValueError) as error:
            # It would fail again next time, and keep all others waiting.
            self._storage.drop(message, error)
            message.delete()
        except Exception:
            if message.lost_its_row:
                self._storage.keep(message)
            raise
