"""The claim to host the local layer at an address: held by one process at a time, and given up by its death.

An abstract socket is the whole claim: the kernel lets one process bind a name, and frees it with the process. A socket
in a folder needs a lock beside it. Both files can be removed by a cleaner, and then another process could claim the
address as well, so a claim on files has to be checked now and then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress

from channels_classic.layers.local.address import is_abstract, is_other_file, socket_address

BACKLOG = 1024
"""Connections that wait to be accepted; further ones wait in `connect`."""


class Claim:
    """A listening socket that belongs to this process alone, and the lock on its path where it has one."""

    def __init__(self, address: str, listener: socket.socket, lock: int | None = None) -> None:
        self.address = address
        self.listener = listener
        self._lock = lock
        self._inode = None if lock is None else os.stat(address).st_ino

    def is_intact(self) -> bool:
        """Return False once the files of the claim were removed or replaced, so that others may hold one too."""
        if self._lock is None:
            return True
        return _is_at(self._lock, f"{self.address}.lock") and _inode(self.address) == self._inode

    def touch(self) -> None:
        """Make the files look used, so that cleaners of temporary folders leave them."""
        if self._lock is not None:
            for path in (self.address, f"{self.address}.lock"):
                with suppress(OSError):
                    os.utime(path)

    def descriptors(self) -> list[int]:
        """Return what a forked child must let go of."""
        return [self.listener.fileno(), *([] if self._lock is None else [self._lock])]

    def release(self) -> None:
        """Let another process claim the address."""
        if self._lock is not None and self.is_intact():
            with suppress(FileNotFoundError):
                os.unlink(self.address)
        self.listener.close()
        if self._lock is not None:
            os.close(self._lock)


def claim(address: str) -> Claim | None:
    """Return the claim to `address`, or None when another process has it. Raise `OSError` when nobody can have it."""
    return _claim_name(address) if is_abstract(address) else _claim_path(address)


def _claim_name(address: str) -> Claim | None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(socket_address(address))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return Claim(address, listener)


def _claim_path(path: str) -> Claim | None:
    lock = _lock(f"{path}.lock")
    if lock is None:
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if is_other_file(path):
            raise FileExistsError(errno.EEXIST, "a file that is not a socket is there")
        with suppress(FileNotFoundError):
            os.unlink(path)  # left by a host that died: the lock proves it
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(BACKLOG)
        return Claim(path, listener, lock)
    except OSError:
        listener.close()
        os.close(lock)
        raise


def _lock(path: str) -> int | None:
    """Return a descriptor that holds the lock on the file now at `path`, or None when another process holds it."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        # Between `open` and `flock` the file may have been removed: such a lock keeps nobody out.
        if _is_at(lock, path):
            return lock
        os.close(lock)


def _is_at(descriptor: int, path: str) -> bool:
    return os.fstat(descriptor).st_ino == _inode(path)


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None
