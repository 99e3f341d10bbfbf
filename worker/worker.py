"""`Worker` and `WorkerGroup`, with the names and attributes of Channels 1.1.8.

A worker is given a layer with its routing; `run` consumes the layer's messages until the worker is stopped. `loop` does
the work of one thread, `runtime` holds what threads share.
"""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from types import FrameType, MappingProxyType
from typing import Any

from django.db import connections

from channels_classic._health import Health
from channels_classic._log_escapes import KEEP_LINES
from channels_classic._metrics.samples import Samples
from channels_classic._supervisor.signal_pipe import STOP_SIGNALS
from channels_classic._systemd import Notifier
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import InvalidChannelLayerError
from channels_classic.layers import rng
from channels_classic.layers.names import check_receivable
from channels_classic.signals import worker_ready

from .channel_limits import parse_limits
from .config import WorkerConfig
from .context import Callback, Context
from .failure_log import FailureLog
from .inflight import InFlightRecord, NoRecord
from .loop import Loop
from .metrics import samples
from .recycling import Recycling
from .runtime import Runtime
from .shutdown import Shutdown, renew
from .status import StatusReporter

logger = logging.getLogger("channels_classic.worker")

_DEFAULTS = WorkerConfig()

_RESTART_PAUSE = 1.0
"""Maximum seconds before a loop that raised an unexpected exception is started again."""


class Worker:
    """Consumes the messages of a layer in the calling thread.

    `channel_layer` is a layer with its routing, as `channel_layers[alias]` returns it. `callback(channel, message)` is
    called before each consumer. A message whose consumer raises `ConsumeLater` is put back at most `message_retries`
    times. `only_channels` and `exclude_channels` are globs. `termed` ends `run` before the next message is taken;
    `in_job` is true while a consumer runs. `WorkerConfig` describes further attributes, to be set before `run`.
    """

    prefetch = _DEFAULTS.prefetch
    grace = _DEFAULTS.grace
    concurrency = _DEFAULTS.concurrency
    consumer_timeout = _DEFAULTS.consumer_timeout
    max_messages = _DEFAULTS.max_messages
    max_memory = _DEFAULTS.max_memory

    limits: Mapping[str, int] = MappingProxyType({})

    # Set by `runworker`: where the process records what it holds; callbacks for when it takes its first message, when
    # it should be replaced, when the layer goes down or comes up, and for a heartbeat, which returns the seconds until
    # the next; what notifies systemd; whether SIGHUP replaces it; whether its supervisor has logged the channels.
    in_flight: InFlightRecord = NoRecord()
    on_listening: Callable[[], object] | None = None
    on_replacement_needed: Callable[[], object] | None = None
    on_outage: Callable[[bool], object] = staticmethod(lambda is_down: None)
    beat: Callable[[], float | None] = staticmethod(lambda: None)
    notifier = Notifier()
    is_renewable = False
    is_one_of_many = False

    def __init__(
        self,
        channel_layer: ChannelLayerWrapper | None,
        callback: Callback | None = None,
        message_retries: int = 10,
        signal_handlers: bool = True,
        only_channels: Sequence[str] | None = None,
        exclude_channels: Sequence[str] | None = None,
    ) -> None:
        self.channel_layer: Any = channel_layer
        self.callback = callback
        self.message_retries = message_retries
        self.signal_handlers = signal_handlers
        self.only_channels = only_channels
        self.exclude_channels = exclude_channels
        self.termed = False
        self.in_job = False
        self.to_be_replaced = False
        self._runtime: Runtime | None = None
        self._last_samples = Samples()
        self._loop: Loop | None = None
        self._reporter: StatusReporter | None = None
        self._shutdown = Shutdown(self)

    def configure(self, config: WorkerConfig) -> None:
        """Set the attributes that have the names of options of `config`, before `run`."""
        for option in fields(config):
            if option.name in vars(Worker):
                setattr(self, option.name, getattr(config, option.name))
        self.limits = parse_limits(config.limit)
        self.is_renewable = not config.is_supervised

    def install_signal_handler(self) -> None:
        """Let SIGTERM and SIGINT call `sigterm_handler`. While `run` runs it catches them itself, and sooner."""
        for number in STOP_SIGNALS:
            signal.signal(number, self.sigterm_handler)

    def sigterm_handler(self, signo: int, stack_frame: FrameType | None) -> None:
        """Do what SIGTERM and SIGINT do when `signal_handlers` is set: the first one asks, the second insists."""
        self._shutdown.request(signo)

    def apply_channel_filters(self, channels: Iterable[str]) -> list[str]:
        """Return the channels that match `only_channels`, if given, and not `exclude_channels`; in the same order."""
        found = list(channels)
        if self.only_channels:
            found = [name for name in found if _matches(name, self.only_channels)]
        if self.exclude_channels:
            found = [name for name in found if not _matches(name, self.exclude_channels)]
        return found

    @property
    def thread_count(self) -> int:
        """The number of threads that take messages."""
        return 1

    def ready(self) -> None:
        """Send the signal `worker_ready`."""
        worker_ready.send(sender=self)

    def run(self) -> None:
        """Consume until `termed`; may be called again afterwards.

        Raises `InvalidChannelName` when the routing has an invalid channel name, `InvalidChannelLayerError` when the
        layer can never be reached as configured. Nothing else ends it: neither a consumer nor a layer that is down.
        """
        channels = [check_receivable(name) for name in self.apply_channel_filters(self.channel_layer.router.channels)]
        self.to_be_replaced = False
        begun = time.monotonic()
        with self._shutdown.accepting_requests(self.signal_handlers):
            logger.log(
                logging.DEBUG if self.is_one_of_many else logging.INFO,
                "Listening on channels %s",
                ", ".join(sorted(channels)),
            )
            self._runtime = runtime = self._make_runtime(channels)
            runtime.watchdog.start()
            runtime.announcer.start()
            reporter = StatusReporter(runtime, self.thread_count, has_supervisor=self.is_one_of_many)
            reporter.start()
            self._reporter = reporter
            if self.on_listening is not None:
                self.on_listening()
            self.notifier.ready()
            try:
                self._run_threads(runtime)
            finally:
                reporter.stop()
                runtime.async_runner.finish()
                runtime.announcer.stop()
                runtime.watchdog.stop()
                if self.signal_handlers:  # a program of its own, not a thread of `runserver` or of a test
                    self.log_statistics()
                    logger.info("Stopped after %.0f s.", time.monotonic() - begun)
                self._last_samples = samples(runtime, self.thread_count).lasting()
                self._runtime = None
        if self.to_be_replaced and self.is_renewable:
            logger.info("Restarting.")
            renew()

    def stop(self) -> None:
        """From any thread: take no more messages, finish those taken, return from `run`."""
        self.termed = True
        self.wake()

    def stop_gracefully(self) -> None:
        """From any thread: stop as the first SIGTERM does, with `grace` seconds for consumers that run."""
        self._shutdown.request(0)

    def ask_for_replacement(self, reason: str) -> None:
        """From any thread: ask the supervisor for a replacement; without one, run the command line again."""
        logger.info("Asking for a replacement of this worker process: %s.", reason)
        if self.on_replacement_needed is not None:
            self.on_replacement_needed()
        elif self.is_renewable:
            self.to_be_replaced = True
            self.stop_gracefully()

    def log_statistics(self) -> None:
        """From any thread: log how many messages were consumed so far, and how fast."""
        runtime = self._runtime
        table = runtime.report() if runtime is not None else ""
        logger.info("Consumed by this process:%s", f"\n{table}" if table else " no message.", extra=KEEP_LINES)

    def samples(self) -> Samples:
        """From any thread: return the values of the metrics of this process; the counters alone once it has stopped."""
        runtime = self._runtime
        return samples(runtime, self.thread_count) if runtime is not None else self._last_samples

    def health_state(self) -> Health:
        """From any thread: return the state of this worker, for probes."""
        runtime = self._runtime
        if self.termed:
            return Health.STOPPING
        if runtime is None:
            return Health.STARTING
        return Health.LAYER_DOWN if runtime.outage.is_down else Health.READY

    def report_end(self) -> None:
        """From any thread: report to the layer that this worker ends."""
        if self._reporter is not None:
            self._reporter.stop()

    def is_stuck(self) -> bool:
        """Return whether only consumers that timed out still run."""
        return self._runtime is not None and self._runtime.watchdog.is_stuck()

    def wake(self) -> None:
        """From any thread: end a blocking take, so that `termed` is read now."""
        loop = self._loop
        if loop is not None:
            loop.stop()

    def _make_runtime(self, channels: Sequence[str]) -> Runtime:
        context = Context(
            is_stopping=lambda: self.termed,
            wrapper=self.channel_layer,
            sender=type(self),
            callback=self.callback,
            message_retries=self.message_retries,
            prefetch=self.prefetch,
            concurrency=self.concurrency,
            consumer_timeout=self.consumer_timeout,
            in_flight=self.in_flight,
            failures=FailureLog(time.monotonic),
        )
        recycling = Recycling(self.max_messages, self.max_memory, self.ask_for_replacement, context.clock)
        return Runtime(context, channels, self.limits, recycling, self.ask_for_replacement, self.on_outage)

    def _run_threads(self, runtime: Runtime) -> None:
        self._run_loop(runtime)

    def _run_thread(self, runtime: Runtime) -> None:
        try:
            # The thread that called `run` meets the same error and raises it.
            with contextlib.suppress(InvalidChannelLayerError):
                self._run_loop(runtime)
        finally:
            connections.close_all()  # of this thread, which ends

    def _run_loop(self, runtime: Runtime) -> None:
        while True:
            self._loop = Loop(self, runtime, replace(runtime.context, sender=type(self)))
            try:
                return self._loop.run()
            except InvalidChannelLayerError:
                raise
            except Exception:
                logger.exception("The worker's loop failed and was restarted.")
                time.sleep(rng.uniform(0, _RESTART_PAUSE))
            finally:
                self._loop = None


