"""The endpoints an interface server listens on: binds their sockets. Knows nothing of what is served."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from channels_classic._options import check_values, option
from channels_classic.exceptions import CannotListen

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000

MOST = 2**31 - 1
"""The largest descriptor and backlog: integers of C."""

LOCK_TIMEOUT = 5.0
"""Seconds to wait for other servers that start in the same folder."""

LOCK_INTERVAL = 0.02
"""Seconds between two attempts."""

UNACKNOWLEDGED_TIMEOUT = 60
"""Seconds until the kernel drops a connection whose client acknowledges no data (TCP_USER_TIMEOUT)."""


@dataclass(frozen=True, slots=True)
class Listen:
    """The endpoints to listen on; 127.0.0.1:8000 if none is given. Port 0 is any free port."""

    group: ClassVar[str] = "Where to listen"

    bind: str = option("", f"The address to listen on. Default: {DEFAULT_HOST}.", "-b")
    port: int | None = option(
        None, f"The port to listen on, 0 for any that is free. Default: {DEFAULT_PORT}.", "-p", kind=int
    )
    unix_socket: str = option("", "The path of a Unix socket to listen on.", "-u")
    fd: int | None = option(
        None, "A file descriptor to listen on, opened by a process manager.", kind=int, least=0, most=MOST
    )
    backlog: int = option(2048, "Length of the accept queue (see listen(2)).", least=1, most=MOST)
    certfile: str = option("", "A file with the certificate chain: serve TLS on all endpoints.", "--ssl-certfile")
    keyfile: str = option("", "The file of its private key, if that is not in --certfile.", "--ssl-keyfile")

    def __post_init__(self) -> None:
        check_values(self)

    def sockets(self, passed: Sequence[int] = ()) -> list[socket.socket]:
        """Return bound, listening sockets: those `passed` by a supervisor, if any. Raises `CannotListen`."""
        if passed:
            return [_adopt(descriptor, self.backlog) for descriptor in passed]
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
        # getaddrinfo accepts it, modulo 65536.
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
        # Here, not in the event loop: with SO_REUSEADDR it is listen() that refuses a second listener.
        bound.listen(backlog)
    except OSError as error:
        bound.close()
        raise CannotListen(where, error) from error
    bound.setblocking(False)
    return bound


def _bind_unix(path: str, backlog: int) -> socket.socket:
    try:
        with _locked(Path(path).parent):
            _remove_dead(path)
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                bound.bind(path)
                # The proxy runs as another user; access is controlled by the mode of the folder.
                Path(path).chmod(0o666)
                bound.listen(backlog)
            except OSError:
                bound.close()
                raise
    except OSError as error:
        raise CannotListen(path, error) from error
    bound.setblocking(False)
    return bound


def _remove_dead(path: str) -> None:
    """Remove a socket that a killed server left. Raise `OSError` if a server listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not Path(path).is_socket():
                raise OSError("a file that is not a socket is at that path") from None
            Path(path).unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder while a socket in it is replaced. Raise `OSError` if another process holds the lock for long.

    Between the attempt to connect to a socket and its `unlink` another server may bind that path. It would then listen
    on a socket that no client can find any more.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder in which one may make sockets, but not read: there is no lock then
        yield
        return
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "another process has locked its folder") from None
        time.sleep(LOCK_INTERVAL)


def _adopt(fd: int, backlog: int) -> socket.socket:
    try:
        adopted = socket.socket(fileno=fd)
    except OSError as error:
        raise CannotListen(f"descriptor {fd}", error) from error
    try:
        adopted.listen(backlog)
    except OSError as error:
        adopted.detach()  # not ours to close
        raise CannotListen(f"descriptor {fd}", error) from error
    _limit_unread(adopted)
    adopted.setblocking(False)
    return adopted


def move_from_standard_streams(listener: socket.socket) -> socket.socket:
    """Return a socket that can be passed to a child process, whose standard streams are its own.

    supervisor gives a program its socket as descriptor 0, which is the null device from then on.
    """
    if listener.fileno() > 2:
        return listener
    moved = listener.dup()
    standard = listener.detach()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, standard)
    os.close(null)
    return moved


def _limit_unread(listener: socket.socket) -> None:
    """Let the kernel drop clients that acknowledge no data; accepted connections inherit the option."""
    if listener.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_TIMEOUT * 1000)


def url_of(bound: socket.socket, scheme: str) -> str:
    """Return the endpoint of a bound socket as a URL, or `unix:` and a path."""
    name: Any = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
