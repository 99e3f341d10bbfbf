"""Django's views behind a channel: an ``http.request`` message becomes a request, its response becomes messages.

``ViewConsumer`` is the consumer; the messages it sends go to the interface server that owns the client. Nothing here
knows of sockets, workers or layers.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, wraps
from io import BytesIO
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.core.signals import request_finished, request_started
from django.http import FileResponse, HttpRequest, HttpResponse, QueryDict, parse_cookie
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix
from django.utils.datastructures import MultiValueDict
from django.utils.functional import cached_property

from channels_classic._credit import Credit
from channels_classic._pending import pending_message_store
from channels_classic.channel import Channel
from channels_classic.exceptions import RequestAborted, RequestTimeout, ResponseLater
from channels_classic.message import Message

__all__ = ["AsgiHandler", "AsgiRequest", "HttpResponseLater", "ViewConsumer"]

logger = logging.getLogger("django.request")

Reply = dict[str, Any]


class AsgiRequest(HttpRequest):
    """A Django request made from an ``http.request`` message; a large body waits in a temporary file.

    ``path`` and ``method`` must be there. Waiting for the next part of the body may block for ``body_receive_timeout``
    seconds. Raises ``RequestTimeout``, ``RequestAborted``, ``UnicodeDecodeError`` for a query string that is no UTF-8,
    and Django's ``BadRequest``.
    """

    ResponseLater = ResponseLater
    body_receive_timeout: float = 60

    # Django's own, which its stubs leave out.
    _encoding: str | None
    _post: QueryDict
    _files: MultiValueDict[str, Any]

    def __init__(self, message: Message) -> None:
        # Like Django's own subclasses, without HttpRequest.__init__, which would set what is computed here on demand.
        self.message = message
        self.reply_channel = message.reply_channel
        self.resolver_match = None
        self._post_parse_error = False
        self._read_started = False
        self.script_name = _script_name(message)
        self.path = message["path"]
        self.path_info = _path_info(self.path, self.script_name)
        self.method: str = message["method"].upper()
        self.META = _server_meta(message)
        self.META.update(
            REQUEST_METHOD=self.method,
            SCRIPT_NAME=self.script_name,
            PATH_INFO=self.path_info,
        )
        _add_headers(self.META, _header_pairs(message))
        self._set_content_type_params(self.META)  # type: ignore[attr-defined]  # private in Django, not in its stubs
        self._stream = self._receive_body()

    @property
    def body(self) -> bytes:
        """The whole body, also after it was read as a stream. Raises ``RequestDataTooBig``, as Django does."""
        stream, limit = self._stream, settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        position = stream.tell()
        try:
            if limit is not None and stream.seek(0, os.SEEK_END) > limit:
                raise RequestDataTooBig("Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE.")
            stream.seek(0)
            return stream.read()
        finally:
            stream.seek(position)

    def close(self) -> None:
        """Let go of uploaded files and of the body; Django calls it when the response is closed."""
        super().close()
        self._stream.close()

    @cached_property
    def GET(self) -> QueryDict:  # type: ignore[override]  # deletable, for the setter of `encoding`
        return QueryDict(self.message.get("query_string", ""))

    @cached_property
    def COOKIES(self) -> dict[str, str]:  # type: ignore[override]  # parsed on demand, as in Django's subclasses
        return parse_cookie(self.META.get("HTTP_COOKIE", ""))

    def _get_post(self) -> QueryDict:
        if not hasattr(self, "_post"):
            self._load_post_and_files()
        return self._post

    def _set_post(self, post: QueryDict) -> None:
        self._post = post

    def _get_files(self) -> MultiValueDict[str, Any]:
        if not hasattr(self, "_files"):
            self._load_post_and_files()
        return self._files

    POST = property(_get_post, _set_post)
    FILES = property(_get_files)

    def _load_post_and_files(self) -> None:
        # Form parsers such as Django REST Framework's set one of the two; upload handlers must not run a second time.
        if hasattr(self, "_files"):
            self._post = QueryDict(encoding=self._encoding)
        elif hasattr(self, "_post"):
            self._files = MultiValueDict()
        else:
            super()._load_post_and_files()

    def _get_scheme(self) -> str:
        return self.message.get("scheme") or "http"

    def _receive_body(self) -> BinaryIO:
        body = self.message.get("body", b"")
        if not isinstance(body, bytes):
            raise BadRequest(f"The body of the request is of type {type(body).__name__}, not bytes.")
        stream: BinaryIO = BytesIO()
        try:
            stream.write(body)
            if self.message.get("body_channel"):
                for chunk in self._receive_chunks(self.message["body_channel"]):
                    stream.write(chunk)
                    if isinstance(stream, BytesIO) and stream.tell() > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
                        stream = _on_disk(stream)
        except BaseException:
            stream.close()
            raise
        if isinstance(stream, BytesIO):
            self._body = stream.getvalue()  # Django parses forms from it, also after the stream was read
        stream.seek(0)
        return stream

    def _receive_chunks(self, channel: str) -> Iterator[bytes]:
        """The parts of the body that follow on ``channel``; later messages there are left alone."""
        started = time.monotonic()
        while True:
            if time.monotonic() - started > self.body_receive_timeout:
                raise RequestTimeout(f"No part of the body came for {self.body_receive_timeout} seconds.")
            _, chunk = self.message.channel_layer.receive([channel], block=True)
            if chunk is None:
                time.sleep(0.001)  # a layer may ignore `block`
                continue
            if chunk.get("closed"):
                raise RequestAborted("The client went away while its request was being read.")
            yield chunk.get("content", b"")
            if not chunk.get("more_content"):
                return
            started = time.monotonic()


class HttpResponseLater(HttpResponse):
    """Returned by a view that gives no response now, because something else will send one to its reply channel.

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
        set_script_prefix(_script_name(message))
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
        """The response, or ``None`` if there will be none."""
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
            # Django answers what views and middleware raise; here its own error page failed, or the URLconf itself.
            if settings.DEBUG_PROPAGATE_EXCEPTIONS:
                raise
            return self._last_resort(request, error)
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        return response

    def _last_resort(self, request: AsgiRequest, error: Exception) -> HttpResponse:
        facts = {"status_code": 500, "request": request}
        logger.error("Internal Server Error: %s", request.path, exc_info=error, extra=facts)
        text = "".join(traceback.format_exception(error)) if settings.DEBUG else "Internal Server Error"
        return HttpResponse(text, status=500, content_type="text/plain")

    def process_exception_by_middleware(self, exception: Exception, request: HttpRequest) -> HttpResponse:
        """Turn ``ResponseLater`` into a response that passes the middleware and is dropped at the end."""
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
        """The messages of a response, in order: the first carries status and headers, the last no ``more_content``."""
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
        """Pairs of a piece of ``data`` and whether it is the last; no data is one empty piece."""
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


