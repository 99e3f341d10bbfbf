"""`manage.py runworker`: runs the consumers of a project, in one process or in several."""

from __future__ import annotations

import atexit
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import autoreload

from channels_classic._health import Health, HealthServer
from channels_classic._metrics.exchange import Collect
from channels_classic._metrics.program import ProgramMetrics, reporting_to_supervisor
from channels_classic._supervisor.link import SupervisorLink
from channels_classic._supervisor.signal_pipe import ignore_until_caught
from channels_classic._systemd import Notifier
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ChannelsError
from channels_classic.log import setup_logger
from channels_classic.management.layer import program_layer_of
from channels_classic.management.options import add_arguments, configuration
from channels_classic.message import Message
from channels_classic.routing import Consumer
from channels_classic.signals import worker_process_ready
from channels_classic.worker import Worker, WorkerGroup
from channels_classic.worker.channel_limits import without_effect
from channels_classic.worker.config import WorkerConfig
from channels_classic.worker.inflight import InFlightTable
from channels_classic.worker.supervisor import WorkerSupervisor


class Command(BaseCommand):
    """Takes messages from a channel layer and runs their consumers until it is stopped."""

    help = "Runs the consumers of the project: takes messages from a channel layer until it is stopped."

    logger: logging.Logger
    channel_layer: ChannelLayerWrapper

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of `WorkerConfig`."""
        add_arguments(parser, WorkerConfig)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run; return after the first SIGTERM or Ctrl-C, once all messages taken are finished."""
        try:
            config = configuration(WorkerConfig, options)
        except ValueError as error:
            raise CommandError(str(error)) from error
        if config.reload:
            autoreload.run_with_reloader(self.work, config, options)
        else:
            self.work(config, options)

    def work(self, config: WorkerConfig, options: Mapping[str, Any]) -> None:
        """Run the worker, or the supervisor of several."""
        autoreload.raise_last_exception()
        ignore_until_caught(signal.SIGUSR1)
        verbosity = options.get("verbosity", 1)
        self.logger = setup_logger("django.channels", verbosity)
        self.channel_layer = self.get_channel_layer(config.layer)
        self.channel_layer.router.check_default(http_consumer=self.get_http_consumer())
        worker = self.make_worker(config, self.consumer_called if verbosity > 1 else None)
        if not worker.apply_channel_filters(self.channel_layer.router.channels):
            raise CommandError(
                "No channel to listen on: --only-channels and --exclude-channels leave none of "
                f"{', '.join(sorted(self.channel_layer.router.channels))}."
            )
        supervisor = SupervisorLink.of_this_process()
        if supervisor is None:
            self.warn_of_globs(config)
        if supervisor is None and config.is_supervised:
            sys.exit(self.supervise(config, worker))
        if supervisor is not None:
            self.attach(supervisor, worker)
            with reporting_to_supervisor(worker.samples):
                self.run_worker(worker, config)
            return
        worker.notifier = Notifier.of_this_process()
        with self.answering(config, worker.health_state, worker.samples):
            self.log_start(config, worker)
            self.run_worker(worker, config)

    def warn_of_globs(self, config: WorkerConfig) -> None:
        """Warn of globs that are most likely misspelt; the routing of another site may well have these channels."""
        channels = self.channel_layer.router.channels
        for option, glob in without_effect(config.globs, channels):
            self.logger.warning(
                "%s %s has no effect: no channel matches it, or an earlier glob comes first. The channels are %s.",
                option,
                glob,
                ", ".join(sorted(channels)),
            )

    def supervise(self, config: WorkerConfig, worker: Worker) -> int:
        """Run worker processes until stopped; return the exit status."""
        layer = self.channel_layer.channel_layer
        supervisor = WorkerSupervisor(layer, config.processes, config.grace, config.held, config.consumer_timeout)
        with self.answering(config, lambda: supervisor.health, supervisor.samples, is_supervisor=True):
            self.log_start(config, worker)
            return supervisor.run()

    @contextmanager
    def answering(
        self, config: WorkerConfig, state: Callable[[], Health], samples: Collect, *, is_supervisor: bool = False
    ) -> Iterator[None]:
        """Answer probes and serve metrics inside the block. Raises `CommandError` if an address cannot be used."""
        layer = self.channel_layer.channel_layer
        try:
            probes = HealthServer(config.health, state) if config.health else None
            metrics = ProgramMetrics(config.metrics, layer, samples, is_supervisor) if config.metrics else None
        except (ChannelsError, ValueError) as error:
            raise CommandError(str(error)) from error
        with probes or nullcontext(), metrics or nullcontext():
            yield

    def log_start(self, config: WorkerConfig, worker: Worker) -> None:
        """Log the number of processes and threads, the layer and the channels."""
        channels = ", ".join(sorted(worker.apply_channel_filters(self.channel_layer.router.channels)))
        self.logger.info(
            "Running %d process(es) × %d thread(s) on the channel layer %s%s",
            config.processes,
            config.threads,
            self.channel_layer.channel_layer,
            f", for channels {channels}" if config.is_supervised else "",  # otherwise the worker logs them
        )

    def attach(self, supervisor: SupervisorLink, worker: Worker) -> None:
        """Connect a worker to its supervisor: what it holds, when it is ready, when to replace and to stop it."""
        worker.in_flight = InFlightTable(*supervisor.descriptors)
        worker.is_one_of_many = True
        worker.on_listening = supervisor.is_ready
        worker.on_replacement_needed = supervisor.ask_for_replacement
        worker.on_outage = lambda is_down: supervisor.is_not_ready() if is_down else supervisor.is_ready()
        worker.beat = supervisor.beat
        supervisor.call_at_end(worker.stop_gracefully)

    def get_channel_layer(self, alias: str) -> ChannelLayerWrapper:
        """Return the layer called `alias`. Raises `CommandError` for a layer that other processes cannot reach."""
        layer = program_layer_of(alias)
        if layer.local_only():
            raise CommandError(
                f"The layer {layer} lives in one process, so a worker in another process gets no messages. Leave "
                f"BACKEND out of CHANNEL_LAYERS[{alias!r}] to use the local layer, or name the Redis layer; with the "
                "memory layer, runserver runs workers in its own process."
            )
        return layer

    def get_http_consumer(self) -> Consumer | None:
        """Return the consumer of requests that no route takes; None for Django's views."""
        if settings.DEBUG and apps.is_installed("django.contrib.staticfiles"):
            from channels_classic.staticfiles import StaticFilesConsumer

            return StaticFilesConsumer()
        return None

    def make_worker(self, config: WorkerConfig, callback: Any) -> Worker:
        """Return a worker, or for several threads a group of workers, configured by `config`."""
        arguments: dict[str, Any] = {
            "channel_layer": self.channel_layer,
            "callback": callback,
            "only_channels": list(config.only_channels) or None,
            "exclude_channels": list(config.exclude_channels) or None,
        }
        # Tests written for 1.x expect exactly these arguments; the other options are attributes.
        worker = Worker(**arguments) if config.threads == 1 else WorkerGroup(**arguments, n_threads=config.threads)
        worker.configure(config)
        return worker

    def run_worker(self, worker: Worker, config: WorkerConfig) -> None:
        """Run the worker until it is stopped."""
        if config.reload:
            atexit.register(_finish, worker, threading.current_thread())
        worker_process_ready.send(sender=worker)
        worker.ready()
        try:
            worker.run()
        except KeyboardInterrupt:
            pass  # before or after the worker catches the signal itself
        except ChannelsError as error:
            raise CommandError(str(error)) from error

    def consumer_called(self, channel: str, message: Message) -> None:
        """Called before each consumer with `-v 2`, for subclasses; the worker itself logs how each message ended."""


def _finish(worker: Worker, thread: threading.Thread) -> None:
    """Finish the messages taken so far, at the end of a process whose main thread only watches files."""
    worker.stop_gracefully()
    thread.join()  # limited by the worker's grace period
