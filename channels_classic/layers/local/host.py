"""The host of the local layer: a store served over a Unix socket, from the event loop of one interface server.

In come frames of steps from the clients on this machine, out go their results. What a step does is the store's affair;
who may host is decided by a lock that ends with the process, whatever ends it.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import struct
import threading
import weakref
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, cast

import msgpack

from channels_classic.exceptions import StepRefused
from channels_classic.layers.local.wire import FRAME_LIMIT, Lose, decode_step, encode_result, unpacker
from channels_classic.layers.steps import Step, Take
from channels_classic.layers.store import Store, Watch

logger = logging.getLogger(__name__)

WRITE_BUFFER = 1024 * 1024
"""Bytes that wait for one client before the host stops working for it."""

ACCEPT_TURNS = 5
"""Turns of the event loop from a connection's arrival until it is served."""

TOUCH_INTERVAL = 3600.0
"""Seconds between two touches of the files, so that what cleans temporary folders leaves them."""

_PEER_CREDENTIALS = struct.Struct("3i")
_hosts: weakref.WeakSet[Host] = weakref.WeakSet()


def acquire(path: str) -> int | None:
    """The lock on `path` as a file descriptor, or None when another process hosts. Closing it gives the lock back."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


class Host:
    """Serves `store` at `path` for as long as it holds `lock`, which becomes its own."""

    def __init__(self, store: Store, path: str, lock: int, lock_path: str) -> None:
        self.store = store
        self.path = path
        self.pid = os.getpid()
        self.sessions: set[_Session] = set()
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self._lock = lock
        self._lock_path = lock_path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server: asyncio.AbstractServer | None = None
        self._touching: asyncio.TimerHandle | None = None
        self.stopped = False

    async def start(self) -> None:
        """Bind and serve. What lies at the path is left from a host that died: the lock says so."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self._socket.bind(self.path)
        os.chmod(self.path, 0o600)
        self._server = await self.loop.create_unix_server(partial(_Session, self), sock=self._socket, backlog=1024)
        _leave_to_the_parent_at_fork()
        _hosts.add(self)
        self._touch()

    def _touch(self) -> None:
        for path in (self.path, self._lock_path):
            with suppress(OSError):
                os.utime(path)
        self._touching = self.loop.call_later(TOUCH_INTERVAL, self._touch)

    async def stop(self) -> None:
        """Drop all clients and what the store holds, and let another host."""
        _hosts.discard(self)
        if self._touching is not None:
            self._touching.cancel()
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.stopped = True
        # Nobody comes any more. Who was accepted just now needs some turns until its transport is made, for which
        # asyncio wants a server that is open.
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        for session in list(self.sessions):
            session.drop()
        self._socket.close()
        os.close(self._lock)
        await asyncio.sleep(0)  # transports close on the next turn of the loop

    def forget(self) -> None:
        """Let go of everything in a child of the host's process, so that lock and sockets end with the host alone.

        The numbers stay taken: the objects that hold them close them once more when they go.
        """
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (self._lock, self._socket.fileno(), *(session.number for session in self.sessions)):
            if number >= 0:
                os.dup2(nothing, number, inheritable=False)
        os.close(nothing)


class _Session(asyncio.Protocol):
    """One client: runs its steps in order, one at a time.

    A `Take` that finds nothing holds up the steps behind it until an entry comes, its time is over or it is woken up.
    A wake-up that finds no waiting `Take` is kept for the next one, which then does not wait: it may have come first.
    Entries leave the store in the moment in which they are written: what a client that dies has not read from its
    socket is lost, and never given to another.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._store = host.store
        self._unpacker = unpacker()
        self._steps: deque[Step | Lose | StepRefused] = deque()
        self._held = 0
        self._woken = False
        self._stalled = False
        self._watch: Watch | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self.number = transport.get_extra_info("socket").fileno()
        if not _same_user(self.number):
            logger.warning("A process of another user connected to %s: refused.", self._host.path)
            transport.abort()
            return
        if self._host.stopped:
            transport.abort()
            return
        transport.set_write_buffer_limits(WRITE_BUFFER)
        self._host.sessions.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._host.sessions.discard(self)
        self._steps.clear()
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        # Whatever a client wrote, and whatever comes of it, is the end of that client alone.
        try:
            self._read(data)
            self._advance()
        except (ValueError, msgpack.UnpackException) as error:
            logger.warning("A client of %s wrote no step and is dropped: %r", self._host.path, error)
            self.drop()
        except Exception:
            logger.exception("A client of %s is dropped, because of a mistake in channels_classic.", self._host.path)
            self.drop()

    def _read(self, data: bytes) -> None:
        self._held += len(data)
        if self._held > FRAME_LIMIT:
            raise ValueError(f"more than {FRAME_LIMIT} bytes are waiting behind a blocking read")
        self._unpacker.feed(data)
        for frame in self._unpacker:
            step = decode_step(frame)
            if step is None:
                self._wake_up()
            else:
                self._steps.append(step)

    def _advance(self) -> None:
        """Run what can be run, and write what came of it."""
        while self._steps and not self._stalled and self._watch is None and not self._transport.is_closing():
            answers, size = [], 0
            while self._steps and size < WRITE_BUFFER:
                result = self._run(self._steps[0])
                if isinstance(result, Watch):
                    break
                self._steps.popleft()
                answers.append(encode_result(result))
                size += len(answers[-1])
            if answers:
                self._transport.write(b"".join(answers))
        if not self._steps:
            self._held = 0

    def _run(self, step: Step | Lose | StepRefused) -> Any:
        if isinstance(step, Take) and step.timeout:
            return self._take(step)
        if isinstance(step, Lose):
            return self._store.lose(step.counts)
        return step if isinstance(step, StepRefused) else self._store.run(step)

    def _take(self, step: Take) -> Any:
        if self._woken:
            self._woken = False
            result = self._store.run(step)
        else:
            result = self._store.take_or_watch(step, self._came)
        if isinstance(result, Watch):
            self._watch = result
            if self._timer is None:
                self._timer = self._host.loop.call_later(step.timeout, self._wake_up)
        else:
            self._stop_waiting()
        return result

    def _came(self) -> None:
        """An entry came, in whichever thread."""
        loop = self._host.loop
        call = loop.call_soon if threading.get_ident() == self._host.thread else loop.call_soon_threadsafe
        call(self._try_again)

    def _wake_up(self) -> None:
        """Wait no longer."""
        self._woken = True
        self._try_again()

    def _try_again(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            self._store.unwatch(watch)
            self._advance()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            self._store.unwatch(self._watch)
            self._watch = None

    def pause_writing(self) -> None:
        self._stalled = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._stalled = False
        self._transport.resume_reading()
        self._advance()

    def drop(self) -> None:
        """End the connection now."""
        self._steps.clear()
        self._stop_waiting()
        self._transport.abort()


def _same_user(number: int) -> bool:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # not Linux: the mode of the folder is what keeps others out
        return True
    # uvloop's own socket objects have no getsockopt.
    with socket.socket(fileno=os.dup(number)) as connection:
        credentials = connection.getsockopt(socket.SOL_SOCKET, option, _PEER_CREDENTIALS.size)
    _, uid, _ = _PEER_CREDENTIALS.unpack(credentials)
    return bool(uid == os.geteuid())


_registered = False


def _leave_to_the_parent_at_fork() -> None:
    global _registered  # noqa: PLW0603 once per process, and os has no way to ask
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    for host in list(_hosts):
        host.forget()
    _hosts.clear()