class WorkerGroup(Worker):
    """Runs a worker in the calling thread and `n_threads - 1` more, in `workers`, each in a thread of its own."""

    def __init__(self, *args: Any, n_threads: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kwargs["signal_handlers"] = False
        number = multiprocessing.cpu_count() if n_threads is None else n_threads
        self.workers = [Worker(*args, **kwargs) for _ in range(number - 1)]
        self.threads: list[threading.Thread] = []

    @property
    def thread_count(self) -> int:
        return 1 + len(self.workers)

    def ready(self) -> None:
        """Send the signal `worker_ready` for every worker."""
        super().ready()
        for worker in self.workers:
            worker.ready()

    def stop(self) -> None:
        """From any thread: stop all workers."""
        for worker in self.workers:
            worker.stop()
        super().stop()

    def wake(self) -> None:
        """From any thread: wake all workers."""
        for worker in self.workers:
            worker.wake()
        super().wake()

    def _run_threads(self, runtime: Runtime) -> None:
        self.threads = []
        try:
            for worker in self.workers:
                worker.termed = False
                thread = threading.Thread(target=worker._run_thread, args=(runtime,), daemon=True)
                thread.start()  # raises RuntimeError where the system allows no more: the others finish what they took
                self.threads.append(thread)
            self._run_loop(runtime)
        finally:
            for worker in self.workers:
                worker.stop()
            for thread in self.threads:
                thread.join()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
