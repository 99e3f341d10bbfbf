"""Django's views behind a channel: an `http.request` message becomes a request, its response becomes messages.

`ViewConsumer` is the consumer; the messages it sends go to the interface server that owns the client. This module
knows nothing of sockets, workers or layers.
"""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.core.signals import request_finished, request_started
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from channels_classic._async_parts import AsyncParts
from channels_classic._client import PartSender, RemoteClient
from channels_classic._pending import pending_message_store
from channels_classic._request import AsgiRequest, script_name
from channels_classic.exceptions import RequestAborted, RequestTimeout, ResponseLater
from channels_classic.message import Message

__all__ = ["AsgiHandler", "AsgiRequest", "HttpResponseLater", "ViewConsumer"]

logger = logging.getLogger("django.request")
channels_logger = logging.getLogger("django.channels")

Reply = dict[str, Any]

STREAM_GRACE = 2.0
"""Seconds in which a response in parts, without a `Content-Length`, may end after its worker was told to stop."""


class HttpResponseLater(HttpResponse):
    """Returned by a view that sends no response now, because something else will send one to its reply channel.

    Unlike raising `ResponseLater` it does not roll back the transaction of an atomic view.
    """

    status_code = 113


class AsgiHandler(BaseHandler):
    """Django's handler: called with an `http.request` message it generates the messages of the response.

    Abandoning the generator closes the response. `chunk_size`, in bytes, is the most that one message carries.
    """

    request_class: type[AsgiRequest] = AsgiRequest
    chunk_size = 512 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.load_middleware()

    def __call__(self, message: Message) -> Iterator[Reply]:
        set_script_prefix(script_name(message))
        request_started.send(sender=type(self), message=message)
        response = self._respond(message)
        try:
            if response is not None and response.status_code != HttpResponseLater.status_code:
                if _has_no_content(message, response):
                    sent = _without_content(response)
                else:
                    sent = response
                    _prepare_stream(message, response, self.chunk_size)
                yield from self.encode_response(sent)
        finally:
            if response is None:
                request_finished.send(sender=type(self))
            else:
                response._handler_class = type(self)  # type: ignore[attr-defined]  # the sender, as Django's handlers set it
                response.close()

    def _respond(self, message: Message) -> HttpResponseBase:
        """Return the response, an `HttpResponseLater` if there will be none."""
        try:
            request = self.request_class(message)
        except (UnicodeDecodeError, BadRequest) as error:
            path = _escaped(message.get("path"))
            logger.warning("Bad Request (%s): %s", _escaped(error), path, extra={"status_code": 400})
            return HttpResponse(status=400)
        except tuple(_RESPONSES) as error:
            return _response_to(error)
        try:
            return self.get_response(request)
        except tuple(_RESPONSES) as error:
            return _response_to(error)
        except Exception as error:
            # Django handles what views and middleware raise; here its own error page failed, or the URLconf itself.
            if settings.DEBUG_PROPAGATE_EXCEPTIONS:
                raise
            return self._last_resort(request, error)

    def _last_resort(self, request: AsgiRequest, error: Exception) -> HttpResponse:
        extra = {"status_code": 500, "request": request}
        logger.error("Internal Server Error: %s", _escaped(request.path), exc_info=error, extra=extra)
        text = "".join(traceback.format_exception(error)) if settings.DEBUG else "Internal Server Error"
        return HttpResponse(text, status=500, content_type="text/plain")

    def process_exception_by_middleware(self, exception: Exception, request: HttpRequest) -> HttpResponse:
        """Turn `ResponseLater` into a response that passes through the middleware and is dropped at the end.

        Likewise a body that the view could not read: its client is gone, or it did not arrive in time.
        """
        if isinstance(exception, tuple(_RESPONSES)):
            return _response_to(exception)
        return super().process_exception_by_middleware(exception, request)

    def adapt_method_mode(
        self,
        is_async: bool,
        method: Any,
        method_is_async: bool | None = None,
        debug: bool = False,
        name: str | None = None,
    ) -> Any:
        """Adapt a handler or middleware as Django does; `ResponseLater` of middleware becomes a response, too."""
        # The mode is given for handlers only, not for methods such as `process_view`.
        if method_is_async is False and not is_async and hasattr(method, "__wrapped__"):
            method = convert_exception_to_response(_answering(method.__wrapped__))
        return super().adapt_method_mode(is_async, method, method_is_async, debug, name)

    @classmethod
    def encode_response(cls, response: HttpResponseBase) -> Iterator[Reply]:
        """Yield the messages of a response: the first has status and headers, all but the last `more_content`."""
        reply: Reply = {"status": response.status_code, "headers": _encode_headers(response)}
        if response.streaming:
            for part in response:
                for chunk, _ in cls.chunk_bytes(part):
                    reply["content"] = chunk
                    reply["more_content"] = True
                    yield reply
                    reply = {}
            reply["more_content"] = False
            yield reply
            return
        for chunk, last in cls.chunk_bytes(response.content):  # type: ignore[attr-defined]  # not streaming: has content
            reply["content"] = chunk
            reply["more_content"] = not last
            yield reply
            reply = {}

    @classmethod
    def chunk_bytes(cls, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield pairs of a piece of `data` and whether it is the last; no data is one empty piece."""
        size = cls.chunk_size
        if len(data) <= size:
            yield data, True
            return
        for position in range(0, len(data), size):
            yield data[position : position + size], position + size >= len(data)


class ViewConsumer:
    """The consumer that runs Django's views. One instance serves all messages and threads.

    The last message of a response leaves when the consumer returns, before all it sent itself; parts before it leave
    at once, and wait while the client's channel is full. After the layer's `expiry` the layer's `ChannelFull` is
    raised and the rest is lost. For a client that is gone the rest is not made: the response is closed at the next
    part. Keyword arguments of the route are ignored.
    """

    handler_class: type[AsgiHandler] = AsgiHandler

    retry_interval = 0.05
    """Seconds between two attempts on a full channel."""

    def __init__(self) -> None:
        self.handler = self.handler_class()

    def __call__(self, message: Message, **kwargs: Any) -> None:
        replies = self.handler(message)
        try:
            self._send(message, replies)
        except RequestAborted:
            # Nobody reads the rest. If that is because the worker stops, the client must not take it for complete.
            if message.is_stopping() and message.reply_channel is not None:
                message.reply_channel.send({"closed": True}, immediately=True)
                line = _escaped(f"{message.get('method')} {message.get('path')}")
                channels_logger.warning("The response to %s was cut off: its worker is stopping.", line)
        finally:
            close = getattr(replies, "close", None)  # a handler of a project may return a list
            if close is not None:
                close()

    def _send(self, message: Message, replies: Iterable[Reply]) -> None:
        sender: PartSender | None = None
        for reply in replies:
            if message.reply_channel is None:
                raise ValueError(f"The message from {message.channel.name!r} has no reply_channel to respond on.")
            if not reply.get("more_content") and pending_message_store.active:
                pending_message_store.prepend(message.reply_channel, reply)
                continue
            if sender is None:
                sender = PartSender(message.reply_channel, self.retry_interval)
            sender.send(reply)


def _encode_headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    if response.cookies:
        headers += [(b"Set-Cookie", cookie.OutputString().encode("latin-1")) for cookie in response.cookies.values()]
    return headers


def _answering(handler: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    @wraps(handler)
    def inner(request: HttpRequest) -> HttpResponseBase:
        try:
            return handler(request)
        except tuple(_RESPONSES) as error:
            return _response_to(error)

    return inner


def _has_no_content(message: Message, response: HttpResponseBase) -> bool:
    """Return True if the response ends with its headers (RFC 9110, section 6.4.1)."""
    return message["method"].upper() == "HEAD" or response.status_code in (204, 304)


def _without_content(response: Any) -> HttpResponseBase:
    """Return a copy of a response with its headers alone; what would make the content does not run."""
    head: Any = copy(response)
    if response.streaming:
        head.streaming_content = ()
    else:
        head.content = b""
    return head  # type: ignore[no-any-return]


def _prepare_stream(message: Message, response: Any, chunk_size: int) -> None:
    """Let a stream be read in large blocks if it is a file, and end with the worker if nothing says that it ends."""
    if not response.streaming:
        return
    if isinstance(response, FileResponse):
        response.block_size = chunk_size
    has_end = response.has_header("Content-Length")
    is_over = _never if has_end else _grace(message.is_stopping)
    if getattr(response, "is_async", False):
        client = RemoteClient(message.reply_channel)
        response.streaming_content = AsyncParts(response.streaming_content, lambda: is_over() or client.is_gone())
    if not has_end:
        response.streaming_content = _until(is_over, response.streaming_content)


def _never() -> bool:
    return False


def _grace(is_stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that returns True once the worker has been stopping for `STREAM_GRACE`."""
    deadline = math.inf

    def is_over() -> bool:
        nonlocal deadline
        if is_stopping():
            deadline = min(deadline, time.monotonic() + STREAM_GRACE)
        return time.monotonic() >= deadline

    return is_over


def _until(is_over: Callable[[], bool], parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield part
        if is_over():
            raise RequestAborted("The worker is stopping, and the response may be endless.")


def _escaped(text: object) -> str:
    """Return text for a log line, which nothing that a client sends can end."""
    return str(text).encode("unicode_escape").decode("ascii")


_RESPONSES: dict[type[Exception], Callable[[], HttpResponse]] = {
    ResponseLater: HttpResponseLater,
    RequestAborted: HttpResponseLater,
    RequestTimeout: lambda: HttpResponse(
        "408 Request Timeout: the upload took too long.", status=408, content_type="text/plain"
    ),
}
"""The response to exceptions that are not the project's errors."""


def _response_to(error: BaseException) -> HttpResponse:
    """Return the response for one of these errors, or of a project's subclass of one."""
    return next(respond() for kind, respond in _RESPONSES.items() if isinstance(error, kind))
