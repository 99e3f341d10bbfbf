"""A Django request made from an `http.request` message.

Importable as `channels_classic.handler.AsgiRequest`, as in Channels 1.1.8. Knows nothing of responses and handlers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from io import BytesIO
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.http import HttpRequest, QueryDict, parse_cookie
from django.utils.datastructures import MultiValueDict
from django.utils.functional import cached_property

from channels_classic._client import RemoteClient
from channels_classic._headers import pairs
from channels_classic.exceptions import RequestAborted, RequestTimeout, ResponseLater
from channels_classic.message import Message

_NO_PORT = "0"
"""The port of a server without one, as in Channels 1.x."""


class AsgiRequest(HttpRequest):
    """A Django request made from an `http.request` message.

    `path` and `method` must be there. The body is received when it is first read, and waits in a temporary file if
    it is large; any number of requests made from one message, or from a copy of it, can read it. Raises
    `UnicodeDecodeError` for a query string that is not UTF-8, and Django's `BadRequest`; where the body is received
    also `RequestTimeout` after `body_receive_timeout` seconds without a part, and `RequestAborted`.
    """

    ResponseLater = ResponseLater
    body_receive_timeout: float = 60

    # Attributes of Django's that its stubs leave out.
    _encoding: str | None
    _post: QueryDict
    _files: MultiValueDict[str, Any]

    def __init__(self, message: Message) -> None:
        # As in Django's own subclasses, HttpRequest.__init__ is not called: it would set what is computed on demand.
        self.message = message
        self.reply_channel = message.reply_channel
        self.resolver_match = None
        self._post_parse_error = False
        self._read_started = False
        self.script_name = script_name(message)
        self.path = message["path"]
        self.path_info = _path_info(self.path, self.script_name)
        self.method: str = message["method"].upper()
        body = message.get("body", b"")
        if not isinstance(body, bytes):
            raise BadRequest(f"The body of the request is of type {type(body).__name__}, not bytes.")
        if message.get("body_channel") and not RemoteClient(self.reply_channel).can_answer:
            body += self._receive_from(message["body_channel"])
        self.META = _server_meta(message)
        self.META.update(
            REQUEST_METHOD=self.method,
            SCRIPT_NAME=self.script_name,
            PATH_INFO=self.path_info,
        )
        _add_headers(self.META, _header_pairs(message))
        if body and "CONTENT_LENGTH" not in self.META:
            # A chunked body; without a length Django and others take it for empty.
            self.META["CONTENT_LENGTH"] = str(message.get("body_size", len(body)))
        try:
            self._set_content_type_params(self.META)  # type: ignore[attr-defined]  # private, not in the stubs
            if self._encoding:
                # Django takes any codec for a charset, even one that decodes no text or cannot replace what is invalid.
                b"\xff1".decode(self._encoding, "replace")
        except (LookupError, ValueError) as error:
            raise BadRequest(f"The Content-Type {self.META['CONTENT_TYPE']!r} cannot be parsed: {error}.") from error

    def get_port(self) -> str:
        """Return the port; over a Unix socket, where the server has none, the one that the scheme implies.

        Django's check of the `Referer` against `CSRF_COOKIE_DOMAIN` takes any other port for a part of the origin.
        """
        port = super().get_port()
        return port if port != _NO_PORT else "443" if self.is_secure() else "80"

    def is_disconnected(self) -> bool:
        """Return True if the client left, so that nobody will read the response.

        It asks the interface server, which takes about a millisecond; without one that can answer it is False.
        """
        return RemoteClient(self.reply_channel).is_gone()

    @cached_property
    def _stream(self) -> BinaryIO:  # type: ignore[override]  # made on demand
        """The body, from its beginning: asked for on first use, which for most requests never comes."""
        return self._receive_body()

    @property
    def body(self) -> bytes:
        """Return the whole body, also after it was read as a stream. Raises `RequestDataTooBig`, as Django does."""
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
        """Close uploaded files and the body; Django calls this when the response is closed."""
        super().close()
        if "_stream" in self.__dict__:
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
            self._load_from_the_beginning()

    def _load_from_the_beginning(self) -> None:
        """Parse the body, also after it was read as a stream, and leave the stream where it is."""
        position = self._stream.tell() if self._read_started else 0
        if position:
            self._stream.seek(0)
        self._read_started = False
        try:
            super()._load_post_and_files()
        finally:
            if "_stream" in self.__dict__:
                self._stream.seek(position)

    def _get_scheme(self) -> str:
        return self.message.get("scheme") or "http"

    def _receive_body(self) -> BinaryIO:
        stream: BinaryIO = BytesIO()
        try:
            stream.write(self.message.get("body", b""))
            for chunk in self._receive_chunks():
                stream.write(chunk)
                if isinstance(stream, BytesIO) and stream.tell() > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
                    stream = _on_disk(stream)
        except BaseException:
            stream.close()
            raise
        stream.seek(0)
        return stream

    def _receive_chunks(self) -> Iterator[bytes]:
        """Yield the parts of the body that the message does not carry."""
        client = RemoteClient(self.reply_channel)
        offset, more = len(self.message.get("body", b"")), bool(self.message.get("body_channel"))
        while more:
            chunk = client.ask(timeout=self.body_receive_timeout, offset=offset)
            if "content" not in chunk:
                raise RequestAborted("The body of the request is no longer kept: its client left.")
            yield chunk["content"]
            offset += len(chunk["content"])
            more = chunk["more_content"]

    def _receive_from(self, channel: str) -> bytes:
        """Return the rest of the body from an interface server that sends it on `channel` unasked.

        As in the ASGI draft. It is there only once, so it is put into the message for those who read it later.
        """
        parts: list[bytes] = []
        started = time.monotonic()
        while True:
            if time.monotonic() - started > self.body_receive_timeout:
                raise RequestTimeout(f"No part of the body arrived for {self.body_receive_timeout} seconds.")
            _, chunk = self.message.channel_layer.receive([channel], block=True)
            if chunk is None:
                time.sleep(0.001)  # a layer may ignore `block`
                continue
            if chunk.get("closed"):
                raise RequestAborted("The client disconnected while its request was being read.")
            parts.append(chunk.get("content", b""))
            if not chunk.get("more_content"):
                break
            started = time.monotonic()
        rest = b"".join(parts)
        self.message["body"] = self.message.get("body", b"") + rest
        del self.message.content["body_channel"]
        return rest


def _on_disk(stream: BytesIO) -> BinaryIO:
    """Return a temporary file with what was written to `stream`."""
    file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115  # closed with the request
    file.write(stream.getvalue())
    return file


def script_name(message: Message) -> str:
    """Return the path at which the site is mounted."""
    return message.get("root_path") or settings.FORCE_SCRIPT_NAME or ""


def _path_info(path: str, script_name: str) -> str:
    """Return the path below the mount point, from the slash on."""
    prefix = script_name.rstrip("/")
    if prefix and path == prefix:
        return "/"
    if prefix and path.startswith(prefix + "/"):
        return path[len(prefix) :]
    return path


def _server_meta(message: Message) -> dict[str, Any]:
    query_string = message.get("query_string", "")
    client = message.get("client")
    server = message.get("server") or ("unknown", _NO_PORT)
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
        # Test clients of Channels 1.x send a dict.
        headers = message["headers"] = pairs(headers)
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
    """Return the key of a header in `META`; None for names with underscores, which could pose as another header."""
    text = name.decode("latin-1")
    if "_" in text:
        return None
    key = text.upper().replace("-", "_")
    return key if text in ("content-length", "content-type") else "HTTP_" + key
