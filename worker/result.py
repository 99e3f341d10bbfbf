"""The result of one message: its outcome, and what its consumer sent. Plain data, passed to the connection."""

from __future__ import annotations

import functools
import inspect
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Delivery, Outgoing, Report
from channels_classic.utils import name_that_thing


@dataclass(slots=True)
class ConsumerResult:
    """The outcome of a message, and what its consumer sent. `outcome` is None when the message was put back."""

    delivery: Delivery
    reply_channel: str | None
    outcome: Outcome | None = Outcome.RAISED
    sends: list[Outgoing] = field(default_factory=list)
    consumer: object = None
    delegated: bool = False
    interrupt: KeyboardInterrupt | None = None
    is_over: bool = False
    """True once the consumer has ended; what runs in a copy of its context later, such as a task, sends for itself."""
    part_of: ConsumerResult | None = None
    """The result from which this one was split."""
    lacks_reply: bool = False
    """True once a reply could not be sent: a failure is reported instead, so that the client need not wait."""

    def reports(self) -> list[Report]:
        """Attach the report for the client's gate, if one is due, to the last send; return it if that is impossible.

        A request is answered by its response, so only failures are reported, and only if nothing else may answer.
        """
        self.tie()
        if self.lacks_reply and self.outcome is Outcome.CONSUMED:
            self.outcome = Outcome.RAISED
        token = self.delivery.token
        if token is None or self.outcome is None or self.reply_channel is None:
            return []
        if self.delivery.channel == "http.request" and (
            self.outcome is Outcome.CONSUMED or (self.outcome is Outcome.RAISED and self.delegated)
        ):
            return []
        report = Report(self.reply_channel, token, self.outcome)
        last = self.sends[-1] if self.sends else None
        if last is None or last.group or last.name != self.reply_channel:
            return [report]  # it must not arrive before what was sent
        last.report = report
        return []

    def running_report(self, channel: str) -> Report | None:
        """Return the report for a reply that goes to `channel` now, if any: it names the message that is answered.

        From it the interface server recognises replies of a consumer that continued after the lease on its message had
        ended. The response to a request has no order to keep.
        """
        token = self.delivery.token
        if token is None or self.is_over or channel != self.reply_channel or self.delivery.channel == "http.request":
            return None
        return Report(channel, token, Outcome.RUNNING)

    def tie(self) -> None:
        """Let each reply name the message that it answers, see `running_report`."""
        token = self.delivery.token
        if token is None or self.reply_channel is None or self.delivery.channel == "http.request":
            return
        for send in self.sends:
            if send.name == self.reply_channel and not send.group:
                send.report = Report(self.reply_channel, token, Outcome.RUNNING)

    def split(self) -> ConsumerResult:
        """Move what was sent so far to a result of its own, which reports nothing."""
        self.tie()
        sends = [send for send in self.sends if send.token is None]
        self.sends[:] = [send for send in self.sends if send.token is not None]  # the message itself, put back
        delivery = replace(self.delivery, token=None)
        return ConsumerResult(delivery, self.reply_channel, sends=sends, consumer=self.consumer, part_of=self)

    @property
    def source(self) -> str:
        """The consumer, and where it is defined, for the log; with the stream or the path that it was called for."""
        channel, message = self.delivery.channel, self.delivery.message
        if self.consumer is None:
            return f"a consumer of {channel}"
        if channel == "http.request":
            request = f"{message.get('method')} {message.get('path')}"
            return f"{_place(self.consumer)} for {request!r:.200}"
        consumer_of_frame = getattr(self.consumer, "_consumer_of_frame", None)
        if channel == "websocket.receive" and consumer_of_frame is not None:
            with suppress(Exception):  # of a frame that the demultiplexer refused
                stream, inner = consumer_of_frame(message["text"])
                return f"{_place(inner)} for stream {stream!r} of {name_that_thing(self.consumer)}"
        return _place(self.consumer)

    def note_interrupt(self, raised: BaseException) -> None:
        """Let the worker end after this message if Ctrl-C was pressed.

        Python raises that in the main thread alone, and not where a program catches the signal, as `runworker` does.
        Any other such exception is an error of the consumer.
        """
        if (
            isinstance(raised, KeyboardInterrupt)
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self.interrupt = raised

    def unsendable(self, send: Outgoing) -> None:
        """Record that one of `sends` cannot be sent, so that the client does not wait for it."""
        if send.token is not None:
            self.outcome = Outcome.RAISED
        elif send.name == self.reply_channel:
            (self.part_of or self).lacks_reply = True


def _place(consumer: Any) -> str:
    """Return the name of a consumer, and where it is defined."""
    while isinstance(consumer, functools.partial):
        consumer = consumer.func
    name = name_that_thing(consumer)
    try:
        consumer = inspect.unwrap(consumer) if callable(consumer) else consumer
        if not inspect.isroutine(consumer) and not inspect.isclass(consumer):
            consumer = type(consumer)
        return f"{name} ({inspect.getsourcefile(consumer)}:{inspect.getsourcelines(consumer)[1]})"
    except Exception:  # made while the program runs, or from a file that has changed since
        return name
