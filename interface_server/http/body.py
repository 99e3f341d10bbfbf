"""The body of one request: read from the client completely before a worker learns of the request.

Small bodies travel with the request's message. Of larger ones only the beginning does; workers ask for the rest, as
often as they want. It is in a temporary file here, as is a small body for which memory has no room. So no worker waits
for a client that sends slowly.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any

from channels_classic.layers.planner import Outgoing

from ..asgi import Receive, Scope
from ..config import InterfaceConfig
from ..layer.question import Question
from .spool import DISK_FULL, NoSpace, SpoolFile, SpoolQuota

DISCONNECT = "http.disconnect"

HTTP_1 = ("1.0", "1.1")

CHUNK = 512 * 1024
"""Bytes of a body that travel with the request's message, and in each answer to a worker that asks for more.

A larger body goes to a file.
"""

DISCARD_TIMEOUT = 2.0
"""Seconds for which a refused client is still read: many look for the response only when they have sent everything."""


class RequestBody:
    """The body of a request: all that a client sends after its headers. `disconnected` if it left midway."""

    def __init__(self, quota: SpoolQuota, scope: Scope, receive: Receive, config: InterfaceConfig) -> None:
        self.disconnected = False
        self.no_space = ""
        """The reason, if it was refused because nothing can hold it."""
        self.size = 0
        self._quota = quota
        self._receive = receive
        self._limit = config.max_body or math.inf
        self._time = config.body_timeout or None
        self._more = True
        self._memory: bytes | bytearray = b""
        self._held = 0  # bytes that count against the quota of memory
        self._file: SpoolFile | None = None
        headers = dict(scope.get("headers") or ())
        declared = headers.get(b"content-length", b"").strip()  # the parser leaves spaces behind it
        # Python refuses to read numbers of thousands of digits; one of twenty exceeds every limit.
        self._declared = int(declared.lstrip(b"0")[:20] or b"0") if declared.isdigit() else 0
        # RFC 9112, section 6.3. In HTTP/2 and later a body needs no header that announces it.
        self._is_empty = scope.get("http_version", "1.1") in HTTP_1 and not (
            self._declared or b"transfer-encoding" in headers
        )
        self._expects_100 = b"expect" in headers

    @property
    def is_spooled(self) -> bool:
        """True if workers have to ask for the rest."""
        return self.size > CHUNK

    @property
    def disk_size(self) -> int:
        """The bytes of its temporary file."""
        return self._file.size if self._file is not None else 0

    async def receive(self) -> int | None:
        """Read everything; return the status to refuse the request with, None if all is well."""
        if self._declared > self._limit:
            return 413
        if self._declared > CHUNK and not self._quota.could_hold(self._declared):
            self.no_space = DISK_FULL
            return 503
        if self._is_empty:
            return await self._receive_all()
        try:
            return await asyncio.wait_for(self._receive_all(), self._time)
        except asyncio.TimeoutError:
            return 408

    async def _receive_all(self) -> int | None:
        try:
            while self._more:
                part = await self._next()
                if self.size > self._limit:
                    return 413
                self._keep(part)
        except NoSpace as error:
            self.no_space = str(error)
            return 503
        return None

    async def _next(self) -> bytes:
        event = await self._receive()
        self._expects_100 = False
        if event["type"] == DISCONNECT:
            self.disconnected = True
            self._more = False
            return b""
        part: bytes = event.get("body", b"")
        self._more = event.get("more_body", False)
        self.size += len(part)
        return part

    def _keep(self, part: bytes) -> None:
        """Keep a part in memory, or write it to the file. Raises `NoSpace`."""
        if self._file is None and self.size <= CHUNK and self._quota.take_memory(len(part)):
            self._append(part)
            self._held += len(part)
            return
        if self._file is None:
            self._file = SpoolFile(self._quota)
            self._append(part)
            part = bytes(self._memory)
            self._forget_memory()
        self._file.append(part)

    def _append(self, part: bytes) -> None:
        """Append to what is in memory: in one piece, because a client may send its body byte by byte."""
        if not self._memory:
            self._memory = part
            return
        if isinstance(self._memory, bytes):
            self._memory = bytearray(self._memory)
        self._memory += part

    def beginning(self) -> bytes:
        """Return what travels with the request's message; of a small body nothing is kept here afterwards."""
        # Of a body that came in one piece this is the very object.
        beginning = bytes(self._memory) if self._file is None else self._file.read(0, CHUNK)
        if not self.is_spooled:
            self.close()
        return beginning

    def whole(self) -> bytes:
        """Return all of it; nothing is kept here afterwards."""
        content = bytes(self._memory) if self._file is None else self._file.read(0, self.size)
        self.close()
        return content

    def answer(self, question: Question, *, closed: bool) -> Outgoing:
        """Return the answer to a worker: a chunk if it asks for one, without content if the body is not kept."""
        chunk: dict[str, Any] = {}
        if question.offset is not None and self._file is not None:
            content = self._file.read(question.offset, CHUNK)
            chunk = {"content": content, "more_content": question.offset + len(content) < self.size}
        return question.answer(closed=closed, chunk=chunk)

    def close(self) -> None:
        """Keep nothing of the body any longer."""
        self._forget_memory()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _forget_memory(self) -> None:
        self._quota.release_memory(self._held)
        self._memory, self._held = b"", 0

    async def drain(self) -> None:
        """Read what a refused client still sends, for a moment; one that waits for `100 Continue` sends nothing."""
        if self._more and not self._expects_100:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._discard_rest(), DISCARD_TIMEOUT)

    async def _discard_rest(self) -> None:
        while self._more:
            await self._next()
