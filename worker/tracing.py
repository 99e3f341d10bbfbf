"""Traces consumers with OpenTelemetry: each is a span of the request or socket that caused its message.

Only where `opentelemetry-api` is installed and the project has set a tracer provider; otherwise consumers are called
without it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from channels_classic import __version__
from channels_classic.message import Message

from .control_flow import CONTROL_EXCEPTIONS


def tracing_of_this_process() -> Tracing | None:
    """Return the tracing of consumers, or None where OpenTelemetry is not installed."""
    try:
        return Tracing()
    except ImportError:
        return None


class Tracing:
    """Makes the spans. Raises `ImportError` where OpenTelemetry is not installed."""

    def __init__(self) -> None:
        from opentelemetry import propagate, trace

        self._trace = trace
        self._extract = propagate.extract
        self._tracer = trace.get_tracer("channels_classic", __version__)

    @property
    def is_used(self) -> bool:
        """True if the project has set a tracer provider."""
        return not isinstance(self._trace.get_tracer_provider(), self._trace.ProxyTracerProvider)

    def traced(self, consumer: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return a function that calls `consumer`, which is called `name`, inside a span."""

        def call(message: Message, **kwargs: Any) -> Any:
            with self._span(message, name):
                return consumer(message, **kwargs)

        return call

    def traced_async(self, consumer: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Awaitable[Any]]:
        """Do the same for a coroutine function."""

        async def call(message: Message, **kwargs: Any) -> Any:
            with self._span(message, name):
                return await consumer(message, **kwargs)

        return call

    @contextmanager
    def _span(self, message: Message, name: str) -> Iterator[None]:
        # Names and attributes are those of OpenTelemetry's conventions for messaging and for code.
        channel = message.channel.name
        span = self._tracer.start_span(
            f"process {channel}",
            context=self._extract(message.trace_context),
            kind=self._trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "channels",
                "messaging.operation.type": "process",
                "messaging.destination.name": channel,
                "messaging.message.conversation_id": message.request_id,
                "code.function.name": name,
            },
        )
        with self._trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except CONTROL_EXCEPTIONS:
                raise  # a refusal or a postponement is not an error
            except BaseException as error:
                span.record_exception(error)
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, str(error)))
                raise
