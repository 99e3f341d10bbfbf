"""The self-pipe trick: signals reach the thread that handles them as bytes on a pair of sockets.

Python runs signal handlers in the main thread, between two byte codes: too late when a consumer waits in C code there.
The interpreter's own C handler (`signal.set_wakeup_fd`) writes the number of the signal to the socket at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def readable(descriptors: Iterable[int], timeout: float | None) -> list[int]:
    """Return those from which something can be read within `timeout` seconds, or which have ended.

    `select.select` refuses descriptors above 1023.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)]


class SignalPipe:
    """Carries numbers of signals, or 0. One thread waits; any thread and any signal handler may `notify`."""

    def __init__(self) -> None:
        self._outside, self._inside = socket.socketpair()
        self._outside.setblocking(False)
        self._inside.setblocking(False)
        self._numbers: set[int] = {0, *STOP_SIGNALS}

    def notify(self, number: int = 0) -> None:
        """Wake the waiting thread, or make its next `wait` return at once."""
        with contextlib.suppress(BlockingIOError):  # the buffer is full: a wake-up is pending anyway
            self._outside.send(bytes([number]))

    def fileno(self) -> int:
        """Return the descriptor to select on; when it is readable, `wait(0)` returns the number."""
        return self._inside.fileno()

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the next number, or None after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not readable([self.fileno()], left):
                return None
            number = self._inside.recv(1)[0]
            if number in self._numbers:
                return number  # other signals have handlers of their own

    @contextlib.contextmanager
    def catching(self, others: Sequence[signal.Signals] = ()) -> Iterator[None]:
        """Inside the block `wait` returns stop signals, and those of `others` that have no handler yet.

        An ignored signal counts as having no handler: `nohup` ignores SIGHUP because it would end most programs, but
        here it asks for a replacement. In the main thread only; in other threads Python cannot set handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [*STOP_SIGNALS, *(number for number in others if number not in STOP_SIGNALS and is_free(number))]
        self._numbers.update(numbers)
        handlers = {number: signal.signal(number, _ignore) for number in numbers}
        previous = signal.set_wakeup_fd(self._outside.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def close(self) -> None:
        """Close both sockets."""
        self._outside.close()
        self._inside.close()


def insistence(number: int) -> str:
    """Return the name of a signal that ends a program at once: SIGQUIT, or the second one to stop."""
    return signal.Signals(number).name + (" again" if number in STOP_SIGNALS else "")


def end_at_once(number: int, logger: logging.Logger) -> NoReturn:
    """Log the signal and end this process without finishing anything."""
    logger.error("%s: ending the process.", insistence(number))
    logging.shutdown()
    os._exit(128 + number)


def ignore_until_caught(number: int) -> None:
    """Ignore a signal, which would end the program, until `catching` or another handler; also across an exec."""
    if threading.current_thread() is threading.main_thread() and is_free(number):
        signal.signal(number, signal.SIG_IGN)


def is_free(number: int) -> bool:
    """Return True if nothing handles a signal yet, such as `faulthandler` of the project."""
    return signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Keep the signal from ending the process; its number is on the sockets."""
