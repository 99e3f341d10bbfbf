"""The samples of several processes of one program, through a folder that only they may enter.

Each process answers on a Unix socket there, and the supervisor asks them all for each scrape. When one ends its
counters stay: without that the sums would fall, and Prometheus would take that for a restart of them all. A process
leaves them in a file beside its socket; of one that was killed, its last answer stays.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from channels_classic._metrics.samples import Samples
from channels_classic.layers.names import random_text

logger = logging.getLogger("channels_classic.metrics")

TIMEOUT = 2.0
"""Seconds that a process has to answer; of one that hangs, the last answer counts."""

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

    @contextmanager
    def answering(self, collect: Collect) -> Iterator[None]:
        """Answer for this process inside the block, in a thread; leave its counters at the end."""
        path = self.folder / f"{random_text(8)}.sock"
        unnamed = path.with_suffix(".new")  # a socket that does not listen yet would pass for one of an ended process
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(unnamed))
        listener.listen()
        unnamed.rename(path)
        threading.Thread(target=_answer, args=(listener, collect), name="metrics", daemon=True).start()
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):  # the folder, if the supervisor ended first
                unnamed.write_bytes(collect().lasting().encode())
                unnamed.rename(_counters_left_by(path))

    def collect(self) -> Samples:
        """Return the samples of all processes, and the counters of those that have ended."""
        total = Samples()
        with self._lock:
            for path in sorted(self.folder.glob("*.sock")):
                total.include(self._collect_from(path))
            total.include(self._ended)
        return total

    def _collect_from(self, path: Path) -> Samples:
        """Return the samples of the process with this socket; nothing if it has ended, and its counters are kept."""
        left = _counters_left_by(path)
        try:
            if left.exists():
                return self._end(path, Samples.decode(left.read_bytes()))
            self._last[path] = answer = _ask(path)
            return answer
        except ConnectionRefusedError:  # it was killed
            return self._end(path, self._last.get(path, Samples()).lasting())
        except (OSError, ValueError) as error:
            logger.warning("A process did not report its metrics: %s", error)
            return self._last.get(path, Samples()).lasting()

    def _end(self, path: Path, counters: Samples) -> Samples:
        self._ended.include(counters)
        self._last.pop(path, None)
        path.unlink()
        _counters_left_by(path).unlink(missing_ok=True)
        return Samples()


def _counters_left_by(path: Path) -> Path:
    return path.with_suffix(".counters")


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
    """Return the answer of the process at a socket. Raise `OSError`, and `ValueError` if it is cut short."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path))
        parts = []
        while part := connection.recv(_READ):
            parts.append(part)
    return Samples.decode(b"".join(parts))
