"""The samples of several processes of one program, through a folder that only they may enter.

Each process answers on a Unix socket there, and the supervisor asks them all for each scrape. It keeps their last
answers, and when one ends its counters stay: without that the sums would fall, and Prometheus would take that for a
restart of them all.
"""

from __future__ import annotations

import logging
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
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
        self._lock = threading.Lock()
        self._last: dict[Path, Samples] = {}
        self._ended = Samples()

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
        """Return the samples of all processes, and the counters of those that have ended."""
        total = Samples()
        with self._lock:
            for path in sorted(self.folder.glob("*.sock")):
                try:
                    self._last[path] = answer = _ask(path)
                except ConnectionRefusedError:
                    path.unlink()
                    self._ended.include(self._last.pop(path, Samples()).lasting())
                except OSError as error:
                    logger.warning("A process did not report its metrics: %s", error)
                    total.include(self._last.get(path, Samples()).lasting())
                else:
                    total.include(answer)
            total.include(self._ended)
        return total


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
