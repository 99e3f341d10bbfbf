"""Django's views behind a channel: an ``http.request`` message becomes a request, its response becomes messages.

``ViewConsumer`` is the consumer; the messages it sends go to the interface server that owns the client. This module
knows nothing of sockets, workers or layers.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
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

from channels_classic._credit import Credit
from channels_classic._pending import pending_message_store
from channels_classic._request import AsgiRequest, script_name
from channels_classic.channel import Channel
from channels_classic.exceptions import RequestAborted, RequestTimeout, ResponseLater
from channels_classic.message import Message

__all__ = ["AsgiHandler", "AsgiRequest", "HttpResponseLater", "ViewConsumer"]

logger = logging.getLogger("django.request")

Reply = dict[str, Any]


class HttpResponseLater(HttpResponse):
    """Returned by a view that sends no response now, because something else will send one to its reply channel.

    Unlike raising ``ResponseLater`` it does not roll back the transaction of an atomic view.
    """

    status_code = 113


class AsgiHandler(BaseHandler):
    """Django's handler: called with an ``http.request`` message it generates the messages of the response.

    Abandoning the generator closes the response. ``chunk_size``, in bytes, is the most that one message carries.
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
                yield from self.encode_response(response)
        finally:
            if response is None:
                request_finished.send(sender=type(self))
            else:
                response._handler_class = type(self)  # type: ignore[attr-defined]  # the sender, as Django's handlers set it
                response.close()

    def _respond(self, message: Message) -> HttpResponseBase | None:
        """Return the response, or ``None`` if there will be none."""
        try:
            request = self.request_class(message)
        except (UnicodeDecodeError, BadRequest) as error:
            logger.warning("Bad Request (%s): %s", error, message.get("path"), extra={"status_code": 400})
            return HttpResponse(status=400)
        except RequestTimeout:
            return HttpResponse("408 Request Timeout: the upload took too long.", status=408, content_type="text/plain")
        except RequestAborted:
            return None
        try:
            response = self.get_response(request)
        except ResponseLater:
            return HttpResponseLater()
        except Exception as error:
            # Django handles what views and middleware raise; here its own error page failed, or the URLconf itself.
            if settings.DEBUG_PROPAGATE_EXCEPTIONS:
                raise
            return self._last_resort(request, error)
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        return response

    def _last_resort(self, request: AsgiRequest, error: Exception) -> HttpResponse:
        extra = {"status_code": 500, "request": request}
        logger.error("Internal Server Error: %s", request.path, exc_info=error, extra=extra)
        text = "".join(traceback.format_exception(error)) if settings.DEBUG else "Internal Server Error"
        return HttpResponse(text, status=500, content_type="text/plain")

    def process_exception_by_middleware(self, exception: Exception, request: HttpRequest) -> HttpResponse:
        """Turn ``ResponseLater`` into a response that passes through the middleware and is dropped at the end."""
        if isinstance(exception, ResponseLater):
            return HttpResponseLater()
        return super().process_exception_by_middleware(exception, request)

    def adapt_method_mode(
        self,
        is_async: bool,
        method: Any,
        method_is_async: bool | None = None,
        debug: bool = False,
        name: str | None = None,
    ) -> Any:
        """Adapt a handler or middleware as Django does, and let ``ResponseLater`` pass when middleware raises it."""
        # The mode is given for handlers only, not for methods such as `process_view`.
        if method_is_async is False and not is_async and hasattr(method, "__wrapped__"):
            method = convert_exception_to_response(_catching_response_later(method.__wrapped__))
        return super().adapt_method_mode(is_async, method, method_is_async, debug, name)

    @classmethod
    def encode_response(cls, response: HttpResponseBase) -> Iterator[Reply]:
        """Yield the messages of a response: the first has status and headers, all but the last ``more_content``."""
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
        """Yield pairs of a piece of ``data`` and whether it is the last; no data is one empty piece."""
        size = cls.chunk_size
        if len(data) <= size:
            yield data, True
            return
        for position in range(0, len(data), size):
            yield data[position : position + size], position + size >= len(data)


class ViewConsumer:
    """The consumer that runs Django's views. One instance serves all messages and threads.

    The last message of a response leaves when the consumer returns, before all it sent itself; parts before it leave
    at once, but not further ahead of the client than ``credit.WINDOW``, and wait while its channel is full. After the
    layer's ``expiry`` the layer's ``ChannelFull`` is raised and the rest is lost. For a client that is gone the rest is
    not made. Keyword arguments of the route are ignored.
    """

    handler_class: type[AsgiHandler] = AsgiHandler

    retry_interval = 0.05
    """Seconds between two tries on a full channel."""

    def __init__(self) -> None:
        self.handler = self.handler_class()

    def __call__(self, message: Message, **kwargs: Any) -> None:
        credit: Credit | None = None
        for reply in self.handler(message):
            if message.reply_channel is None:
                raise ValueError(f"The message from {message.channel.name!r} has no reply_channel to respond on.")
            if credit is None and reply.get("more_content"):
                credit = Credit(message.reply_channel)
                if credit.channel is not None:
                    reply["credit"] = credit.channel
            if credit is not None:
                try:
                    credit.spend(len(reply.get("content", b"")))
                except RequestAborted:
                    return
            if not reply.get("more_content") and pending_message_store.active:
                pending_message_store.prepend(message.reply_channel, reply)
            else:
                self._send_patiently(message.reply_channel, reply)

    def _send_patiently(self, channel: Channel, reply: Reply) -> None:
        layer = channel.channel_layer
        deadline = time.monotonic() + getattr(layer, "expiry", 60)
        while True:
            try:
                return channel.send(reply, immediately=True)
            except layer.ChannelFull:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(self.retry_interval)


def _encode_headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    if response.cookies:
        headers += [(b"Set-Cookie", cookie.OutputString().encode("latin-1")) for cookie in response.cookies.values()]
    return headers


def _catching_response_later(handler: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    @wraps(handler)
    def inner(request: HttpRequest) -> HttpResponseBase:
        try:
            return handler(request)
        except ResponseLater:
            return HttpResponseLater()

    return inner
