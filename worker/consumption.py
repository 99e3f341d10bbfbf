"""One message: its consumer is found and run; out come how that ended and what it sent.

Nothing that a route, a callback, a signal receiver or a consumer does gets past here, except Ctrl-C, which the ending
carries along. What was sent is only collected: writing it is the loop's business.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import close_old_connections

from channels_classic.channel import Channel, Group
from channels_classic.exceptions import ChannelSocketException, ConsumeLater, DenyConnection
from channels_classic.layers.codec import Outcome
from channels_classic.layers.delivery import Delivery, Report, Send
from channels_classic.message import Message, Trace, pending_message_store
from channels_classic.routing import Match
from channels_classic.signals import consumer_finished, consumer_started
from channels_classic.utils import name_that_thing
from channels_classic.worker.failures import consumer_has_failed

if TYPE_CHECKING:
    from channels_classic.worker.worker import Worker

logger = logging.getLogger("django.channels")

REQUEUE_ATTEMPTS = 10
REQUEUE_PAUSE = 0.05
"""Seconds between attempts to put a message back on a full channel, as in Channels 1.1.8."""

_SHOWN = 200  # characters of a message that is dropped

_TRACED = frozenset({"http.request", "websocket.connect"})
"""Channels whose consumers owe the client an answer."""


@dataclass(slots=True)
class Ending:
    """How a message ended, and what its consumer sent. `outcome` is None when it was put back: others report then."""

    delivery: Delivery
    reply_channel: str | None
    outcome: Outcome | None
    sends: list[Send]
    handed_on: bool = False
    interrupt: KeyboardInterrupt | None = None

    def reports(self) -> list[Report]:
        """The report for the gate of the client, if there is one to make.

        A request is answered by its response, so only failures are reported, and none that something else may answer.
        """
        token = self.delivery.token
        if token is None or self.outcome is None or self.reply_channel is None:
            return []
        if self.delivery.channel == "http.request" and (
            self.outcome is Outcome.CONSUMED or (self.outcome is Outcome.RAISED and self.handed_on)
        ):
            return []
        return [Report(self.reply_channel, token, self.outcome)]

    def unsendable(self, send: Send) -> None:
        """Take note that one of `sends` cannot be sent: the client must not wait for it."""
        if send.token is not None or (send.name == self.reply_channel and self.outcome is Outcome.CONSUMED):
            self.outcome = Outcome.RAISED


class Consumption:
    """Runs the consumers of one worker thread, one at a time."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._wrapper = worker.channel_layer
        self._layer = worker.channel_layer.channel_layer
        self._sends: list[Send] = []
        self._pid = os.getpid()
        self._running: tuple[object, Message, float] | None = None
        self.verbose = False
        """Whether each message gets a line; looked up once per batch."""

    def deliver(self, pairs: list[tuple[Channel | Group, dict[str, Any]]]) -> None:
        """Take what a consumer sent. What goes to another layer is sent there at once."""
        for sender, content in pairs:
            layer = sender.channel_layer
            if layer is self._wrapper or layer is self._layer or getattr(layer, "channel_layer", None) is self._layer:
                self._sends.append(Send(sender.name, content, isinstance(sender, Group)))
            else:
                _send_elsewhere(sender, content)

    def consume(self, delivery: Delivery) -> Ending:
        """Run the consumer of a message."""
        self._sends = []
        ending = Ending(delivery, delivery.reply_channel, Outcome.RAISED, self._sends)
        try:
            message = Message(delivery.message, delivery.channel, self._wrapper)
            message.in_turn = delivery.token is not None
            if message.get("__retries__") == self._worker.message_retries:
                message.__doomed__ = True  # type: ignore[attr-defined]  # as in Channels 1.1.8: informational
            match = self._wrapper.router.match(message)
        except Exception:
            logger.exception("The routing failed on a message of %s.", delivery.channel)
            return ending
        if match is None:
            logger.error("No route takes a message of %s: %s", delivery.channel, _shown(delivery.message))
            ending.outcome = Outcome.UNROUTED
            return ending
        if self._worker.callback is not None:
            self._call_back(delivery.channel, message)
        self._run(match, message, ending)
        return ending

    def _call_back(self, channel: str, message: Message) -> None:
        try:
            self._worker.callback(channel, message)  # type: ignore[misc]  # the caller has looked
        except Exception:
            logger.exception("The callback of the worker failed on a message of %s.", channel)

    def _run(self, match: Match, message: Message, ending: Ending) -> None:
        consumer, kwargs = match
        channel = ending.delivery.channel
        trace: Trace | None = None
        started = time.perf_counter()
        self._running = consumer, message, started
        try:
            consumer_started.send(sender=type(self._worker), environ={})
            if channel in _TRACED and ending.reply_channel and pending_message_store.active:
                trace = pending_message_store.watch(ending.reply_channel)
            try:
                consumer(message, **kwargs)
                self._leave_fork(None)
                ending.outcome = Outcome.CONSUMED
            except DenyConnection:
                ending.outcome = _deny(message)
            except ChannelSocketException as error:
                error.run(message)
                ending.outcome = Outcome.CONSUMED
            except ConsumeLater:
                ending.outcome = self._put_back(message, ending.delivery)
        except BaseException as error:
            # Also SystemExit: a consumer must not end the worker.
            self._leave_fork(error)
            consumer_has_failed(self._worker, consumer, message, error, time.perf_counter() - started)
            ending.outcome = Outcome.RAISED
            if isinstance(error, KeyboardInterrupt):
                ending.interrupt = error
        self._finish()
        if trace is not None:
            ending.handed_on = trace.handed_on
            if channel == "websocket.connect" and ending.outcome is Outcome.CONSUMED:
                _check_answer(trace, consumer)
        if self.verbose:
            duration = (time.perf_counter() - started) * 1000
            logger.debug("%s -> %s: %s in %.1f ms", channel, name_that_thing(consumer), _said(ending), duration)

    def _leave_fork(self, error: BaseException | None) -> None:
        """End a process that the consumer forked and let return: two must not go on with one connection."""
        if os.getpid() == self._pid:
            return
        if error is not None and not isinstance(error, SystemExit):
            logger.error("A process that a consumer forked failed.", exc_info=error)
        logging.shutdown()
        sys.stdout.flush()
        os._exit(error is not None)

    def give_up(self, error: Exception, where: str) -> None:
        """From the monitor: the consumer that runs takes too long; `where` is its stack."""
        if self._running is not None:
            consumer, message, started = self._running
            consumer_has_failed(self._worker, consumer, message, error, time.perf_counter() - started, where)
            close_old_connections()  # those of the thread that calls

    def _finish(self) -> None:
        try:
            consumer_finished.send_robust(sender=type(self._worker))
        except BaseException:
            logger.exception("A receiver of consumer_finished failed.")

    def _put_back(self, message: Message, delivery: Delivery) -> Outcome | None:
        """Put a message back at the tail of its channel, unless it has been there too often.

        The very dict the consumer saw: what it changed travels along. It overtakes what the consumer sent.
        """
        content = message.content
        retries = content.get("__retries__", 0) + 1
        content["__retries__"] = retries
        if retries > self._worker.message_retries:
            logger.warning(
                "A message of %s is dropped: it was put back %d times. %s",
                delivery.channel,
                retries - 1,
                _shown(content),
            )
            return Outcome.DROPPED
        if delivery.token is not None:
            self._sends.append(Send(delivery.channel, content, token=delivery.token))
            return None
        for _ in range(REQUEUE_ATTEMPTS):
            try:
                self._wrapper.send(delivery.channel, content)
                return None
            except self._wrapper.ChannelFull:
                time.sleep(REQUEUE_PAUSE)
        logger.warning("A message of %s is dropped: its channel stayed full. %s", delivery.channel, _shown(content))
        self._layer.losses.count("full", delivery.channel)
        return Outcome.DROPPED


