"""`manage.py runserver`: an interface server and workers in one process, for development.

It is Django's own command, that of the staticfiles app where that is installed, and leaves the field to it where the
project has no default channel layer. Reloading, options and messages are Django's.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandParser
from django.db import connections
from django.utils import autoreload

from channels_classic import DEFAULT_CHANNEL_LAYER
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import CannotListen
from channels_classic.handler import ViewConsumer
from channels_classic.interface_server import InterfaceServer
from channels_classic.interface_server.action_log import ActionLogMiddleware
from channels_classic.interface_server.server.server import Listen, Server
from channels_classic.management.interface import configured, set_up_log
from channels_classic.management.layer import layer_of
from channels_classic.routing import Consumer
from channels_classic.worker import WorkerGroup

if TYPE_CHECKING or apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command as DjangoCommand
else:
    from django.core.management.commands.runserver import Command as DjangoCommand

WORKER_THREADS = 4

access_logger = logging.getLogger("django.server")

STOP_PATIENCE = 2.0
"""Seconds that clients and consumers have when the process ends or is loaded again."""

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


class Command(DjangoCommand):
    """Serves the project on an interface server with workers in its own process.

    `protocol` may be overridden as in Django; `server_cls` is the WSGI server that serves without a channel layer.
    """

    logger: logging.Logger
    addr: str
    port: str

    def add_arguments(self, parser: CommandParser) -> None:
        """Add options to Django's own."""
        super().add_arguments(parser)
        parser.add_argument(
            "--noworker",
            action="store_false",
            dest="run_worker",
            help="Run no workers in this process: start `runworker` beside it.",
        )
        parser.add_argument(
            "--noasgi", action="store_false", dest="use_asgi", help="Run Django's own server, without channels."
        )
        parser.add_argument(
            "--http-timeout",
            "--http_timeout",
            type=float,
            default=60,
            help="Seconds until a request without a response is answered with 503. Default: 60.",
        )
        parser.add_argument(
            "--websocket-handshake-timeout",
            "--websocket_handshake_timeout",
            type=float,
            default=5,
            help="Seconds a consumer has to accept a WebSocket. Default: 5.",
        )

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

        layer = layer_of(DEFAULT_CHANNEL_LAYER)
        layer.router.check_default(http_consumer=self.get_consumer(*args, **options))
        server = self.make_server(layer, options)
        self.announce(layer, server.sockets[0].getsockname()[1])
        threads = WORKER_THREADS if options["use_threading"] else 1
        self.serve(server, WorkerThread(layer, self.logger, threads, server.ready) if options["run_worker"] else None)
        self.stdout.write(options.get("shutdown_message") or "", ending="")

    def get_consumer(self, *args: Any, **options: Any) -> Consumer:
        """What serves requests that no route takes; those for static files do not come that far."""
        return ViewConsumer()

    def make_server(self, layer: ChannelLayerWrapper, options: dict[str, Any]) -> Server:
        """The interface server, listening; when it cannot, the process ends as Django's own command does."""
        config = configured({**options, "websocket_connect_timeout": options["websocket_handshake_timeout"]})
        application: Any = InterfaceServer(layer.channel_layer, config)
        if options.get("use_static_handler") and (settings.DEBUG or options["insecure_serving"]):
            from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

            application = ASGIStaticFilesHandler(application)
        try:
            return Server(ActionLogMiddleware(application, self.log_action), config, Listen(self.addr, int(self.port)))
        except CannotListen as refusal:
            text = _CANNOT_LISTEN.get(refusal.error.errno or 0, refusal.error)
            self.stderr.write(f"Error: {text}")
            os._exit(1)  # a thread cannot end the process otherwise

    def announce(self, layer: ChannelLayerWrapper, port: int) -> None:
        """Say what Django's `on_bind` says of its own server, and which layer there is."""
        address = f"[{self.addr}]" if ":" in self.addr else "0.0.0.0" if self.addr == "0" else self.addr  # noqa: S104
        self.stdout.write(
            f"{datetime.now().strftime('%B %d, %Y - %X')}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting Channels development server at {self.protocol}://{address}:{port}/\n"
            f"Channel layer {layer}\n"
            "Quit the server with CONTROL-C.\n"
        )

    def serve(self, server: Server, worker: WorkerThread | None) -> None:
        """Run the server in this thread and the worker beside it; both have stopped when this returns."""
        if threading.current_thread() is not threading.main_thread():
            atexit.register(_stop_from_outside, server, threading.current_thread())
        if worker is not None:
            worker.start()
        try:
            server.run()
        except SystemExit:
            os._exit(1)  # it could not start, and has logged why
        finally:
            if worker is not None:
                worker.stop()

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Write a line about a client, where and how Django's own server does."""
        extra: dict[str, Any] = {"server_time": datetime.now().strftime("%d/%b/%Y %H:%M:%S")}
        if (protocol, action) == ("http", "complete"):
            extra["status_code"] = status = details["status"]
            level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
            text = "HTTP %(method)s %(path)s %(status)s [%(time_taken).2f, %(client)s]"
            access_logger.log(level, text, details, extra=extra)
        elif protocol == "websocket" and action in _WEBSOCKET_WORDS:
            word = _WEBSOCKET_WORDS[action]
            access_logger.info("WebSocket %s %s [%s]", word, details["path"], details["client"], extra=extra)


class _Workers(WorkerGroup):
    """Workers that count for nobody: with each changed file they end and others begin."""

    def log_statistics(self) -> None:
        """Say nothing."""


class WorkerThread(threading.Thread):
    """Runs workers in threads of this process, as soon as `ready` says that the layer is there."""

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
        self._worker.run()
        self.logger.debug("Worker threads have ended")

    def stop(self) -> None:
        """Take nothing more, and return when what was taken is finished, or when the time for it is over."""
        deadline = time.monotonic() + STOP_PATIENCE
        self._ready.set()
        while self.is_alive() and time.monotonic() < deadline:
            self._worker.stop()  # again and again: it might just have been about to wait for a message
            self.join(0.1)


def _has_default_layer() -> bool:
    """Whether there is a default layer, or such a mistake in the settings that only the checks can tell."""
    layers = getattr(settings, "CHANNEL_LAYERS", None)
    return DEFAULT_CHANNEL_LAYER in layers if isinstance(layers, dict) else bool(layers)


def _stop_from_outside(server: Server, thread: threading.Thread) -> None:
    """At the end of the process, let clients know before the thread that serves them is gone."""
    server.stop()
    thread.join(STOP_PATIENCE)
