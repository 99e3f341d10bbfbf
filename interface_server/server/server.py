"""The interface server as a program: the application on uvicorn, with its sockets, its signals and its first log line.

Comes from the commands, or from a thread of another program; knows nothing of Django and of the user's project.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TextIO

import uvicorn

from channels_classic._options import option
from channels_classic.exceptions import CannotListen

from ..access_log import AccessLog
from ..application import InterfaceServer
from ..asgi import Application
from ..config import ClientLimits, InterfaceConfig
from .http_protocol import HttpProtocol
from .prefork import Prefork
from .websocket_protocol import WebSocketProtocol

logger = logging.getLogger(__name__)

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""Those that ask a process to stop; the last one insists."""

UNACKNOWLEDGED_TIMEOUT = 60
"""Seconds for which the system keeps data for a client that takes none of it, when we are done with the connection."""

SHUTDOWN_GRACE = 10
"""Seconds that responses under way have when the server stops."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; all that are given, and 127.0.0.1:8000 when none is. Port 0 is any free port."""

    group: ClassVar[str] = "Where to listen"

    bind: str = option("", f"The address to listen on. Default: {DEFAULT_HOST}.", "-b")
    port: int | None = option(
        None, f"The port to listen on, 0 for any that is free. Default: {DEFAULT_PORT}.", "-p", kind=int
    )
    unix_socket: str = option("", "The path of a Unix socket to listen on.", "-u")
    fd: int | None = option(None, "An open descriptor to listen on, from a process manager.", kind=int)
    backlog: int = option(2048, "Connections that wait for us in the system before further ones are turned away.")
    certfile: str = option("", "The certificate, with those it depends on, for TLS on all of these.", "--ssl-certfile")
    keyfile: str = option("", "Its private key, if that is not in the same file.", "--ssl-keyfile")

    def sockets(self) -> list[socket.socket]:
        """Bound sockets. Raises `CannotListen`."""
        found: list[socket.socket] = []
        try:
            if self.fd is not None:
                found.append(_adopt(self.fd, self.backlog))
            if self.unix_socket:
                found.append(_bind_unix(self.unix_socket, self.backlog))
            if self.bind or self.port is not None or not found:
                port = DEFAULT_PORT if self.port is None else self.port
                found.append(_bind(self.bind or DEFAULT_HOST, port, self.backlog))
        except CannotListen:
            for bound in found:
                bound.close()
            raise
        return found


def _bind(host: str, port: int, backlog: int) -> socket.socket:
    host = host.strip("[]")
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not 0 <= port < 65536:
        # getaddrinfo takes it, and gives another one.
        raise CannotListen(where, OSError("a port is a number from 0 to 65535"))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(where, error) from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _limit_unread(bound)
    try:
        bound.bind(address)
        # Here and not in the event loop, because a second listener is refused by listen(), with SO_REUSEADDR.
        bound.listen(backlog)
    except OSError as error:
        bound.close()
        raise CannotListen(where, error) from error
    bound.setblocking(False)
    return bound


def _bind_unix(path: str, backlog: int) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            bound.connect(path)
            raise CannotListen(path, OSError("another program listens there"))
        if Path(path).is_socket():
            Path(path).unlink()  # left behind by a server that was killed
        bound.close()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(path)
        # The web server in front runs as another user; the folder decides who gets here.
        Path(path).chmod(0o666)
        bound.listen(backlog)
    except CannotListen:
        bound.close()
        raise
    except OSError as error:
        bound.close()
        raise CannotListen(path, error) from error
    bound.setblocking(False)
    return bound


def _adopt(fd: int, backlog: int) -> socket.socket:
    try:
        adopted = socket.socket(fileno=fd)
    except OSError as error:
        raise CannotListen(f"descriptor {fd}", error) from error
    try:
        adopted.listen(backlog)
    except OSError as error:
        adopted.detach()  # it is not ours to close
        raise CannotListen(f"descriptor {fd}", error) from error
    _limit_unread(adopted)
    adopted.setblocking(False)
    return adopted


