"""A connection to the layer that is made when it is needed, and again after a loss; it answers in the order of writes.

What idles is looked at before it is used: while a consumer runs its connection idles, and the server's `timeout`, an
administrator, a load balancer or a firewall may end it meanwhile. A command written to such a connection is lost, and a
push must not be repeated, as it is unknown whether it was carried out. So after a pause a look at the socket precedes a
write, and after a long pause a round trip: a firewall that drops packets leaves no trace on the socket. Nothing was
written by then, so the connection is made again, and that is not an outage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers import rng
from channels_classic.layers.pool import LOOK_AFTER, PROBE_AFTER, probes
from channels_classic.layers.steps import Connection, Step

from .context import Context
from .outage import Outage
from .outstanding import Outstanding

_BACKOFF = (0.02, 2.0)
"""Seconds between attempts to reach a layer that is down: initial, maximum."""


class Link:
    """One connection to the layer. `outstanding` is told what was answered, and when the connection breaks.

    `on_disconnect` is called before each wait for a layer that is down. Only its own thread uses a link; other threads
    may call `stop` and `wake`.
    """

    def __init__(
        self, context: Context, outage: Outage, outstanding: Outstanding, on_disconnect: Callable[[], None] | None
    ) -> None:
        self._layer = context.layer
        self._clock = context.clock
        self._outstanding = outstanding
        self._outage = outage
        self._outages = 0
        self._on_disconnect = on_disconnect
        self._connection: Connection | None = None
        self._used = 0.0
        """The time at which the layer last answered."""
        self._stopping = threading.Event()

    # Making and ending it

    def connect(self) -> bool:
        """Connect if necessary, retrying until the layer is up; return False if the worker stops before that."""
        pause, longest = _BACKOFF
        while self._connection is None:
            try:
                self._connection = self._layer.connect()
                self._used = self._clock()
                self._outages = self._outage.connected()
            except LayerUnavailable as error:
                self._outage.begin(error, self._outages)
                if self._on_disconnect is not None:
                    self._on_disconnect()
                if self._stopping.wait(pause * rng.uniform(0.5, 1)):
                    return False
                pause = min(pause * 2, longest)
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._outage.closed()

    def close_if_misplaced(self) -> None:
        """Close a connection to a server that refuses because another one is the master. Nothing is unread."""
        if self._connection is not None and not self._connection.usable():
            self.close()

    def lose(self, error: LayerUnavailable) -> None:
        """Handle a broken connection."""
        self._outage.begin(error, self._outages)
        self.close()
        self._outstanding.disconnected()

    def pause(self) -> None:
        """Wait as long as before the next attempt to reach a layer that is down, unless the worker stops."""
        self._stopping.wait(_BACKOFF[1] * rng.uniform(0.5, 1))

    def stop(self) -> None:
        """From any thread: stop waiting, for messages and for a layer that is down."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """From any thread but its own: end a blocking take, without losing what it has taken."""
        connection = self._connection
        if connection is not None:
            with suppress(LayerUnavailable):  # the read notices as well
                connection.wake()

    # Writing and reading

    def write(self, steps: Sequence[Step]) -> None:
        """Write steps, without waiting for their results. Raises `LayerUnavailable`."""
        self._live.write(steps)

    def read(self, count: int) -> list[Any]:
        """Return the next `count` results. Raises `LayerUnavailable`."""
        results = [self._live.read() for _ in range(count)]
        self._used = self._clock()
        return results

    def ask(self, steps: Sequence[Step]) -> list[Any]:
        """Write steps, and read their results behind those of everything that was written before."""
        self.write(steps)
        self.settle()
        return self.read(len(steps))

    def settle(self) -> None:
        """Read the results of everything that was written before."""
        while (written := self._outstanding.unread) is not None:
            self._outstanding.answered(self.read(len(written.pushes)), self._used)

    @property
    def _live(self) -> Connection:
        if self._connection is None:
            raise AssertionError("not connected")
        return self._connection

    # After a pause

    def close_if_stale(self) -> None:
        """Close a connection that is known to have ended while it idled."""
        if self._connection is None or self._clock() - self._used < LOOK_AFTER:
            return
        try:
            self.settle()  # what was written before the pause has been answered long since
        except LayerUnavailable as error:
            self.lose(error)
        else:
            if not self._connection.usable():
                self.close()

    def probe(self, steps: Sequence[Step]) -> bool:
        """Make sure that the layer can be reached where `steps` go; return False if the worker stops before that."""
        while self._clock() - self._used >= PROBE_AFTER:
            try:
                self.ask(probes(steps))
            except LayerUnavailable as error:
                if self._outstanding.unread is not None:
                    self.lose(error)  # what was written before the pause
                else:
                    self.close()
                if not self.connect():
                    return False
        return True