def _deny(message: Message) -> Outcome:
    if message.channel.name != "websocket.connect" or message.reply_channel is None:
        raise ValueError(
            f"DenyConnection was raised for a message of {message.channel.name!r}: only a consumer of "
            "websocket.connect can deny; elsewhere raise WebsocketCloseException."
        )
    message.reply_channel.send({"close": True})
    return Outcome.CONSUMED


def _check_answer(trace: Trace, consumer: object) -> None:
    # A group is joined to get what others send later: that is no answer, and the commonest way to forget it.
    if not trace.answered and not trace.mentioned:
        logger.warning(
            "The consumer %s of websocket.connect neither accepted nor closed: the client waits until the handshake "
            'times out. Send {"accept": True} to message.reply_channel, or raise DenyConnection.',
            name_that_thing(consumer),
        )


def _send_elsewhere(sender: Channel | Group, content: dict[str, Any]) -> None:
    deadline = time.monotonic() + pending_message_store.retry_time
    while True:
        try:
            return sender.send(content, immediately=True)
        except Exception as error:
            full = isinstance(error, sender.channel_layer.ChannelFull)
            if not full or time.monotonic() >= deadline:
                logger.exception("A message for %s on another layer is lost.", sender.name)
                return None
        time.sleep(pending_message_store.retry_interval)


def _shown(content: object) -> str:
    text = repr(content)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _said(ending: Ending) -> str:
    return ending.outcome.name.lower() if ending.outcome is not None else "put back"
