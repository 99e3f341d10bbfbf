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
from pathlib import Path
from typing import Any

import uvicorn

from channels_classic.exceptions import CannotListen
from channels_classic.interface_server.application import InterfaceServer
from channels_classic.interface_server.config import InterfaceConfig, option
from channels_classic.interface_server.scope import Application
from channels_classic.interface_server.uvicorn_protocol import HttpProtocol, WebSocketProtocol

logger = logging.getLogger(__name__)

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
BACKLOG = 2048

FRAME_LIMIT = 4 * 1024 * 1024
"""Bytes of one WebSocket message: well below what a layer carries."""

STOP_PATIENCE = 10
"""Seconds that responses under way have when the server stops."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; all that are given, and 127.0.0.1:8000 when none is. Port 0 is any free port."""

    bind: str = option("", f"The address to listen on. Default: {DEFAULT_HOST}.", "-b")
    port: int | None = option(
        None, f"The port to listen on, 0 for any that is free. Default: {DEFAULT_PORT}.", "-p", kind=int
    )
    unix_socket: str = option("", "The path of a Unix socket to listen on.", "-u")
    fd: int | None = option(None, "An open descriptor to listen on, from a process manager.", kind=int)

    def sockets(self) -> list[socket.socket]:
        """Bound sockets. Raises `CannotListen`."""
        found: list[socket.socket] = []
        try:
            if self.fd is not None:
                found.append(_adopt(self.fd))
            if self.unix_socket:
                found.append(_bind_unix(self.unix_socket))
            if self.bind or self.port is not None or not found:
                port = DEFAULT_PORT if self.port is None else self.port
                found.append(_bind(self.bind or DEFAULT_HOST, port))
        except CannotListen:
            for bound in found:
                bound.close()
            raise
        return found


def _bind(host: str, port: int) -> socket.socket:
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
    try:
        bound.bind(address)
        # Here and not in the event loop, because a second listener is refused by listen(), with SO_REUSEADDR.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise CannotListen(where, error) from error
    bound.setblocking(False)
    return bound


def _bind_unix(path: str) -> socket.socket:
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
        bound.listen(BACKLOG)
    except CannotListen:
        bound.close()
        raise
    except OSError as error:
        bound.close()
        raise CannotListen(path, error) from error
    bound.setblocking(False)
    return bound


def _adopt(fd: int) -> socket.socket:
    try:
        adopted = socket.socket(fileno=fd)
    except OSError as error:
        raise CannotListen(f"descriptor {fd}", error) from error
    try:
        adopted.listen(BACKLOG)
    except OSError as error:
        adopted.detach()  # it is not ours to close
        raise CannotListen(f"descriptor {fd}", error) from error
    adopted.setblocking(False)
    return adopted


class Server:
    """Serves an ASGI application until it is told to stop.

    `application` is an `InterfaceServer`, or an application around one. The sockets are bound when this is made.
    Raises `CannotListen`.
    """

    def __init__(self, application: Application, config: InterfaceConfig, listen: Listen | None = None) -> None:
        self.sockets = (listen or Listen()).sockets()
        self.ready = threading.Event()
        """Set once clients are served."""
        self._uvicorn = _Uvicorn(_uvicorn_config(application, config), self.ready)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as addresses a person can use."""
        return [_address(bound) for bound in self.sockets]

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


def serve(layer: Any, config: InterfaceConfig | None = None, listen: Listen | None = None) -> None:
    """Run an interface server on `layer` until it is told to stop. Raises `CannotListen`."""
    config = config or InterfaceConfig()
    server = Server(InterfaceServer(layer, config), config, listen)
    logger.info("Serving %s on the channel layer %s", " and ".join(server.addresses), layer)
    server.run()


def _uvicorn_config(application: Application, config: InterfaceConfig) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=FRAME_LIMIT,
        ws_ping_interval=config.ping_interval,
        ws_ping_timeout=config.ping_timeout,
        ws_per_message_deflate=False,
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=STOP_PATIENCE,
    )


class _Uvicorn(uvicorn.Server):
    """uvicorn, with a clean exit after a signal and a word when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch signals while serving. uvicorn raises them again afterwards; here a stop that was asked for is none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The first signal asks, the second insists."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _address(bound: socket.socket) -> str:
    name: Any = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