def _on_disk(stream: BytesIO) -> BinaryIO:
    """A file with what was written to `stream`."""
    file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115  # closed with the request
    file.write(stream.getvalue())
    return file


def _script_name(message: Message) -> str:
    return message.get("root_path") or settings.FORCE_SCRIPT_NAME or ""


def _path_info(path: str, script_name: str) -> str:
    """The path below the mount point, from the slash on."""
    prefix = script_name.rstrip("/")
    if prefix and path == prefix:
        return "/"
    if prefix and path.startswith(prefix + "/"):
        return path[len(prefix) :]
    return path


def _server_meta(message: Message) -> dict[str, Any]:
    query_string = message.get("query_string", "")
    client = message.get("client")
    server = message.get("server") or ("unknown", 0)
    meta = {
        "QUERY_STRING": query_string.decode() if isinstance(query_string, bytes) else query_string,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
    }
    if client:
        meta.update(REMOTE_ADDR=client[0], REMOTE_HOST=client[0], REMOTE_PORT=client[1])
    return meta


def _header_pairs(message: Message) -> Iterable[tuple[bytes, bytes]]:
    headers = message.get("headers") or []
    if isinstance(headers, dict):
        # The form that test clients of Channels 1.x send.
        headers = message["headers"] = [(name.encode("latin-1"), value) for name, value in headers.items()]
    return headers


def _add_headers(meta: dict[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        key = _meta_key(name)
        if key is None:
            continue
        text = value.decode("latin-1")
        if key not in meta:
            meta[key] = text
        elif key == "HTTP_COOKIE":
            meta[key] += "; " + text
        else:
            meta[key] += "," + text


@lru_cache(maxsize=512)
def _meta_key(name: bytes) -> str | None:
    """The key of a header in ``META``; none for names with underscores, which could pose as another's."""
    text = name.decode("latin-1")
    if "_" in text:
        return None
    key = text.upper().replace("-", "_")
    return key if text in ("content-length", "content-type") else "HTTP_" + key


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
