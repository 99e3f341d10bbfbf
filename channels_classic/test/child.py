"""A fork of the test process: it reports when it is ready, records its output, and ends with the test at the latest.

A fork, because it has what the test changed: overridden settings, routes, patches. Not a process of
`multiprocessing`, because a parallel test run consists of those, and they may not have children.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import selectors
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from typing import Any, NoReturn

from django.db import connections

from channels_classic.asgi import channel_layers
from channels_classic.exceptions import LiveServerFailed

START_TIMEOUT = 30.0
"""Seconds a child has to become ready."""

STOP_TIMEOUT = 5.0
"""Seconds a child has to end when it is stopped; then it is killed, with every process it started."""


class Child:
    """Run `main` in a fork. Subclasses define it, and call `report_ready` in it."""

    name = "process"

    def __init__(self) -> None:
        self.pid = 0
        self.status: int | None = None
        """The exit status, negative for a signal; `None` while it runs."""
        self.output = ""
        """Its output, once it has ended."""

    def main(self) -> None:
        """Do the work of the child, which ends when this returns or raises."""
        raise NotImplementedError

    def report_ready(self, text: str = "") -> None:
        """In the child: let `start` return `text`."""
        os.write(self._writer, f"{text}\n".encode())

    def start(self) -> str:
        """Fork, and return what the child reported when it was ready. Raises `LiveServerFailed`."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 it is closed with the child
        self._reader, self._writer = os.pipe()
        parent_is_there, self._parent_is_here = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of locks that other threads of this process hold; the child needs none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if not self.pid:
            os.close(self._parent_is_here)
            self._run(parent_is_there)
        os.close(self._writer)
        os.close(parent_is_there)
        if not self._wait(START_TIMEOUT):
            self._end(signal.SIGKILL)
            raise self._failure(f"was not ready after {START_TIMEOUT:g} seconds")
        text = os.read(self._reader, 1024).decode()
        if not text:
            self._end(signal.SIGKILL)
            raise self._failure(f"ended with status {self.status} before it was ready")
        return text.strip()

    def stop(self) -> None:
        """End the child. Raises `LiveServerFailed` if it has ended before."""
        if self._wait(0):
            self._end(signal.SIGKILL)
            raise self._failure(f"ended with status {self.status} during the test")
        self._end(signal.SIGTERM)

    def _wait(self, timeout: float) -> bool:
        """Return whether the child reports something, or has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            return bool(selector.select(timeout))

    def _end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)  # the process exists until `waitpid`
        if number is not signal.SIGKILL:
            self._wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._reader)
        os.close(self._parent_is_here)
        with self._file as file:
            file.seek(0)
            self.output = file.read().decode(errors="replace")

    def _failure(self, problem: str) -> LiveServerFailed:
        return LiveServerFailed(self.name, problem, self.output)

    # In the child

    def _run(self, parent_is_there: int) -> NoReturn:
        status = 1
        try:
            os.setsid()  # a group of its own, so that processes it starts end with it
            self._redirect()
            threading.Thread(target=_end_with_parent, args=(parent_is_there,), daemon=True).start()
            signal.set_wakeup_fd(-1)  # it belongs to an event loop of the parent
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            channel_layers.backends.clear()
            self._inherited = _renew_connections()
            self.main()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)  # without the exit handlers of the test process

    def _redirect(self) -> None:
        for descriptor in (1, 2):
            os.dup2(self._file.fileno(), descriptor)
        # The text layers of the parent may be those of a test runner, with output that it has not written yet.
        sys.stdout = sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), errors="backslashreplace", write_through=True
        )
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)


def _end_with_parent(parent_is_there: int) -> None:
    os.read(parent_is_there, 1)  # nothing is ever written: this returns when the parent has ended
    os.killpg(0, signal.SIGKILL)


def _renew_connections() -> list[Any]:
    """Give this process database connections of its own, to the test databases.

    Return the inherited ones. They must live as long as the process: closing one would end the session that the parent
    has with the database server.
    """
    inherited: list[Any] = []
    for alias in connections:
        old: Any = connections[alias]
        inherited.append(old)
        if hasattr(old, "_connection_pools"):
            inherited.append(old._connection_pools)
            type(old)._connection_pools = {}
        # Only the old connection has the names of test databases, and of their copies in a parallel run.
        connections.settings[alias] = old.settings_dict
        connections[alias] = connections.create_connection(alias)
    return inherited
