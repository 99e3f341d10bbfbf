"""Notifies systemd of the state of a service with `Type=notify`, and feeds its watchdog; see sd_notify(3).

A notification is a datagram to the Unix socket that `NOTIFY_SOCKET` names. Elsewhere all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""The variables of the environment that are for the main process alone."""


class Notifier:
    """Sends notifications to `address`; with an `interval`, in seconds, `beat` is to be called that often."""

    def __init__(self, address: str = "", interval: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.interval = interval

    @classmethod
    def of_this_process(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Return the notifier that the environment asks for. Half of the watchdog's time is its interval."""
        microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        is_watched = microseconds.isdigit() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
        return cls(environment.get("NOTIFY_SOCKET", ""), int(microseconds) / 2e6 if is_watched else None)

    def ready(self, status: str = "") -> None:
        """Report that the service works."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Report that the service replaces itself; `ready` reports the end of it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> None:
        """Report that the service stops."""
        self._send("STOPPING=1", status)

    def beat(self) -> None:
        """Feed the watchdog."""
        if self.interval is not None:
            self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        if status:
            state += f"\nSTATUS={status}"
        # A service must not fail because systemd does not listen.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(self._address)
            channel.send(state.encode())


class WatchdogTimer:
    """Calls `beat` when it is due: `tick` returns the seconds until then, or None for a service without a watchdog."""

    def __init__(self, notifier: Notifier, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._clock = clock
        self._due = 0.0

    def tick(self) -> float | None:
        """Feed the watchdog if that is due."""
        interval = self._notifier.interval
        if interval is None:
            return None
        now = self._clock()
        if now >= self._due:
            self._notifier.beat()
            self._due = now + interval
        return self._due - now
