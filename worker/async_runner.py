"""Runs `async def` consumers: many at once, on an event loop in a thread of its own.

Worker threads pass messages in. A third thread writes what the consumers sent, because writing may wait for the layer.
No thread is started before the first such consumer. The gate of the interface server keeps the order per socket: the
report is written when the coroutine has ended. Database access follows Django's rules for asynchronous code and uses
one thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from asgiref.sync import sync_to_async
from django.db import connections

from channels_classic._current import current_message
from channels_classic._isolation import MessageContexts
from channels_classic._pending import Pair
from channels_classic.exceptions import ConsumerTimeout
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.flows import answering
from channels_classic.layers.steps import Step
from channels_classic.message import Message, pending_message_store
from channels_classic.routing import Match

from .attempt import Attempt
from .attempt import logger as consumer_logger
from .channel_limits import ChannelLimits
from .connection import WorkerConnection
from .context import Context
from .coroutine_connections import CoroutineConnections
from .hooks import ConsumerHooks
from .ordering import must_wait
from .outage import Outage
from .outstanding import RETRY_TIME
from .result import ConsumerResult
from .runner import collect, expire, send_elsewhere
from .stats import Stats
from .tracing import tracing_of_this_process

logger = logging.getLogger("channels_classic.worker")

_REPEAT_AFTER = 1.0
"""Seconds after which reports that the layer refused are written again, if no coroutine ends before."""


@dataclass(slots=True, eq=False)
class Running:
    """A running coroutine."""

    attempt: Attempt
    reported: float
    """The time at which a report was last sent that it still runs."""

    task: asyncio.Task[None] | None = None
    is_given_up: bool = False
    is_cancelled: bool = False
    """True if its task was cancelled before it began: the next one only reports that."""

    others: list[Pair] = field(default_factory=list)
    """The messages that it sent to other layers."""

    def cancel(self, error: Exception) -> None:
        """Cancel the coroutine because it exceeded the consumer timeout; it fails with `error`."""
        self.attempt.timeout = error
        if self.task is not None:
            self.task.cancel()


@dataclass(slots=True, eq=False)
class _Part:
    """Messages of a coroutine that has not ended; `written` is set when they have been written or are lost."""

    result: ConsumerResult
    written: threading.Event = field(default_factory=threading.Event)


class AsyncConsumerRunner:
    """Runs at most `concurrency` coroutines. Other threads call `start`, `running`, `give_up` and `finish`."""

    def __init__(self, context: Context, outage: Outage, limits: ChannelLimits, statistics: Stats) -> None:
        self._context = context
        self._limits = limits
        self._statistics = statistics
        self._hooks = ConsumerHooks(context.sender)
        self._timeout = context.consumer_timeout
        self._slots = threading.Semaphore(context.concurrency)
        self._running: dict[int, Running] = {}
        self._endings: queue.SimpleQueue[ConsumerResult | _Part | None] = queue.SimpleQueue()
        self._layer = context.layer
        self._connection = WorkerConnection(context, outage)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._contexts: MessageContexts | None = None
        self._is_closing = False
        self._databases = CoroutineConnections(self._hooks, context.clock)
        self._tracing = tracing_of_this_process()

    # For other threads

    def start(self, match: Match, message: Message, result: ConsumerResult) -> None:
        """Start a consumer; blocks while `concurrency` coroutines run.

        Raises `RuntimeError` if the system allows no more threads, and `OSError` if it allows no more descriptors.
        """
        loop = self._started_loop()
        self._slots.acquire()
        if self._context.clock() >= result.delivery.deadline:
            expire(self._context, result)
            self._slots.release()
            self._endings.put(result)
            return
        stats = self._statistics.of(match[0])
        attempt = Attempt(self._context, match, message, result, stats, may_wait=False)
        running = Running(attempt, attempt.started)
        self._running[id(running)] = running
        loop.call_soon_threadsafe(self._begin, running, context=contextvars.Context())

    def running(self) -> list[Running]:
        """Return the coroutines that have not ended."""
        return list(self._running.values())

    def give_up(self, running: Running) -> None:
        """Report as failed a coroutine that did not end when it was cancelled: it blocks the event loop."""
        running.is_given_up = True
        frame = sys._current_frames().get(self._threads[0].ident or 0)
        assert self._contexts is not None
        where = "".join(traceback.format_stack(frame))
        self._contexts.new().run(running.attempt.time_out, self._timed_out(running), where)

    def finish(self) -> None:
        """Wait until all coroutines have ended, write what they sent, and end the threads."""
        if self._loop is None:
            return
        self._connection.stop()
        self._loop.call_soon_threadsafe(self._close)
        for thread in self._threads:
            thread.join()

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                try:
                    self._start_threads(loop)
                except RuntimeError:
                    loop.close()
                    raise
                self._loop = loop
            return self._loop

    def _start_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        runner = threading.Thread(target=self._run_loop, args=(loop,), name="worker-coroutines", daemon=True)
        writer = threading.Thread(target=self._write, name="worker-writer", daemon=True)
        writer.start()
        try:
            runner.start()
        except RuntimeError:
            self._endings.put(None)
            writer.join()
            raise
        self._threads = [runner, writer]

    # In the thread that writes

    def _write(self) -> None:
        is_over = False
        while not is_over:
            items = self._ending()
            while not self._endings.empty():
                items.append(self._endings.get())
            is_over = None in items
            try:
                self._write_items(items)
                if is_over:
                    self._connection.finish([])
            except Exception:
                logger.exception("Could not write what coroutines sent.")
            finally:
                for part in items:
                    if isinstance(part, _Part):
                        part.written.set()

    def _write_items(self, items: Sequence[ConsumerResult | _Part | None]) -> None:
        try:
            self._connection.send([item.result if isinstance(item, _Part) else item for item in items if item])
        finally:
            for item in items if self._limits.any else ():
                if isinstance(item, ConsumerResult):
                    self._limits.release(item.delivery.channel)
        self._connection.settle()
        self._connection.retry()

    def _ending(self) -> list[ConsumerResult | _Part | None]:
        """Wait for what is to be written; empty if only reports that the layer refused are."""
        try:
            return [self._endings.get(timeout=_REPEAT_AFTER if self._connection.is_busy else None)]
        except queue.Empty:
            return []

    # On the event loop

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        # Caches are made for each coroutine, as they are for each request under ASGI.
        self._contexts = MessageContexts(keep_caches=False)
        try:
            while not self._is_closing or self._running:
                self._run(loop)
            for end in (self._close_connections, _end_tasks):
                task = loop.create_task(end())
                task.add_done_callback(lambda _: loop.stop())
                while not task.done():
                    self._run(loop)
                if not task.cancelled() and (error := task.exception()) is not None:
                    logger.error("The event loop of the coroutines was not ended properly.", exc_info=error)
        finally:
            self._endings.put(None)
            asyncio.set_event_loop(None)
            loop.close()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop until somebody stops it; the caller runs it again if that was a consumer.

        None of our tasks waits on it, since a consumer could cancel that. asyncio lets SystemExit of any task out of
        the loop: one that a consumer started must not end all the others.
        """
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as raised:
            self._context.failures.error(
                "A task of a consumer",
                "A task that a consumer started raised %s: the worker continues.",
                type(raised).__name__,
                exc_info=raised,
            )

    def _close(self) -> None:
        self._is_closing = True
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self._is_closing and not self._running:
            asyncio.get_running_loop().stop()

    async def _close_connections(self) -> None:
        await sync_to_async(connections.close_all)()
        await self._layer.close_async()

    def _begin(self, running: Running) -> None:
        assert self._contexts is not None
        loop = asyncio.get_running_loop()
        # A task copies the context in which it is created.
        running.task = self._contexts.new().run(loop.create_task, self._consume(running))
        running.task.add_done_callback(partial(self._ended, running))
        if self._timeout and not running.is_cancelled:
            timer = loop.call_later(self._timeout, running.cancel, self._timed_out(running))
            running.task.add_done_callback(lambda task: timer.cancel())

    def _timed_out(self, running: Running) -> ConsumerTimeout:
        return ConsumerTimeout(running.attempt.message.channel.name, self._timeout)

    async def _consume(self, running: Running) -> None:
        current_message.set(running.attempt.message)
        result = running.attempt.result
        answering.set(result.running_report)
        with pending_message_store.deliver_with(partial(self._deliver, running), partial(self._write_first, result)):
            try:
                await self._attempt(running.attempt, running.is_cancelled)
            except BaseException:
                logger.exception("Could not run or finish a coroutine.")
                pending_message_store.flush_after_consumer()
        await _send_elsewhere(running.others)
        result.is_over = True
        del self._running[id(running)]
        self._slots.release()
        self._endings.put(result)
        self._databases.end()

    def _ended(self, running: Running, task: asyncio.Task[None]) -> None:
        if id(running) in self._running:  # another coroutine cancelled it before it began
            running.is_cancelled = True
            self._begin(running)
        self._stop_if_done()

    def _deliver(self, running: Running, pairs: list[Pair]) -> None:
        running.others += collect(pairs, running.attempt.result.sends, self._context.wrapper)

    def _write_first(self, result: ConsumerResult, layer: BaseChannelLayer, steps: Sequence[Step]) -> None:
        """Before the consumer or a receiver carries out steps by itself: write what these must not overtake.

        A task that outlives its consumer comes here too, when all of this has been handed to the thread that writes.
        """
        if not result.is_over and layer is self._layer and must_wait(steps, result.sends):
            part = _Part(result.split())
            self._endings.put(part)
            part.written.wait(RETRY_TIME)

    async def _attempt(self, attempt: Attempt, is_cancelled: bool) -> None:
        try:
            if is_cancelled:
                raise asyncio.CancelledError
            await self._databases.begin()
            await self._hooks.start_async()
            attempt.begin()
            consumer = attempt.consumer
            if self._tracing is not None and self._tracing.is_used:
                consumer = self._tracing.traced_async(consumer, attempt.stats.name)
            await consumer(attempt.message, **attempt.kwargs)
            attempt.succeed()
        except BaseException as error:
            await attempt.fail_async(error)
        duration = attempt.check_held()
        await self._hooks.finish_async()
        attempt.finish(duration, consumer_logger.isEnabledFor(logging.DEBUG))


async def _send_elsewhere(pairs: list[Pair]) -> None:
    """Send what is for other layers in a thread, since that may wait, and return when it is done."""
    if not pairs:
        return
    try:
        sent = asyncio.get_running_loop().run_in_executor(None, send_elsewhere, pairs)
    except RuntimeError:  # the system allows no more threads; a later one may find the list, when it is empty
        return send_elsewhere(pairs)
    while not sent.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([sent])


async def _end_tasks() -> None:
    """End what consumers left on the loop, as `asyncio.run` does."""
    loop = asyncio.get_running_loop()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
