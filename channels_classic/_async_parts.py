"""The parts of a response that an asynchronous iterator makes, for a thread that sends them one by one.

The iterator runs in one task on an event loop of its own, which runs only while the thread waits for the next part: so
it is never ahead by more than one part, and libraries that insist on entering and leaving a block in one task work.
As in a request under Django's own ASGI handler, what it calls by `sync_to_async` has a thread to itself, with database
connections that are closed at the end: nothing that it leaves there reaches another response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import Error, connections

from channels_classic.exceptions import RequestAborted

INTERVAL = 0.5
"""Seconds between checks that the client is still there, while no part comes."""

CLOSE_TIMEOUT = 5.0
"""Seconds that an iterator has to end once it is cancelled."""


class AsyncParts(Iterator[Any]):
    """Iterates over `parts`; raises `RequestAborted`, and cancels them, once `is_unwanted` returns true."""

    _task: asyncio.Task[None]

    def __init__(self, parts: AsyncIterable[Any], is_unwanted: Callable[[], bool]) -> None:
        self._is_unwanted = is_unwanted
        self._loop = asyncio.new_event_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self._getting: asyncio.Task[Any] | None = None
        self._closing = asyncio.Event()
        self._life = self._loop.create_task(self._live(parts))

    async def _live(self, parts: AsyncIterable[Any]) -> None:
        if self._closing.is_set():  # an iterator that has not begun never does
            return
        async with ThreadSensitiveContext():
            self._task = self._loop.create_task(self._run(parts))
            await self._closing.wait()
            await self._end()
            with suppress(Error, RuntimeError):  # of a dead connection, or where the system allows no more threads
                await sync_to_async(connections.close_all)()

    async def _run(self, parts: AsyncIterable[Any]) -> None:
        async for part in parts:
            await self._queue.put(part)

    def __next__(self) -> Any:
        if self._loop.is_closed():
            raise StopIteration
        while not self._loop.run_until_complete(self._wait()):
            if self._is_unwanted():
                self.close()
                raise RequestAborted("The client left before the response was complete.")
        if self._getting is not None and self._getting.done():
            getting, self._getting = self._getting, None
            return getting.result()
        try:
            self._task.result()  # raises what the iterator raised
        finally:
            self.close()
        raise StopIteration

    async def _wait(self) -> bool:
        """Return True once there is a part, or none will come."""
        if self._getting is None:
            self._getting = self._loop.create_task(self._queue.get())
        done, _ = await asyncio.wait([self._getting, self._task], timeout=INTERVAL, return_when=asyncio.FIRST_COMPLETED)
        if self._task in done and not self._queue.empty():
            await self._getting
        return bool(done)

    def close(self) -> None:
        """Cancel the iterator and close it. It may be called again. A function in its thread is awaited."""
        if self._loop.is_closed():
            return
        self._closing.set()
        try:
            self._loop.run_until_complete(self._life)
        finally:
            self._loop.close()

    async def _end(self) -> None:
        pending = {task for task in (self._task, self._getting) if task is not None and not task.done()}
        for task in pending:
            task.cancel()
        while not self._queue.empty():
            self._queue.get_nowait()
        deadline = self._loop.time() + CLOSE_TIMEOUT
        while pending and (left := deadline - self._loop.time()) > 0:
            _, pending = await asyncio.wait(pending, timeout=min(INTERVAL, left))
            if self._queue.full():
                self._task.cancel()  # the iterator caught the first one, and has made another part
        await asyncio.wait([self._loop.create_task(self._loop.shutdown_asyncgens())], timeout=CLOSE_TIMEOUT)
