"""Bytes that wait for a slow side: in memory first, then in temporary files, with a bound over all of a process.

Knows neither requests nor responses. Files are written in the event loop, as nginx does by default: a write ends in the
page cache and takes a fraction of the time that the bytes took to arrive.
"""

from __future__ import annotations

import os
import resource
from collections import deque
from tempfile import TemporaryFile
from typing import Protocol

MEMORY_EACH = 2 * 1024 * 1024
"""Bytes of one response that wait in memory; more go to a file."""

FILE_SIZE = 64 * 1024 * 1024
"""Bytes of one file of a response. Its space is free once all of it was read, so a response has several."""


DISK_FULL = "the temporary files of all clients together reached --spool-disk"
TOO_MANY_FILES = "the temporary files of all clients use a quarter of the descriptors of this process; see `ulimit -n`"


def most_files() -> int:
    """Return the number of files for one quota: there are two, and the rest of the descriptors is for connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft // 4, 1)


class NoSpace(Exception):
    """Raised when neither the quota nor the disk has room for more."""


class Reclaimable(Protocol):
    """An owner of files that may lose them to make room for others."""

    @property
    def disk_size(self) -> int:
        """The bytes that `reclaim` would free."""

    def rank(self) -> float:
        """Return a number that is smallest for the owner that should lose its files first."""

    def reclaim(self) -> None:
        """Close the files."""


class SpoolQuota:
    """Bytes that a process may still hold in memory and on disk, and the number of files for them."""

    def __init__(self, memory: int, disk: int, files: int = 1_000_000) -> None:
        self._files = files
        self._memory = memory
        self._disk = self._whole_disk = disk
        self.reclaimables: set[Reclaimable] = set()

    def take_memory(self, size: int) -> bool:
        """Reserve memory; return False if there is not enough."""
        if size > self._memory:
            return False
        self._memory -= size
        return True

    def release_memory(self, size: int) -> None:
        """Release memory."""
        self._memory += size

    def could_hold(self, size: int) -> bool:
        """Return True if there would be room for a file of this size once others are reclaimed; none is yet."""
        return size <= self._disk + sum(owner.disk_size for owner in self.reclaimables)

    def has_disk(self, size: int) -> bool:
        """Return True if there is room for a file of this size; reclaims files of others if it must."""
        if size > self._whole_disk:
            return False  # before anything is reclaimed
        while size > self._disk and self._reclaim_first():
            pass
        return size <= self._disk

    def _reclaim_first(self) -> bool:
        """Reclaim the files of one owner; return False if nobody has any."""
        owners = [owner for owner in self.reclaimables if owner.disk_size]
        if not owners:
            return False
        first = min(owners, key=lambda owner: owner.rank())
        self.reclaimables.discard(first)
        first.reclaim()
        return True

    def take_disk(self, size: int) -> None:
        """Reserve space for a file. Raises `NoSpace`."""
        if not self.has_disk(size):
            raise NoSpace(DISK_FULL)
        self._disk -= size

    def release_disk(self, size: int) -> None:
        """Release space."""
        self._disk += size

    def take_file(self) -> None:
        """Reserve a file. Raises `NoSpace`."""
        while not self._files and self._reclaim_first():
            pass
        if not self._files:
            raise NoSpace(TOO_MANY_FILES)
        self._files -= 1

    def release_file(self) -> None:
        """Release a file."""
        self._files += 1

    def reclaim_all(self) -> None:
        """Let every owner of files lose them: the process stops."""
        while self.reclaimables:
            self.reclaimables.pop().reclaim()


class SpoolFile:
    """A temporary file, which has no name and ends with the process. Raises `NoSpace`."""

    def __init__(self, quota: SpoolQuota) -> None:
        self.size = 0
        self._quota = quota
        quota.take_file()
        try:
            self._file = TemporaryFile(buffering=0)  # noqa: SIM115  # closed by `close`
        except OSError as error:
            quota.release_file()
            raise NoSpace(f"no temporary file could be made: {error}") from error

    def append(self, data: bytes) -> None:
        """Write at the end."""
        self._quota.take_disk(len(data))
        if self._file.closed:  # it was reclaimed for this very write
            self._quota.release_disk(len(data))
            raise NoSpace("its temporary files were the first to be deleted")
        self.size += len(data)
        try:
            written = os.pwrite(self._file.fileno(), data, self.size - len(data))
        except OSError as error:
            raise NoSpace(f"a temporary file could not be written: {error}") from error
        if written < len(data):
            raise NoSpace("the disk of temporary files is full")

    def read(self, position: int, size: int) -> bytes:
        """Return bytes from anywhere."""
        return os.pread(self._file.fileno(), size, position)

    def close(self) -> None:
        """Delete the file."""
        if not self._file.closed:
            self._file.close()
            self._quota.release_disk(self.size)
            self._quota.release_file()


class ResponseSpool:
    """The bytes of a response that its client has not taken yet, first in first out."""

    __slots__ = ("_files", "_held", "_memory", "_position", "_quota", "size")

    def __init__(self, quota: SpoolQuota) -> None:
        self.size = 0
        """Bytes that wait."""
        self._quota = quota
        self._memory: deque[bytes] = deque()
        self._held = 0  # bytes that count against the quota of memory
        self._files: deque[SpoolFile] = deque()
        self._position = 0  # in the first part of memory, or else in the first file

    @property
    def has_files(self) -> bool:
        """True if some of it waits in files."""
        return bool(self._files)

    @property
    def disk_size(self) -> int:
        """The bytes of its files."""
        return sum(file.size for file in self._files)

    def write(self, data: bytes) -> None:
        """Append. Raises `NoSpace`."""
        if not data:
            return
        # Once there is a file everything goes to files, until they are read: so memory is always older.
        if not self._files and self._held + len(data) <= MEMORY_EACH and self._quota.take_memory(len(data)):
            self._memory.append(data)
            self._held += len(data)
        else:
            if not self._files or self._files[-1].size >= FILE_SIZE:
                self._files.append(SpoolFile(self._quota))
            self._files[-1].append(data)
        self.size += len(data)

    def read(self, size: int) -> bytes:
        """Return at most `size` of the oldest bytes; none when none wait."""
        data = self._read_memory(size) if self._memory else self._read_file(size) if self._files else b""
        self.size -= len(data)
        return data

    def _read_memory(self, size: int) -> bytes:
        first, start = self._memory[0], self._position
        if len(first) <= start + size:
            self._memory.popleft()
            self._position = 0
            self._held -= len(first)
            self._quota.release_memory(len(first))
            return first[start:]  # the very object, if start is 0
        self._position += size
        return first[start : start + size]

    def _read_file(self, size: int) -> bytes:
        first = self._files[0]
        data = first.read(self._position, size)
        self._position += len(data)
        if self._position >= first.size:
            self._files.popleft().close()
            self._position = 0
        return data

    def close(self) -> None:
        """Forget everything."""
        self._quota.release_memory(self._held)
        for file in self._files:
            file.close()
        self._memory.clear()
        self._files.clear()
        self._held = self.size = 0
