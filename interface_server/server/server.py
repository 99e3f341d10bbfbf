"""The interface server as a program: the application on uvicorn, with its sockets and signals.

Started by the commands, or in a thread of another program; knows nothing of Django or the user's project.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, TextIO

from channels_classic._health import Health, HealthServer
from channels_classic._metrics.exchange import Collect
from channels_classic._metrics.program import ProgramMetrics, reporting_to_supervisor
from channels_classic._metrics.samples import Samples
from channels_classic._options import check_values, option, parse_address
from channels_classic._supervisor.link import SupervisorLink
from channels_classic._supervisor.signal_pipe import ignore_until_caught
from channels_classic._systemd import Notifier, WatchdogTimer

from ..access_log import FORMATS, AccessLog
from ..application import InterfaceServer
from ..asgi import Application
from ..config import ClientLimits, InterfaceConfig
from .connect_rate import ConnectRate
from .garbage import Freezer
from .listen import Listen, url_of
from .observer import ServerObserver
from .supervisor import InterfaceSupervisor
from .uvicorn_config import uvicorn_config
from .uvicorn_server import UvicornServer, stop_timeout

logger = logging.getLogger("channels_classic.interface_server")


class Server:
    """Serves an ASGI application until it is stopped.

    `application` is an `InterfaceServer`, or an application around one. The constructor binds the sockets, or adopts
    the descriptors `passed` by a supervisor, and raises `CannotListen`. When the server stops, it closes its WebSockets
    over `drain` seconds.
    """

    def __init__(
        self,
        application: Application,
        config: InterfaceConfig,
        listen: Listen | None = None,
        limits: ClientLimits | None = None,
        drain: float = 0.0,
        passed: Sequence[int] = (),
        observer: ServerObserver | None = None,
    ) -> None:
        listen = listen or Listen()
        limits = limits or ClientLimits()
        rate = ConnectRate(limits.connect_rate) if limits.connect_rate else None
        found = uvicorn_config(application, config, listen, limits, rate)
        self.sockets = listen.sockets(passed)
        self.ready = threading.Event()
        """Set when the server accepts clients."""
        self._scheme = "https" if listen.certfile else "http"
        self._uvicorn = UvicornServer(found, limits, rate, drain, self.ready.set, observer or ServerObserver())

    @property
    def addresses(self) -> list[str]:
        """The endpoints as URLs, or `unix:` and a path."""
        return [url_of(bound, self._scheme) for bound in self.sockets]

    @property
    def health(self) -> Health:
        """The state of the server."""
        return self._uvicorn.health

    def samples(self) -> Samples:
        """Return the values of its metrics. May be called from any thread but that of the event loop."""
        return self._uvicorn.samples()

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

    processes: int = option(
        1, "Processes that serve the same endpoints. One that dies is replaced.", least=1, most=1000
    )
    drain: float = option(
        0.0,
        "Seconds over which open WebSockets are closed, evenly, when the server stops or is replaced. 0: all at once.",
        least=0,
    )
    health: str = option(
        "", "HOST:PORT, not for the public, to answer /live and /ready on while the program runs, stops or drains."
    )
    access_log: str = option("", "A file to append a line to for each response and socket; - for standard output.")
    access_log_format: str = option(
        "daphne", "daphne; common or combined, followed by the seconds and the id of the request or socket; or json."
    )
    metrics: str = option(
        "", "HOST:PORT where Prometheus reads the metrics of all processes, at /metrics. Not for the public."
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.access_log_format not in FORMATS:
            raise ValueError(
                f"--access-log-format is {self.access_log_format!r}: expected one of {', '.join(FORMATS)}."
            )
        if not self.access_log and self.access_log_format != "daphne":
            raise ValueError("--access-log-format is given without --access-log: name the file, or - for the terminal.")
        for name, address in (("--health", self.health), ("--metrics", self.metrics)):
            if address:
                parse_address(name, address)

    @property
    def is_supervised(self) -> bool:
        """True if a supervisor runs: for several processes, and to start a successor while a process drains."""
        return self.processes > 1 or self.drain > 0


def serve(layer: Any, config: InterfaceConfig, listen: Listen, limits: ClientLimits, program: Program) -> None:
    """Run an interface server on `layer` until a signal stops it. Raises `CannotListen`, `OSError` and `ValueError`."""
    ignore_until_caught(signal.SIGUSR1)
    gc.callbacks.append(Freezer())
    log = AccessLog(_stream(program.access_log), program.access_log_format) if program.access_log else None
    link = SupervisorLink.of_this_process()
    passed = link.descriptors if link is not None else ()
    observer = ProgramObserver(link)
    server = Server(InterfaceServer(layer, config, log), config, listen, limits, program.drain, passed, observer)
    if link is not None:
        link.call_at_end(server.stop)
        with reporting_to_supervisor(server.samples):
            return server.run()
    addresses = " and ".join(server.addresses)
    supervisor = None
    if program.is_supervised:
        supervisor = InterfaceSupervisor(
            server.sockets,
            program.processes,
            stop_timeout(program.drain),
            replaced_grace=stop_timeout(program.drain, is_replaced=True),
        )
    observed = supervisor or server
    with (
        _probes(program, lambda: observed.health),
        _metrics(program, layer, observed.samples),
    ):
        logger.info("Serving %s on the channel layer %s", addresses, layer)
        if supervisor is None:
            return server.run()
        sys.exit(supervisor.run())


def _probes(program: Program, health: Callable[[], Health]) -> AbstractContextManager[None]:
    return HealthServer(program.health, health) if program.health else nullcontext()


def _metrics(program: Program, layer: Any, collect: Collect) -> AbstractContextManager[None]:
    if not program.metrics:
        return nullcontext()
    return ProgramMetrics(program.metrics, layer, collect, program.is_supervised)


class ProgramObserver(ServerObserver):
    """Logs what happens to a server, and reports it to the supervisor, or to systemd."""

    def __init__(self, link: SupervisorLink | None) -> None:
        self._link = link
        self._notifier = Notifier.of_this_process()
        self._heartbeat = WatchdogTimer(self._notifier)

    @property
    def is_successor(self) -> bool:
        """True if another process serves until this one is ready."""
        return self._link is not None and self._link.is_successor

    @property
    def is_replaced(self) -> bool:
        """True if the server stops because its successor serves."""
        return self._link is not None and self._link.is_replaced

    def changed(self, state: Health) -> None:
        """Report whether the server can be used.

        systemd and a supervisor are not kept waiting for a worker: it may be started after this server.
        """
        if state is Health.READY or state is Health.NO_WORKER:
            logger.info(
                "Ready: the channel layer is reached%s.", "" if state is Health.READY else ", but no worker yet"
            )
            self._notifier.ready()
        if self._link is not None:
            report = {Health.READY: self._link.is_ready, Health.NO_WORKER: self._link.has_no_worker}
            report.get(state, self._link.is_not_ready)()

    def beat(self) -> None:
        """Show systemd or the supervisor that the event loop runs."""
        self._heartbeat.tick()
        if self._link is not None:
            self._link.beat()

    def stopping(self) -> None:
        """Report that it stops."""
        self._notifier.stopping()


def _stream(path: str) -> TextIO:
    """Open a line-buffered stream that several processes may append to. Raises `ValueError`."""
    try:
        return open(1 if path == "-" else path, "a", buffering=1, encoding="utf-8", closefd=path != "-")
    except OSError as error:
        raise ValueError(f"--access-log {path} cannot be written: {error.strerror}.") from error
