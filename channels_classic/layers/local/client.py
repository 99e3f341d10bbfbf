"""The connections of clients to the host of the local layer: Unix sockets, for a thread or for an event loop.

Steps go out, results come back in their order. What a host held when it ended is lost; nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn, cast

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.answer_timer import AnswerTimer
from channels_classic.layers.local.address import check_address, socket_address, user_of_peer
from channels_classic.layers.local.wire import WAKE, Lose, decode_result, encode_step, unpacker
from channels_classic.layers.losses import Losses
from channels_classic.layers.pool import has_input
from channels_classic.layers.steps import Step, Take

ANSWER_TIMEOUT = 5.0
"""Seconds an answer may take, beyond the time a `Take` waits, before the host counts as lost."""

_NEXT_STEP = "Start one, with `python manage.py runinterface` or `runserver`, or name a Redis layer in CHANNEL_LAYERS."
FOREIGN_NEXT_STEP = (
    "End that process, or give the path of a file in a folder that nobody else may enter as `path` in the CONFIG of "
    "CHANNEL_LAYERS."
)
NO_HOST = (FileNotFoundError, ConnectionRefusedError)
"""Errors of `connect` when there is no host."""

_HOST_ENDED = "the interface server that hosts it has ended"
_READ = 64 * 1024


class SocketConnection:
    """A `Connection` to the host, for one thread."""

    def __init__(self, address: str, losses: Losses) -> None:
        self._address = address
        self._losses = losses
        self._sending = threading.Lock()
        self._blocked = False
        self._woken = False
        self._wake_is_due = False
        self._asked_to_end = False
        self._unread: deque[Step | Lose] = deque()
        self._unpacker = unpacker()
        try:
            self._socket = _connected(self._address)
        except OSError as error:
            raise unavailable(self._address, error) from error
        self._timeout = ANSWER_TIMEOUT

    def _set_timeout(self, timeout: float) -> None:
        self._timeout = timeout
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout))

    def write(self, steps: Sequence[Step]) -> None:
        if any(isinstance(step, Take) and step.timeout for step in steps):
            self._blocked = True  # before `_woken` is read: `wake` looks at them the other way round
            if self._woken:
                steps = [replace(step, timeout=0.0) if isinstance(step, Take) else step for step in steps]
        frames = b"".join(map(encode_step, steps))
        unreported = self._losses.unreported()
        if unreported:
            self._unread.append(Lose(unreported))
            frames = encode_step(Lose(unreported)) + frames
        self._unread.extend(steps)
        try:
            with self._sending:
                self._socket.sendall(frames)
        except OSError as error:
            self._fail(error)
        if self._wake_is_due:
            self._send_wake()

    def usable(self) -> bool:
        try:
            # Nothing is unread, so what can be read is the end of the connection.
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def read(self) -> Any:
        step = self._unread.popleft()
        try:
            answer = self._answer(ANSWER_TIMEOUT + step.timeout if isinstance(step, Take) else ANSWER_TIMEOUT)
        except OSError as error:
            self._fail(error)
        if isinstance(step, Lose):
            return self.read()
        if isinstance(step, Take):
            self._blocked = self._woken = self._asked_to_end = False
        return decode_result(type(step), answer, self._address)

    def _answer(self, timeout: float) -> Any:
        if timeout != self._timeout:
            self._set_timeout(timeout)
        while True:
            for answer in self._unpacker:
                return answer
            data = self._socket.recv(_READ)
            if not data:
                raise ConnectionResetError(_HOST_ENDED)
            self._unpacker.feed(data)

    def _fail(self, error: OSError) -> NoReturn:
        self.close()
        raise unavailable(self._address, error) from error

    def fileno(self) -> int:
        """The socket."""
        return self._socket.fileno()

    def unblock(self) -> None:
        """Ask the host once to end the take that waits; one it finds none for is kept, so no more than once."""
        if not self._asked_to_end:
            self._asked_to_end = True
            self._wake_is_due = True
            self._send_wake()

    def wake(self) -> None:
        self._woken = True
        if self._blocked:
            self._wake_is_due = True
            self._send_wake()

    def _send_wake(self) -> None:
        """Also called from a signal handler, so it waits for nobody: the lock holder does it on release."""
        if not self._sending.acquire(blocking=False):
            return
        try:
            if self._wake_is_due:
                self._wake_is_due = False
                self._socket.sendall(WAKE)
        except OSError:
            pass  # the reader finds out
        finally:
            self._sending.release()

    def close(self) -> None:
        self._unread.clear()
        self._blocked = False
        self._socket.close()


class AsyncSocketConnection:
    """An `AsyncConnection` to the host; a host that came back is found by the next run."""

    def __init__(self, address: str, losses: Losses) -> None:
        self._address = address
        self._losses = losses
        self._turn = asyncio.Lock()
        self._stream: _Stream | None = None

    async def connect(self) -> None:
        """Raises `LayerUnavailable`."""
        async with self._turn, self._guard():
            self._stream = await self._open()

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        limit = ANSWER_TIMEOUT + sum(step.timeout for step in steps if isinstance(step, Take))
        async with self._turn, self._guard():
            if self._stream is None or self._stream.has_ended():
                self._stream = await self._reopen()
            unreported = self._losses.unreported()
            telling = [Lose(unreported)] if unreported else []
            answers = await self._stream.ask([*telling, *steps], limit)
            del answers[: len(telling)]
        return [decode_result(type(step), answer, self._address) for step, answer in zip(steps, answers, strict=True)]

    def usable(self) -> bool:
        """Always: `run` connects again when it must."""
        return True

    async def unblock(self) -> None:
        """Ask the host to end the take that waits."""
        if self._stream is not None:
            self._stream.transport.write(WAKE)

    async def _reopen(self) -> _Stream:
        try:
            return await self._open()
        except OSError as error:
            unreachable = unavailable(self._address, error)
            unreachable.written = False
            raise unreachable from error

    async def _open(self) -> _Stream:
        # In a thread, because `connect` waits while the backlog of the host is full.
        connecting = asyncio.ensure_future(asyncio.to_thread(_connected, self._address))
        try:
            connection = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_connected)
            raise
        connection.setblocking(False)
        _, stream = await asyncio.get_running_loop().create_unix_connection(_Stream, sock=connection)
        return stream

    @asynccontextmanager
    async def _guard(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            # Cancelled or broken in the middle: answers would be taken for those of the next steps.
            await self.close()
            if isinstance(error, (OSError, asyncio.TimeoutError)) and not isinstance(error, LayerUnavailable):
                raise unavailable(self._address, error) from error
            raise

    async def close(self) -> None:
        if self._stream is not None:
            self._stream.transport.abort()
            self._stream = None


class _Stream(asyncio.Protocol):
    """Asks one thing at a time, and collects the answers."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended = False
        self._unpacker = unpacker()
        self._count = 0
        self._answers: list[Any] = []
        self._done: asyncio.Future[list[Any]] | None = None

    async def ask(self, steps: Sequence[Step | Lose], limit: float) -> list[Any]:
        """Write `steps`; their answers come together. Raise `asyncio.TimeoutError` after `limit` seconds."""
        self._done = asyncio.get_running_loop().create_future()
        self._count = len(steps)
        self.transport.write(b"".join(map(encode_step, steps)))
        timer = AnswerTimer(limit, self._give_up)
        try:
            return await self._done
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(asyncio.TimeoutError())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._unpacker.feed(data)
        self._answers.extend(self._unpacker)
        if len(self._answers) >= self._count and self._done is not None and not self._done.done():
            answers, self._answers = self._answers, []
            self._done.set_result(answers)

    def has_ended(self) -> bool:
        """Return True if the host has ended the connection. An event loop that was busy may not know it yet."""
        return self.ended or has_input(self.transport.get_extra_info("socket").fileno())

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(error or ConnectionResetError(_HOST_ENDED))


