"""`manage.py runserver`: an interface server and workers in one process, for development.

Extends Django's own command, or that of the staticfiles app if it is installed, and runs it unchanged in a project
without a default channel layer. Reloading, options and messages are Django's.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandParser
from django.db import connections
from django.utils import autoreload

from channels_classic._channels_4_checks import other_channels
from channels_classic._options import check_values, option
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.conf import CHANNEL_LAYERS, DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import CannotListen
from channels_classic.handler import ViewConsumer
from channels_classic.interface_server import InterfaceServer
from channels_classic.interface_server.action_log import ActionLogMiddleware
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Server
from channels_classic.interface_server.websocket.inbound import DISCONNECT
from channels_classic.management.interface import configured, set_up_log
from channels_classic.management.layer import program_layer_of
from channels_classic.management.options import add_arguments, configuration
from channels_classic.routing import Consumer
from channels_classic.worker import WorkerGroup

if TYPE_CHECKING or apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command as DjangoCommand
else:
    from django.core.management.commands.runserver import Command as DjangoCommand

WORKER_THREADS = 4

access_logger = logging.getLogger("django.server")

STOP_TIMEOUT = 2.0
"""Seconds that clients and consumers have to finish when the process ends or reloads."""

STOP_INTERVAL = 0.05
"""Seconds between two attempts to stop workers."""

_CANNOT_LISTEN = {
    errno.EACCES: "You don't have permission to access that port.",
    errno.EADDRINUSE: "That port is already in use.",
    errno.EADDRNOTAVAIL: "That IP address can't be assigned to.",
}

_WEBSOCKET_WORDS = {
    "connected": "CONNECT",
    "disconnected": "DISCONNECT",
    "connecting": "HANDSHAKING",
    "rejected": "REJECT",
}


@dataclass(frozen=True, slots=True)
class RunserverConfig:
    """The options of `runserver` that have a value, beside those of Django's command. Their names are those of 1.x."""

    http_timeout: float = option(60.0, "Seconds to wait for a response before answering 503.", above=0)
    websocket_handshake_timeout: float = option(5.0, "Seconds a consumer has to accept a WebSocket.", least=-1)

    def __post_init__(self) -> None:
        check_values(self)


class Command(DjangoCommand):
    """Serves the project on an interface server with workers in its own process.

    `protocol` may be overridden as in Django; `server_cls` is the WSGI server that serves without a channel layer.
    """

    logger: logging.Logger
    addr: str
    port: str

    def add_arguments(self, parser: CommandParser) -> None:
        """Add options to those of Django."""
        super().add_arguments(parser)
        parser.add_argument(
            "--noworker",
            action="store_false",
            dest="run_worker",
            help="Run no workers in this process; start `runworker` separately.",
        )
        parser.add_argument(
            "--noasgi", action="store_false", dest="use_asgi", help="Run Django's own server, without channels."
        )
        add_arguments(parser, RunserverConfig)

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until Ctrl-C."""
        self.logger = set_up_log(options)
        super().handle(*args, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve in this thread, which under the reloader is not the main one."""
        if not options["use_asgi"] or not _has_default_layer():
            super().inner_run(*args, **options)
            return
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        connections.close_all()  # opened by that check

        layer = program_layer_of(DEFAULT_CHANNEL_LAYER)
        layer.router.check_default(http_consumer=self.get_consumer(*args, **options))
        server = self.make_server(layer, options)
        self.announce(layer, server.sockets[0].getsockname()[1])
        threads = WORKER_THREADS if options["use_threading"] else 1
        worker = WorkerThread(layer, self.logger, threads, server.ready) if options["run_worker"] else None
        self.application.worker = worker
        self.serve(server, worker)
        self.stdout.write(options.get("shutdown_message") or "", ending="")

    def get_consumer(self, *args: Any, **options: Any) -> Consumer:
        """Return the consumer for requests without a route; the server answers those for static files itself."""
        return ViewConsumer()

    def make_server(self, layer: ChannelLayerWrapper, options: dict[str, Any]) -> Server:
        """Return the interface server, listening; exit as Django's own command does if it cannot listen."""
        try:
            timeout = configuration(RunserverConfig, options).websocket_handshake_timeout
            config = configured({**options, "websocket_connect_timeout": timeout})
        except (ImproperlyConfigured, ValueError) as error:
            self._refuse(error)
        application: Any = _Application(layer.channel_layer, config)
        self.application = application
        if options.get("use_static_handler") and (settings.DEBUG or options["insecure_serving"]):
            from channels_classic.staticfiles import DevelopmentStaticFiles

            application = DevelopmentStaticFiles(application)
        try:
            return Server(ActionLogMiddleware(application, self.log_action), config, Listen(self.addr, int(self.port)))
        except CannotListen as refusal:
            self._refuse(_CANNOT_LISTEN.get(refusal.error.errno or 0, refusal.error))

    def _refuse(self, problem: object) -> NoReturn:
        self.stderr.write(f"Error: {problem}")
        os._exit(1)  # a thread cannot end the process otherwise

    def announce(self, layer: ChannelLayerWrapper, port: int) -> None:
        """Print what Django's `on_bind` prints for its own server, and the channel layer."""
        address = f"[{self.addr}]" if ":" in self.addr else "0.0.0.0" if self.addr == "0" else self.addr  # noqa: S104
        self.stdout.write(
            f"{datetime.now().strftime('%B %d, %Y - %X')}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting Channels development server at {self.protocol}://{address}:{port}/\n"
            f"Channel layer {layer}\n"
            f"{_others_consumers()}"
            "Quit the server with CONTROL-C.\n"
        )

    def serve(self, server: Server, worker: WorkerThread | None) -> None:
        """Run the server in this thread and the worker in its own; return when both have stopped."""
        if threading.current_thread() is not threading.main_thread():
            atexit.register(_stop_from_outside, server, threading.current_thread())
        if worker is not None:
            worker.start()
        try:
            server.run()
        except SystemExit:
            os._exit(1)  # it could not start and has logged the reason
        finally:
            if worker is not None:
                worker.stop()

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Log an action of a client to `django.server`, which by default writes to `sys.stderr`."""
        _follow_stderr()
        extra: dict[str, Any] = {"server_time": datetime.now().strftime("%d/%b/%Y %H:%M:%S")}
        if (protocol, action) == ("http", "complete"):
            extra["status_code"] = status = details["status"]
            level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
            text = "HTTP %(method)s %(path)s %(status)s [%(time_taken).2f, %(client)s]"
            access_logger.log(level, text, details, extra=extra)
        elif protocol == "websocket" and action in _WEBSOCKET_WORDS:
            word = _WEBSOCKET_WORDS[action]
            access_logger.info("WebSocket %s %s [%s]", word, details["path"], details["client"], extra=extra)


def _follow_stderr() -> None:
    """Let the handler that Django gives `django.server` by default write to the current `sys.stderr`.

    It keeps the one from when logging was configured; tests of 1.x projects replace it and call `log_action`.
    """
    if access_logger.name not in settings.LOGGING.get("handlers", {}):
        for handler in access_logger.handlers:
            if handler.name == access_logger.name and isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)


class _Application(InterfaceServer):
    """An interface server that lets the workers of its process finish before the layer ends, which may live there."""

    worker: WorkerThread | None = None

    async def before_layer_ends(self, session: LayerSession) -> None:
        """Wait until workers have consumed the disconnects of the last clients, `STOP_TIMEOUT` seconds at most."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while self.worker is not None and self.worker.is_alive() and time.monotonic() < deadline:
            if not session.available or not await session.has_waiting((DISCONNECT,), 0):
                self.worker.ask_to_stop()
            await asyncio.sleep(STOP_INTERVAL)


