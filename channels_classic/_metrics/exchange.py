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
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from channels_classic._metrics.samples import Samples
from channels_classic.layers.names import random_text

logger = logging.getLogger("channels_classic.metrics")

TIMEOUT = 2.0
"""Seconds that processes have to answer; of one that hangs, the last answer counts."""

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
        """Return the samples of all processes, and the counters of those that have ended.

        All are asked before the first answer is read, so that processes that hang cost one `TIMEOUT` together.
        """
        total = Samples()
        with self._lock, ExitStack() as stack:
            asked = {path: stack.enter_context(_Question(path)) for path in sorted(self.folder.glob("*.sock"))}
            deadline = time.monotonic() + TIMEOUT
            for path, question in asked.items():
                total.include(self._collect_from(path, question, deadline))
            total.include(self._ended)
        return total

    def _collect_from(self, path: Path, question: _Question, deadline: float) -> Samples:
        """Return the samples of the process with this socket; nothing if it has ended, and its counters are kept."""
        left = _counters_left_by(path)
        try:
            if left.exists():
                return self._end(path, Samples.decode(left.read_bytes()))
            self._last[path] = answer = question.answer(deadline)
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


class _Question:
    """A connection to the process at a socket, which answers it; to be closed by a `with` block."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._failure: OSError | None = None
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._failure = error

    def __enter__(self) -> _Question:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def answer(self, deadline: float) -> Samples:
        """Return the answer, if it comes before `deadline`. Raise `OSError`, and `ValueError` if it is cut short."""
        if self._failure is not None:
            raise self._failure
        parts: list[bytes] = []
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            part = self._socket.recv(_READ)
            if not part:
                return Samples.decode(b"".join(parts))
            parts.append(part)
