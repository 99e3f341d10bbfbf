"""Real programs for tests: start one, wait for a line of its output or for its port, stop it, read what it said.

Every wait has a deadline and fails with the program's output, at once when the program has ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from tests.support.waiting import accepts_connections, scaled

TIMEOUT = 30.0
"""Seconds that a wait lasts unless the caller says otherwise, scaled like every deadline here."""


class Process:
    """A program that runs until stopped: `with Process([...]) as program: program.wait_for_line("ready")`.

    It leads a process group of its own, so whatever it started ends with it. `env` is added to the environment of
    the tests; a value of `None` removes a name. Standard output and standard error are read as one text.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> None:
        self.argv = [os.fspath(part) for part in argv]
        merged = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._finished_reading = False
        self._popen = subprocess.Popen(
            self.argv,
            cwd=cwd,
            env={name: value for name, value in merged.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {self._popen.pid}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, `None` while the program runs."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    @property
    def output(self) -> str:
        """Everything the program wrote so far."""
        with self._news:
            return "".join(self._lines)

    def wait_for_line(self, pattern: str, timeout: float = TIMEOUT, *, occurrences: int = 1) -> str:
        """Return the first line in which `pattern` is found (or the second, third, …), also when it came earlier."""
        timeout = scaled(timeout)
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = [line for line in self._lines if re.search(pattern, line)]
                if len(found) >= occurrences:
                    return found[occurrences - 1].rstrip("\n")
                left = deadline - time.monotonic()
                if self._finished_reading or left <= 0:
                    raise self._failure(f"wrote no line like {pattern!r}", timeout)
                self._news.wait(left)

    def wait_for_port(self, port: int, timeout: float = TIMEOUT) -> None:
        """Return once somebody listens on the port of the loopback interface."""
        timeout = scaled(timeout)
        deadline = time.monotonic() + timeout
        # A port has nothing to block on, so this one wait asks again and again.
        while not accepts_connections(port):
            if not self.running or time.monotonic() > deadline:
                raise self._failure(f"does not listen on port {port}", timeout)
            time.sleep(0.05)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Return the exit status once the program has ended by itself and its output is complete."""
        timeout = scaled(timeout)
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failure("does not end", timeout) from None
        self._reader.join(timeout=scaled(5))
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to what it started."""
        self._popen.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Return the exit status after a signal; what is left of the process group after `timeout` is killed."""
        if self.running:
            self._popen.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(scaled(timeout))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        status = self._popen.wait()
        # A grandchild in another session may hold the pipe open; then what it writes later is of no interest.
        self._reader.join(timeout=scaled(1))
        return status

    def kill(self) -> int:
        """End the program and all of its process group with SIGKILL; return the exit status."""
        return self.stop(signal.SIGKILL)

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._finished_reading = True
            self._news.notify_all()

    def _failure(self, what: str, timeout: float) -> AssertionError:
        state = f"still runs after {timeout:g} s" if self.running else f"ended with status {self.returncode}"
        return AssertionError(f"{' '.join(self.argv)}\n{what}; it {state}. Its output:\n{''.join(self._lines)}")
