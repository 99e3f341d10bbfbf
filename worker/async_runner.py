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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

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
from .hooks import ConsumerHooks
from .ordering import must_wait
from .outage import Outage
from .outstanding import RETRY_TIME
from .result import ConsumerResult
from .runner import collect, expire, send_elsewhere
from .stats import Stats
from .tracing import tracing_of_this_process

logger = logging.getLogger("channels_classic.worker")

_CHECK_INTERVAL = 1.0
"""Seconds after a coroutine ended until database connections are checked; synchronous consumers check each time."""

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
        self._other_layers = ThreadPoolExecutor(1, "worker-other-layers")
        self._endings: queue.SimpleQueue[ConsumerResult | _Part | None] = queue.SimpleQueue()
        self._layer = context.layer
        self._connection = WorkerConnection(context, outage)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._contexts: MessageContexts | None = None
        self._is_closing = False
        self._check: asyncio.TimerHandle | None = None
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
        running.attempt.time_out(self._timed_out(running), "".join(traceback.format_stack(frame)))

    def finish(self) -> None:
        """Wait until all coroutines have ended, write what they sent, and end the threads."""
        if self._loop is None:
            return
        self._connection.stop()
        self._loop.call_soon_threadsafe(self._close)
        for thread in self._threads:
            thread.join()
        self._other_layers.shutdown()

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
            self._endings.put(None)  # ends the writer
            raise
        self._threads = [runner, writer]

    # In the thread that writes

    def _write(self) -> None:
        while True:
            items = self._ending()
            while not self._endings.empty():
                items.append(self._endings.get())
            parts = [item for item in items if isinstance(item, _Part)]
            finished = [item for item in items if isinstance(item, ConsumerResult)]
            try:
                try:
                    self._connection.send([item.result if isinstance(item, _Part) else item for item in items if item])
                finally:
                    for result in finished if self._limits.any else ():
                        self._limits.release(result.delivery.channel)
                self._connection.settle()
                self._connection.retry()
                if None in items:
                    return self._connection.finish([])
            except Exception:
                logger.exception("Could not write what coroutines sent.")
            finally:
                for part in parts:
                    part.written.set()

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
                self._run(loop.run_forever)
            for end in (self._close_connections(), _end_tasks(loop)):
                task = loop.create_task(end)
                while not task.done():
                    with suppress(RuntimeError, asyncio.CancelledError):  # by what is left
                        self._run(partial(loop.run_until_complete, task))
        finally:
            self._endings.put(None)
            asyncio.set_event_loop(None)
            loop.close()

    def _run(self, run: Callable[[], object]) -> None:
        """Run the loop until somebody stops it.

        That may be a consumer: no task of ours waits on the loop that it could cancel, and if it stops the loop, or one
        of its tasks raises SystemExit, which asyncio lets out of the loop, all the others go on.
        """
        try:
            run()
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
        if self._timeout:
            timer = loop.call_later(self._timeout, running.cancel, self._timed_out(running))
            running.task.add_done_callback(lambda task: timer.cancel())

    def _timed_out(self, running: Running) -> ConsumerTimeout:
        return ConsumerTimeout(running.attempt.message.channel.name, self._timeout)

    async def _consume(self, running: Running) -> None:
        current_message.set(running.attempt.message)
        result = running.attempt.result
        answering.set(result.running_report)
        with pending_message_store.deliver_with(partial(self._deliver, result), partial(self._write_first, result)):
            try:
                await self._attempt(running.attempt)
            except BaseException:
                logger.exception("Could not run or finish a coroutine.")
                pending_message_store.flush_after_consumer()
        self._leave(running)

    def _leave(self, running: Running) -> None:
        running.attempt.result.is_over = True
        del self._running[id(running)]
        self._slots.release()
        self._endings.put(running.attempt.result)
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(_CHECK_INTERVAL, self._check_connections)

    def _ended(self, running: Running, task: asyncio.Task[None]) -> None:
        if id(running) in self._running:  # another coroutine cancelled it before it began
            running.attempt.fail(asyncio.CancelledError())
            self._leave(running)
        self._stop_if_done()

    def _deliver(self, result: ConsumerResult, pairs: list[Pair]) -> None:
        """Collect what a coroutine sent; what is for another layer is sent by a thread, in order."""
        others = collect(pairs, result.sends, self._context.wrapper)
        if others:
            self._other_layers.submit(send_elsewhere, others)

    def _write_first(self, result: ConsumerResult, layer: BaseChannelLayer, steps: Sequence[Step]) -> None:
        """Before the consumer or a receiver carries out steps by itself: write what these must not overtake.

        A task that outlives its consumer comes here too, when all of this has been handed to the thread that writes.
        """
        if not result.is_over and layer is self._layer and must_wait(steps, result.sends):
            part = _Part(result.split())
            self._endings.put(part)
            part.written.wait(RETRY_TIME)

    async def _attempt(self, attempt: Attempt) -> None:
        try:
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

    def _check_connections(self) -> None:
        self._check = None
        # While a coroutine runs, an open transaction may be its own.
        check_connections = close_old_connections if self._running else self._hooks.check_thread
        check = asyncio.ensure_future(sync_to_async(check_connections)())
        check.add_done_callback(asyncio.Future.exception)  # retrieved: an unreachable database fails no consumer


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """End what consumers left on the loop, as `asyncio.run` does."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