class ForeignHost(OSError):
    """Raised when a process of another user listens at the address of this user's layer."""


def _connected(address: str) -> socket.socket:
    """Return a blocking socket that is connected to the host. Raise `OSError`."""
    check_address(address)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The kernel's own timeouts: Python's cost a poll for every read, and make it wait where nothing must wait.
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, _timeval(ANSWER_TIMEOUT))
        connection.connect(socket_address(address))
        user = user_of_peer(connection)
        if user != os.geteuid():
            # Anybody may bind an abstract name that is free: such a process must not be trusted.
            raise ForeignHost(f"a process of user {user} listens there, expected one of user {os.geteuid()}")
    except OSError:
        connection.close()
        raise
    return connection


def check_host(address: str) -> None:
    """Raise `ForeignHost` if a process of another user listens at `address`."""
    with suppress(*NO_HOST, BlockingIOError):
        _connected(address).close()


def _close_connected(connecting: asyncio.Future[socket.socket]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))


def unavailable(address: str, error: BaseException) -> LayerUnavailable:
    """Return the error to raise when talking to the host failed with `error`."""
    reason = str(error) if isinstance(error, ForeignHost) else f"{type(error).__name__}: {error}"
    if isinstance(error, NO_HOST):
        reason = "no interface server of this project and user hosts it"
    elif isinstance(error, (BlockingIOError, asyncio.TimeoutError)):
        reason = f"the interface server that hosts it has not answered for {ANSWER_TIMEOUT:g} seconds"
    return LayerUnavailable(address, reason, FOREIGN_NEXT_STEP if isinstance(error, ForeignHost) else _NEXT_STEP)