def _limit_unread(listener: socket.socket) -> None:
    """Have the system drop clients that acknowledge nothing; the connections of a listener inherit this."""
    if listener.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_TIMEOUT * 1000)


class Server:
    """Serves an ASGI application until it is told to stop.

    `application` is an `InterfaceServer`, or an application around one. The sockets are bound when this is made.
    Raises `CannotListen`.
    """

    def __init__(
        self,
        application: Application,
        config: InterfaceConfig,
        listen: Listen | None = None,
        limits: ClientLimits | None = None,
    ) -> None:
        listen = listen or Listen()
        uvicorn_config = _uvicorn_config(application, config, listen, limits or ClientLimits())
        self.sockets = listen.sockets()
        self.ready = threading.Event()
        """Set once clients are served."""
        self._scheme = "https" if listen.certfile else "http"
        self._uvicorn = _UvicornServer(uvicorn_config, self.ready)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as addresses a person can use."""
        return [_address(bound, self._scheme) for bound in self.sockets]

    def run(self) -> None:
        """Serve; returns after `stop`, or in the main thread after SIGTERM or Ctrl-C. A second signal insists.

        Raises `SystemExit` with status 1 when the application cannot start; why is in the log.
        """
        try:
            self._uvicorn.run(sockets=self.sockets)
        except SystemExit as error:
            raise SystemExit(1) from error

    def stop(self) -> None:
        """Stop serving; can be called from any thread, and before `run`."""
        self._uvicorn.should_exit = True


@dataclass(frozen=True, slots=True)
class Program:
    """How the program runs."""

    group: ClassVar[str] = "The program"

    processes: int = option(1, "Processes that share what is listened on. One that dies is replaced.")
    access_log: str = option("", "A file to which a line is added for each response and socket; - for standard output.")


def serve(layer: Any, config: InterfaceConfig, listen: Listen, limits: ClientLimits, program: Program) -> None:
    """Run an interface server on `layer` until told to stop. Raises `CannotListen`, `OSError` and `ValueError`."""
    log = AccessLog(_stream(program.access_log)) if program.access_log else None
    server = Server(InterfaceServer(layer, config, log), config, listen, limits)
    logger.info("Serving %s on the channel layer %s", " and ".join(server.addresses), layer)
    if program.processes > 1:
        Prefork(program.processes, server.run, server.stop).run()
    else:
        server.run()


def _stream(path: str) -> TextIO:
    """Where lines are written at once, by all processes."""
    return open(1 if path == "-" else path, "a", buffering=1, encoding="utf-8", closefd=path != "-")


def _uvicorn_config(
    application: Application, config: InterfaceConfig, listen: Listen, limits: ClientLimits
) -> uvicorn.Config:
    """What uvicorn is to do. Raises `CannotListen` for a certificate that cannot be used."""
    found = uvicorn.Config(
        application,
        http=partial(HttpProtocol, limits=limits),  # type: ignore[arg-type]  # it is called like the class
        ws=WebSocketProtocol,
        ws_max_size=limits.max_message,
        ws_ping_interval=config.ping_interval,
        ws_ping_timeout=config.ping_timeout,
        ws_per_message_deflate=config.compression,
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=listen.backlog,
        limit_concurrency=limits.max_connections or None,
        timeout_keep_alive=limits.keep_alive,  # type: ignore[arg-type]  # it does for a timer
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
        ssl_certfile=listen.certfile or None,
        ssl_keyfile=listen.keyfile or None,
    )
    try:
        found.load()
    except OSError as error:  # a file that is not there, or holds no certificate
        raise CannotListen(f"TLS with {listen.certfile} {listen.keyfile}".rstrip(), error) from error
    return found


class _UvicornServer(uvicorn.Server):
    """uvicorn, with a clean exit after a signal and a word when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._signalled = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch signals while serving. uvicorn raises them again afterwards; here a stop that was asked for is none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        # The end of a terminal is not that of a server.
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The first signal asks, the second insists."""
        self.force_exit = self._signalled or sig == signal.SIGQUIT
        self._signalled = self.should_exit = True


def _address(bound: socket.socket, scheme: str) -> str:
    name: Any = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
