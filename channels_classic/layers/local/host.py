"""The host of the local layer: a store served over a Unix socket, from the event loop of one interface server.

Frames of steps come in from the clients on this machine, their results go out. The store carries the steps out; a
`Claim` decides which process hosts, and ends with the process, whatever ends it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import msgpack

from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.local.address import is_abstract, user_of_peer
from channels_classic.layers.local.claim import BACKLOG, Claim, claim
from channels_classic.layers.local.wire import FRAME_LIMIT, Lose, decode_step, encode_result, unpacker
from channels_classic.layers.steps import Step, Take
from channels_classic.layers.store import Store, Watch

logger = logging.getLogger("channels_classic.layers")

WRITE_BUFFER = 1024 * 1024
"""Bytes that wait for one client before the host stops working for it."""

ACCEPT_TURNS = 5
"""Turns of the event loop from a connection's arrival until it is served."""

CHECK_INTERVAL = 1.0
"""Seconds between checks that the files of the address are still there."""

TOUCHES_EVERY = 3600
"""Checks between two touches of the files."""

_hosts: weakref.WeakSet[LocalHost] = weakref.WeakSet()


class LocalHost:
    """Serves `store` at the address of `claim`, which becomes its own.

    A claim on files that were removed is made anew. When another process was faster, `superseded` is called, and the
    layer must become a client of that one.
    """

    def __init__(self, store: Store, claim: Claim, superseded: Callable[[], object]) -> None:
        self.store = store
        self.address = claim.address
        self.pid = os.getpid()
        self.sessions: set[_Session] = set()
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.stopped = False
        self._claim = claim
        self._superseded = superseded
        self._log = ThrottledLog(10, 1.0)
        self._server: asyncio.AbstractServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Serve clients."""
        await self._listen()
        _leave_to_the_parent_at_fork()
        _hosts.add(self)
        if not is_abstract(self.address):
            self._tasks.append(self.loop.create_task(self._guard_claim()))

    async def _listen(self) -> None:
        self._server = await self.loop.create_unix_server(
            partial(_Session, self), sock=self._claim.listener, backlog=BACKLOG
        )

    async def _guard_claim(self) -> None:
        """Notice that the files were removed, before another process takes their absence for that of a host."""
        looks = 0
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            looks += 1
            if self._claim.is_intact():
                if not looks % TOUCHES_EVERY:
                    self._claim.touch()
            elif not await self._claim_again():
                text = "The files of the channel layer at %s were removed, and another process hosts it now."
                logger.error(text, self.address)
                self._superseded()
                return

    async def _claim_again(self) -> bool:
        try:
            renewed = claim(self.address)
        except OSError as error:
            logger.error("The files of the channel layer at %s cannot be restored: %s", self.address, error)
            return True  # nobody else can have it either; clients that are connected go on
        if renewed is None:
            return False
        logger.warning("The files of the channel layer at %s were removed; restoring them.", self.address)
        server, former = self._server, self._claim
        self._claim = renewed
        try:
            await self._listen()
        finally:  # also when the host is stopped at this moment
            if server is not None:
                server.close()
            former.release()
        return True

    async def stop(self) -> None:
        """Drop all clients and what the store holds, and let another process host."""
        _hosts.discard(self)
        for task in self._tasks:
            task.cancel()
        self.stopped = True
        # No new client comes. One that was accepted just now needs some turns of the loop until its transport is made,
        # for which asyncio wants a server that is open.
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        for session in list(self.sessions):
            session.drop()
        self._claim.release()
        await asyncio.sleep(0)  # transports close on the next turn of the loop

    def log_stranger(self, user: int) -> None:
        """Log that a process of another user was refused: it may come as often as it likes."""
        self._log.warn(logger, "A process of another user, %d, connected to %s: refused.", user, self.address)

    def forget(self) -> None:
        """Release everything in a child of the host's process, so that claim and sockets end with the host alone.

        The descriptors stay allocated: the objects that hold them close them once more when they go.
        """
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (*self._claim.descriptors(), *(session.number for session in self.sessions)):
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

    def __init__(self, host: LocalHost) -> None:
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
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self.number = transport.get_extra_info("socket").fileno()
        user = _user_of(self.number)
        if user != os.geteuid():
            self._host.log_stranger(user)
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
        self._guard(lambda: self._read(data))

    def _guard(self, act: Callable[[], object]) -> None:
        """Do what `act` does, then run what can be run. Whatever that raises ends this client alone."""
        try:
            act()
            self._advance()
        except (ValueError, msgpack.UnpackException) as error:
            logger.warning("A client of %s wrote an invalid step and was dropped: %r", self._host.address, error)
            self.drop()
        except LayerUnavailable as error:  # another process hosts now
            logger.warning("A client is dropped. %s", error)
            self.drop()
        except Exception:
            logger.exception("Dropped a client of %s because of a bug in channels_classic.", self._host.address)
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
            self._guard(lambda: self._store.unwatch(watch))

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
        self._guard(self._transport.resume_reading)

    def drop(self) -> None:
        """End the connection now."""
        self._steps.clear()
        self._stop_waiting()
        self._transport.abort()


def _user_of(number: int) -> int:
    # uvloop's own socket objects have no getsockopt.
    with socket.socket(fileno=os.dup(number)) as connection:
        return user_of_peer(connection)


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