class _Workers(WorkerGroup):
    """Workers without statistics: the autoreloader restarts them on every change."""

    def log_statistics(self) -> None:
        """Log nothing."""


class WorkerThread(threading.Thread):
    """Runs workers in threads of this process once the event `ready` is set."""

    def __init__(
        self,
        channel_layer: ChannelLayerWrapper,
        logger: logging.Logger,
        threads: int = 1,
        ready: threading.Event | None = None,
    ) -> None:
        super().__init__(name="runserver-worker", daemon=True)
        self.logger = logger
        self._worker = _Workers(channel_layer, signal_handlers=False, n_threads=threads)
        self._ready = ready or threading.Event()
        if ready is None:
            self._ready.set()

    def run(self) -> None:
        """Consume until `stop`."""
        self._ready.wait()
        self.logger.debug("Worker threads are running")
        self._worker.ready()
        try:
            self._worker.run()
        except RuntimeError:
            # A process that ends, because a file changes again while it starts, lets nobody start threads.
            if threading.main_thread().is_alive():
                raise
        self.logger.debug("Worker threads have ended")

    def stop(self) -> None:
        """Stop taking messages; return when running consumers have finished, or after `STOP_TIMEOUT`."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while self.is_alive() and time.monotonic() < deadline:
            self.ask_to_stop()
            self.join(STOP_INTERVAL)

    def ask_to_stop(self) -> None:
        """Stop taking messages. To be repeated: a worker may just have been about to wait for one."""
        self._ready.set()
        self._worker.stop()


def _others_consumers() -> str:
    """Return a line on the consumers of Channels 2 or later that this command does not serve, if there are any."""
    version = other_channels() if hasattr(settings, "ASGI_APPLICATION") else ""
    if not version:
        return ""
    return f"ASGI_APPLICATION is not served here: for consumers of Channels {version} run uvicorn and runworker.\n"


def _has_default_layer() -> bool:
    """Return True if there is a default layer, or if the setting is so wrong that the checks must report it."""
    layers = CHANNEL_LAYERS.get()
    return DEFAULT_CHANNEL_LAYER in layers if isinstance(layers, dict) else bool(layers)


def _stop_from_outside(server: Server, thread: threading.Thread) -> None:
    """Stop the server at the end of the process, so that clients are notified before its daemon thread ends."""
    server.stop()
    thread.join(STOP_TIMEOUT)
