"""Connections of a layer's callers: opened when they are needed, kept, and shared.

Steps come in, their results go out. A `ConnectionPool` is for all threads of a process, a `Multiplexer` for all
coroutines of one event loop. They know neither messages nor what the steps do.
"""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from channels_classic._fork import renew_after_fork
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.steps import AsyncConnection, Connection, Length, MemberCount, Step

RETRY_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 0.8)
"""Seconds before each further attempt at steps that a server refused because another one is, or will be, the master.

A planned fail-over and the move of a slot take about a second.
"""

LOOK_AFTER = 0.005
"""Seconds without traffic after which a look at the socket, which takes some microseconds, precedes a write."""

PROBE_AFTER = 1.0
"""Seconds without traffic after which a round trip precedes steps that must not be lost.

A firewall or a load balancer that forgets a connection tells nobody: what is written to it goes nowhere.
"""

UNBLOCK_INTERVAL = 0.005
"""Seconds between attempts to end a take: the first may come before the server has begun to block."""


class ConnectionPool:
    """A thread has a connection to itself for as long as it carries out some steps."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without connections."""
        self._idle: list[tuple[Connection, float]] = []
        self._lock = threading.Lock()

    def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps, in order, in one round trip; a `StepRefused` is among the results, not raised."""
        connection = self._borrow(steps)
        try:
            connection.write(steps)
            results = [connection.read() for _ in steps]
            for pause in RETRY_PAUSES:
                refused = refused_for_now(results)
                if not refused:
                    break
                time.sleep(pause)
                if not connection.usable():
                    # Another server is the one to talk to, or will be soon.
                    connection.close()
                    connection = self._reopened() or connection
                    if not connection.usable():
                        continue
                connection.write([steps[index] for index in refused])
                for index in refused:
                    results[index] = connection.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append((connection, time.monotonic()))
        return results

    def _reopened(self) -> Connection | None:
        """Return a new connection, or None while that is impossible: nothing was written that could be lost."""
        try:
            return self._connect()
        except LayerUnavailable:
            return None

    def _borrow(self, steps: Sequence[Step]) -> Connection:
        with self._lock:
            connection, used = self._idle.pop() if self._idle else (None, 0.0)
        if connection is not None:
            if connection.usable() and (time.monotonic() - used < PROBE_AFTER or answers(connection, probes(steps))):
                return connection
            # It ended since it was used last, and then most likely the others as well.
            connection.close()
            self.close()
        try:
            return self._connect()
        except LayerUnavailable as error:
            error.written = False
            raise

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()


def probes(steps: Sequence[Step]) -> list[Step]:
    """Return steps that change nothing, and are carried out where `steps` will be."""
    queues = {queue: None for step in steps for queue in _queues_of(step)}
    groups = {group: None for step in steps if (group := getattr(step, "group", None)) is not None}
    return [*map(Length, queues), *(MemberCount(group, "") for group in groups)]


def _queues_of(step: Step) -> Sequence[str]:
    queue = getattr(step, "queue", None)
    queues: Sequence[str] = getattr(step, "queues", ()) if queue is None else [queue]
    return queues


def answers(connection: Connection, steps: Sequence[Step]) -> bool:
    """Return whether a connection that idled leads to the layer: carry out `probes`."""
    try:
        connection.write(steps)
        for _ in steps:
            connection.read()
    except LayerUnavailable:
        return False
    return True


_Waiting = tuple[Sequence[Step], "asyncio.Future[list[Any]]"]


class Multiplexer:
    """One connection for the steps of all coroutines, which travel together; a blocking caller gets its own.

    `abandoned` is called with results whose caller was cancelled before it had them, or hears of an error instead.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[AsyncConnection]], abandoned: Callable[[list[Any]], object]
    ) -> None:
        self._connect = connect
        self._abandoned = abandoned
        self._shared: AsyncConnection | None = None
        self._used = 0.0
        self._idle: list[tuple[AsyncConnection, float]] = []
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps that do not wait; a `StepRefused` is among the results, not raised."""
        results: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((steps, results))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
            self._flushing.add_done_callback(self._flushed)
        try:
            return await results
        except asyncio.CancelledError:
            # A cancellation before the results come cancels the future, see `_carry`; this one came in the same turn.
            if not results.cancelled() and results.exception() is None:
                self._abandoned(results.result())
            raise

    async def _flush(self) -> None:
        """Send everything pending in batches until the queue is empty."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._carry(batch)
        finally:
            self._flushing = None

    def _flushed(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a task that was cancelled, even before it began; another one may have taken over."""
        if self._flushing is task:
            self._flushing = None
        if self._flushing is None:
            unsent, self._waiting = self._waiting, []
            self._fail(unsent, _cancelled(written=False))

    @staticmethod
    def _fail(batch: list[_Waiting], error: BaseException) -> None:
        for _, waiting in batch:
            if not waiting.done():
                waiting.set_exception(error)

    async def _carry(self, batch: list[_Waiting]) -> None:
        steps = [step for some, _ in batch for step in some]
        try:
            if self._shared is None or not await still_answers(self._shared, self._used, steps):
                await self._drop()
                self._shared = await self._open()
            results, self._shared = await self._run_on(self._shared, steps)
            if _lost(results) is not None:
                await self._drop()
            self._used = time.monotonic()
        except Exception as error:
            await self._drop()
            self._fail(batch, error)
            return
        except BaseException:
            self._fail(batch, _cancelled(written=True))
            await self._drop()
            raise
        end = 0
        for some, waiting in batch:
            begin, end = end, end + len(some)
            lost = _lost(results[begin:end])
            if waiting.cancelled() or lost is not None:
                self._abandoned(results[begin:end])
            if not waiting.cancelled():
                waiting.set_result(results[begin:end]) if lost is None else waiting.set_exception(lost)

    async def run_alone(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps of which some may wait.

        A caller that is cancelled waits no longer, but what its take had popped by then is not lost: the take is ended
        by the layer, and its results are abandoned.
        """
        connection = await self._idle_connection(steps) or await self._open()
        work = asyncio.create_task(self._run_all(connection, steps))
        try:
            results, connection = await asyncio.shield(work)
        except asyncio.CancelledError:
            ending = asyncio.create_task(self._end(work, connection))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            raise
        self._idle.append((connection, time.monotonic()))
        return results

    async def _idle_connection(self, steps: Sequence[Step]) -> AsyncConnection | None:
        while self._idle:
            connection, used = self._idle.pop()
            if await still_answers(connection, used, steps):
                return connection
            await connection.close()
        return None

    async def _run_all(self, connection: AsyncConnection, steps: Sequence[Step]) -> tuple[list[Any], AsyncConnection]:
        results, connection = await self._run_on(connection, steps)
        lost = _lost(results)
        if lost is not None:
            self._abandoned(results)
            await connection.close()
            raise lost
        return results, connection

    async def _end(self, work: asyncio.Task[tuple[list[Any], AsyncConnection]], connection: AsyncConnection) -> None:
        """End a take that blocks for a caller that was cancelled, and abandon what it gives.

        Its connection is closed: the request to end may come after the answer, and would end the next take there.
        """
        try:
            while not work.done():
                with suppress(LayerUnavailable):
                    await connection.unblock()
                await asyncio.wait([work], timeout=UNBLOCK_INTERVAL)
        finally:
            work.cancel()
        if work.exception() is None:
            results, connection = work.result()
            self._abandoned(results)
            await connection.close()

    async def _run_on(self, connection: AsyncConnection, steps: Sequence[Step]) -> tuple[list[Any], AsyncConnection]:
        """Return the results of steps, and the connection to go on with, which may be another one.

        Steps that were refused, and whose outcome is unknown since the connection broke when they were tried again,
        have that error as their result; those of other steps are in hand.
        """
        try:
            results = await connection.run(steps)
            for pause in RETRY_PAUSES:
                refused = refused_for_now(results)
                if not refused:
                    break
                await asyncio.sleep(pause)
                if not connection.usable():
                    await connection.close()
                    with suppress(LayerUnavailable):
                        connection = await self._open()
                    if not connection.usable():
                        continue
                again: Sequence[Any]
                try:
                    again = await connection.run([steps[index] for index in refused])
                except LayerUnavailable as error:
                    again = [error] * len(refused)
                for index, result in zip(refused, again, strict=True):
                    results[index] = result
        except BaseException:
            await connection.close()
            raise
        return results, connection

    async def _open(self) -> AsyncConnection:
        try:
            return await self._connect()
        except LayerUnavailable as error:
            error.written = False
            raise

    async def _drop(self) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared.close()

    async def close(self) -> None:
        """Close the connections that nobody waits for."""
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            await connection.close()
        await self._drop()


async def still_answers(connection: AsyncConnection, used: float, steps: Sequence[Step]) -> bool:
    """Return whether a connection that was last used at `used` leads to the layer; after a pause, ask."""
    if not connection.usable():
        return False
    if time.monotonic() - used >= PROBE_AFTER:
        try:
            await connection.run(probes(steps))
        except LayerUnavailable:
            return False
    return True


def _cancelled(written: bool) -> LayerUnavailable:
    reason = "the task that carries the steps of this event loop was cancelled"
    error = LayerUnavailable("this event loop", reason, "Cancel only tasks that you started.")
    error.written = written
    return error


def _lost(results: Sequence[Any]) -> LayerUnavailable | None:
    """Return the error of the first step whose outcome is unknown, if there is one."""
    return next((result for result in results if isinstance(result, LayerUnavailable)), None)


def has_input(number: int) -> bool:
    """Return whether there is something to read from a descriptor. Where no answer is due, that is its end."""
    look = select.poll()
    look.register(number, select.POLLIN)
    return bool(look.poll(0))


def refused_for_now(results: Sequence[Any]) -> list[int]:
    """Return the indices of steps that were refused for a passing reason: trying them again sends nothing twice."""
    return [index for index, result in enumerate(results) if isinstance(result, StepRefused) and result.again]
