"""Pings and pongs of one WebSocket, in both directions (RFC 6455, section 5.5.2), and its timer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import uvicorn

from channels_classic.layers import rng

from ..close_codes import INTERNAL_ERROR
from .websocket_reader import PING, PONG, control_frame
from .write_flow import WriteFlow

MAX_UNREAD_PONGS = 32 * 1024
"""Bytes of pongs that wait for a client to read; beyond it one that sends pings is cut off."""


class KeepAlive(WriteFlow, ABC):
    """Pings the client of a connection, closes it when no pong comes, and answers the client's pings."""

    __slots__ = ("_config", "_loop", "_ping", "_pongs", "_read_at", "_reading_paused", "_timer")

    def __init__(self, config: uvicorn.Config, transport: Any) -> None:
        super().__init__(transport)
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._reading_paused = False
        self._read_at = 0.0
        self._ping: bytes | None = None  # the payload that a pong must have
        self._pongs = b""  # that are not written yet
        self._timer: asyncio.TimerHandle | None = None  # of the next ping or its pong; then of the client's close frame

    @abstractmethod
    def _fail(self, code: int) -> None:
        """Close the connection with an error."""

    @abstractmethod
    def _is_open(self) -> bool:
        """Return True if frames may be written."""

    def _schedule(self, seconds: float | None, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback) if seconds else None

    def _start_pings(self) -> None:
        """Send the first ping after a random part of the interval, so that clients who came together are spread."""
        interval = self._config.ws_ping_interval
        self._schedule(interval and rng.uniform(0.5, 1.0) * interval, self._send_ping)

    def _send_ping(self) -> None:
        self._ping = rng.randbytes(4)
        self.transport.write(control_frame(PING, self._ping))
        self._schedule(self._config.ws_ping_timeout, self._pong_timed_out)

    def _on_pong(self, payload: bytes) -> None:
        if self._ping is not None and payload == self._ping:
            self._ping = None
            self._schedule(self._config.ws_ping_interval, self._send_ping)

    def _pong_timed_out(self) -> None:
        """Close, if the client had its full time since reading continued: during a pause its pong cannot arrive."""
        now = self._loop.time()
        waits_since = now if self._reading_paused else self._read_at
        left = waits_since + (self._config.ws_ping_timeout or 0) - now
        if left > 0.001:
            self._schedule(left, self._pong_timed_out)
        else:
            self._fail(INTERNAL_ERROR)

    def _on_ping(self, payload: bytes) -> None:
        """Answer with a pong soon, or cut off a client that does not read its pongs."""
        self._pongs += control_frame(PONG, payload)
        if len(self._pongs) > MAX_UNREAD_PONGS:
            self._reading_paused = True
            self.transport.abort()

    def _write_pongs(self) -> None:
        if self._writable is None:
            if self._is_open():
                self.transport.write(self._pongs)
            self._pongs = b""

    def resume_writing(self) -> None:
        """Let `drain` return, and write the pongs that had to wait."""
        super().resume_writing()
        self._write_pongs()
