"""The interface server as a program: the application on uvicorn, with its sockets and signals.

Started by the commands, or in a thread of another program; knows nothing of Django or the user's project.
"""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import dataclass
from typing import Any, ClassVar, TextIO

from channels_classic._metrics.program import ProgramMetrics
from channels_classic._options import option

from ..access_log import AccessLog
from ..application import InterfaceServer
from ..asgi import Application
from ..config import ClientLimits, InterfaceConfig
from .listen import Listen, url_of
from .prefork import Prefork
from .uvicorn_server import UvicornServer, uvicorn_config

logger = logging.getLogger("channels_classic.interface_server")


class Server:
    """Serves an ASGI application until it is stopped.

    `application` is an `InterfaceServer`, or an application around one. The constructor binds the sockets and raises
    `CannotListen`.
    """

    def __init__(
        self,
        application: Application,
        config: InterfaceConfig,
        listen: Listen | None = None,
        limits: ClientLimits | None = None,
        metrics: ProgramMetrics | None = None,
    ) -> None:
        listen = listen or Listen()
        limits = limits or ClientLimits()
        found = uvicorn_config(application, config, listen, limits)
        self.sockets = listen.sockets()
        self.ready = threading.Event()
        """Set when the server accepts clients."""
        self._scheme = "https" if listen.certfile else "http"
        self._uvicorn = UvicornServer(found, limits, self.ready, metrics)

    @property
    def addresses(self) -> list[str]:
        """The endpoints as URLs, or `unix:` and a path."""
        return [url_of(bound, self._scheme) for bound in self.sockets]

    def run(self) -> None:
        """Serve; returns after `stop`, or in the main thread after SIGTERM or Ctrl-C. A second signal stops at once.

        Raises `SystemExit` with status 1 if the application cannot start; the log has the reason.
        """
        try:
            self._uvicorn.run(sockets=self.sockets)
        except SystemExit as error:
            raise SystemExit(1) from error

    def stop(self) -> None:
        """Stop serving. May be called from any thread, also before `run`."""
        self._uvicorn.should_exit = True


@dataclass(frozen=True, slots=True)
class Program:
    """Options of the program as a whole."""

    group: ClassVar[str] = "The program"

    processes: int = option(1, "Processes that serve the same endpoints. One that dies is replaced.")
    access_log: str = option("", "A file to append a line to for each response and socket; - for standard output.")
    metrics: str = option(
        "", "HOST:PORT where Prometheus reads the metrics of all processes, at /metrics. Not for the public."
    )


def serve(layer: Any, config: InterfaceConfig, listen: Listen, limits: ClientLimits, program: Program) -> None:
    """Run an interface server on `layer` until a signal stops it. Raises `CannotListen`, `OSError` and `ValueError`."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there are statistics; by default it kills
    log = AccessLog(_stream(program.access_log)) if program.access_log else None
    several = program.processes > 1
    metrics = ProgramMetrics(program.metrics, layer, has_several_processes=several) if program.metrics else None
    server = Server(InterfaceServer(layer, config, log), config, listen, limits, metrics)
    logger.info("Serving %s on the channel layer %s", " and ".join(server.addresses), layer)
    try:
        if several:
            Prefork(program.processes, server.run, server.stop).run()
        else:
            server.run()
    finally:
        if metrics is not None:
            metrics.close()


def _stream(path: str) -> TextIO:
    """Open a line-buffered stream that several processes may append to."""
    return open(1 if path == "-" else path, "a", buffering=1, encoding="utf-8", closefd=path != "-")
