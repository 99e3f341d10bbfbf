"""The samples of several processes of one program, through a folder that only they may enter.

Each process answers on a Unix socket there. Whichever serves a scrape asks all of them, and keeps their last answers in
files beside the sockets. When one ends, its counters are added to those of all that ended: without that the sums would
fall, which Prometheus takes for a restart, and rates would jump.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from channels_classic._metrics.samples import Samples
from channels_classic.layers.names import random_text

logger = logging.getLogger("channels_classic.metrics")

TIMEOUT = 2.0
"""Seconds that a process has to answer; of one that stands still, the last answer counts."""

_READ = 64 * 1024

Collect = Callable[[], Samples]


class Exchange:
    """The folder of one program."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="channels-"))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def answer(self, collect: Collect) -> None:
        """Answer for this process from now on, in a thread."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.folder / f"{random_text(8)}.sock"))
        listener.listen()
        threading.Thread(target=_answer, args=(listener, collect), name="metrics", daemon=True).start()

    def collect(self) -> Samples:
        """Return the samples of all processes."""
        total = Samples()
        with self._lock():
            ended = self._load(self.folder / "ended")
            for path in sorted(self.folder.glob("*.sock")):
                last = path.with_suffix(".last")
                try:
                    answer = _ask(path)
                except ConnectionRefusedError:  # it has ended
                    ended.include(self._load(last).lasting())
                    self._store(self.folder / "ended", ended)
                    last.unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                except OSError as error:
                    logger.warning("A process did not report its metrics: %s", error)
                    total.include(self._load(last).lasting())
                else:
                    self._store(last, answer)
                    total.include(answer)
            total.include(ended)
        return total

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time collect."""
        with open(self.folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _load(path: Path) -> Samples:
        try:
            return Samples.decode(path.read_bytes())
        except FileNotFoundError:
            return Samples()

    @staticmethod
    def _store(path: Path, samples: Samples) -> None:
        """Replace a file as a whole, so that a process that dies meanwhile leaves none that cannot be read."""
        new = path.with_suffix(".new")
        new.write_bytes(samples.encode())
        os.replace(new, path)


def _answer(listener: socket.socket, collect: Collect) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            try:
                connection.sendall(collect().encode())
            except OSError as error:
                logger.debug("The metrics of this process were not read: %s", error)
            except Exception:
                logger.exception("The metrics of this process could not be collected.")


def _ask(path: Path) -> Samples:
    """Return the answer of the process at a socket. Raise `OSError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path))
        parts = []
        while part := connection.recv(_READ):
            parts.append(part)
    try:
        return Samples.decode(b"".join(parts))
    except ValueError as error:
        raise OSError(f"its answer cannot be read: {error}") from error
