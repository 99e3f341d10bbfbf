"""Connections of a layer's callers: opened when they are needed, kept, and shared.

In come steps, out go their results. A `ConnectionPool` is for all threads of a process, a `Multiplexer` for all
coroutines of one event loop. They know neither messages nor what the steps do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.fork import renew_after_fork
from channels_classic.layers.steps import AsyncConnection, Connection, Step

RETRY_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 0.8)
"""Seconds before each further attempt at steps that a server refused because another one is, or will be, the master.

A planned fail-over and the move of a slot take about a second.
"""


class ConnectionPool:
    """A thread has a connection to itself for as long as it carries out some steps."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without connections."""
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps, in order, in one round trip; a `StepRefused` is among the results, not raised."""
        connection = self._borrow()
        try:
            connection.write(steps)
            results = [connection.read() for _ in steps]
            for pause in RETRY_PAUSES:
                refused = refused_for_now(results)
                if not refused:
                    break
                if not connection.usable():
                    # Another server is the one to talk to, or will be soon.
                    connection.close()
                    time.sleep(pause)
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
            self._idle.append(connection)
        return results

    def _reopened(self) -> Connection | None:
        """Return a new connection, or None while there is none to be had: nothing was written that could be lost."""
        try:
            return self._connect()
        except LayerUnavailable:
            return None

    def _borrow(self) -> Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            if connection.usable():
                return connection
            # The server has closed it since it was used last, and then most likely the others as well.
            connection.close()
            self.close()
        try:
            return self._connect()
        except LayerUnavailable as error:
            error.written = False
            raise

    def close(self) -> None:
        """Close the connections nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


_Waiting = tuple[Sequence[Step], "asyncio.Future[list[Any]]"]


class Multiplexer:
    """One connection for the steps of all coroutines, which travel together; a blocking caller gets its own."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection]]) -> None:
        self._connect = connect
        self._shared: AsyncConnection | None = None
        self._idle: list[AsyncConnection] = []
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Task[None] | None = None

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps that do not wait; a `StepRefused` is among the results, not raised."""
        results: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((steps, results))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
            self._flushing.add_done_callback(self._flushed)
        return await results

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
            if self._shared is None or not self._shared.usable():
                await self._drop()
                self._shared = await self._open()
            results = await self._shared.run(steps)
            for pause in RETRY_PAUSES:
                refused = refused_for_now(results)
                if not refused:
                    break
                if self._shared is None or not self._shared.usable():
                    await self._drop()
                    await asyncio.sleep(pause)
                    with suppress(LayerUnavailable):
                        self._shared = await self._open()
                    if self._shared is None:
                        continue
                for index, result in zip(refused, await self._shared.run([steps[i] for i in refused]), strict=True):
                    results[index] = result
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
            if not waiting.done():
                waiting.set_result(results[begin:end])

    async def run_alone(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps of which some may wait."""
        connection = None
        while self._idle and connection is None:
            connection = self._idle.pop()
            if not connection.usable():
                await connection.close()
                connection = None
        connection = connection or await self._open()
        try:
            results = await connection.run(steps)
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return results

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
        """Close the connections nobody waits on."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
        await self._drop()


def _cancelled(written: bool) -> LayerUnavailable:
    reason = "the task that carries the steps of this event loop was cancelled"
    error = LayerUnavailable("this event loop", reason, "Cancel only tasks that you started.")
    error.written = written
    return error


def refused_for_now(results: Sequence[Any]) -> list[int]:
    """Return the indices of steps that were refused for a passing reason: trying them again sends nothing twice."""
    return [index for index, result in enumerate(results) if isinstance(result, StepRefused) and result.again]
