"""Numbered messages under faults: senders and readers of both faces, and a ledger of what became of every number.

A sender sends a number again only when it knows that nothing was written; readers come back by themselves.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from channels_classic.exceptions import ChannelFull, LayerUnavailable, StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.steps import Take
from tests.support.waiting import eventually, scaled

LONG = os.environ.get("FAULTS") == "long"
"""True in the long form: `make faults`."""

TOTAL = 10_000 if LONG else 1_000
PACE = 2_000
"""Messages per second, at most."""

BATCH = 10
"""Messages that a reader takes at once, and may lose when its connection breaks."""

BLOCK = 0.3
"""Seconds for which a take waits."""

BACK = scaled(5.0)
"""Seconds within which everything works again after the server is back."""


class Traffic:
    """Two senders, a thread that reads and an event loop that reads, each with a layer of its own."""

    def __init__(self, make_layer: Callable[[], BaseChannelLayer], total: int = TOTAL) -> None:
        self.total = total
        self.channels = ["jobs"]
        self.accepted: set[int] = set()
        self.unknown: set[int] = set()
        self.received: Counter[int] = Counter()
        self.layers = [make_layer() for _ in range(4)]
        self._numbers = iter(range(total))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._may_send, self._may_read = threading.Event(), threading.Event()
        self._may_send.set()
        self._may_read.set()
        self._at_rest = 0
        self.cut_off: set[BaseChannelLayer] = set()
        """The layers of the readers whose connection broke."""
        self._empty_takes: Counter[BaseChannelLayer] = Counter()
        """The takes of each reader that found nothing since somebody found something."""
        self._senders = [threading.Thread(target=self._send, args=(layer,)) for layer in self.layers[:2]]
        self._readers = [
            threading.Thread(target=self._read, args=(self.layers[2],)),
            threading.Thread(target=lambda: asyncio.run(self._read_async(self.layers[3]))),
        ]

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _send(self, layer: BaseChannelLayer) -> None:
        while not self._stopped.is_set() and (number := self._next()) is not None:
            time.sleep(2 / PACE)  # two senders
            self._rest(self._may_send)
            while not self._stopped.is_set():
                if self.send(layer, number):
                    break
                time.sleep(0.02)
        layer.close()

    def send(self, layer: BaseChannelLayer, number: int, channel: str = "jobs") -> bool:
        """Send a number; False when nothing was written."""
        try:
            layer.send(channel, {"number": number})
        except (ChannelFull, StepRefused):
            return False
        except LayerUnavailable as error:
            if error.written:
                self.unknown.add(number)
            return error.written
        self.accepted.add(number)
        return True

    def _read(self, layer: BaseChannelLayer) -> None:
        while not self._stopped.is_set():
            try:
                connection = layer.connect()
                try:
                    while not self._stopped.is_set():
                        self._rest(self._may_read)
                        connection.write([Take(self.channels, BATCH, BLOCK)])
                        self._note(layer, connection.read())
                finally:
                    connection.close()
            except LayerUnavailable:
                self.cut_off.add(layer)
                time.sleep(0.05)

    async def _read_async(self, layer: BaseChannelLayer) -> None:
        while not self._stopped.is_set():
            try:
                connection = await layer.connect_async()
                try:
                    while not self._stopped.is_set():
                        self._rest(self._may_read)  # nothing else runs on this loop
                        (taken,) = await connection.run([Take(self.channels, BATCH, BLOCK)])
                        self._note(layer, taken)
                finally:
                    await connection.close()
            except LayerUnavailable:
                self.cut_off.add(layer)
                await asyncio.sleep(0.05)

    def _note(self, layer: BaseChannelLayer, taken: object) -> None:
        if isinstance(taken, StepRefused):
            return
        if taken is None:
            self._empty_takes[layer] += 1
            return
        deliveries, _ = layer.open(taken)  # type: ignore[arg-type]  # a Taken
        with self._lock:
            self._empty_takes.clear()
            self.received.update(delivery.message["number"] for delivery in deliveries)

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        """Traffic during the block, which gets it when a third was sent; then it runs to its end."""
        for thread in (*self._readers, *self._senders):
            thread.start()
        try:
            self.progress(self.total // 3)
            yield self
            for sender in self._senders:
                sender.join(scaled(60))
            self._drain()
        finally:
            self._stopped.set()
            for thread in (*self._senders, *self._readers):
                thread.join(scaled(30))

    def _rest(self, allowed: threading.Event) -> None:
        """Wait, between two messages, until it is allowed to go on."""
        if allowed.is_set():
            return
        with self._lock:
            self._at_rest += 1
        while not self._stopped.is_set() and not allowed.wait(0.1):
            pass
        with self._lock:
            self._at_rest -= 1

    def pile_up(self, number: int) -> int:
        """Let messages wait in the server, then keep everybody from sending and reading until `go_on`.

        Gives how many wait: at least `number`. Nothing is under way then.
        """
        self._may_read.clear()
        self._may_send.set()
        eventually(lambda: self._at_rest == len(self._readers))
        eventually(lambda: len(self.missing) >= number)
        self._may_send.clear()
        eventually(lambda: self._at_rest == len(self._readers) + len(self._senders))
        return len(self.missing)

    def set_expiry(self, seconds: float) -> None:
        """Set the expiry, in seconds, of messages sent from now on."""
        for layer in self.layers:
            layer.planner.expiry = seconds

    def go_on(self) -> None:
        """Everybody may send and read again."""
        self._may_send.set()
        self._may_read.set()

    def progress(self, number: int) -> None:
        """Return when this many messages were accepted."""
        eventually(lambda: len(self.accepted) >= number, timeout=60)

    def works_again(self, since: float) -> None:
        """Return when messages sent from now on come through; fail when that is too long after `since`."""
        mark = time.monotonic()
        before = set(self.accepted)
        eventually(lambda: any(number in self.received for number in self.accepted - before), timeout=30)
        assert time.monotonic() - since < BACK, f"{time.monotonic() - since:.1f} s, {mark - since:.1f} s of them before"

    def _drain(self) -> None:
        """Return when nothing is missing, or every reader has waited in vain; its first take may have begun before."""
        self._empty_takes.clear()
        readers = self.layers[2:]
        eventually(lambda: not self.missing or all(self._empty_takes[layer] > 1 for layer in readers), timeout=30)

    @property
    def missing(self) -> set[int]:
        """Accepted and never received."""
        return self.accepted - set(self.received)

    @property
    def duplicates(self) -> list[int]:
        """Received more than once."""
        return [number for number, times in self.received.items() if times > 1]

    def lost(self, kind: str) -> int:
        """Return the losses that the layers counted."""
        return sum(layer.losses.as_dict().get(kind, 0) for layer in self.layers)

    def check_exactly(self, missing: int, unknown: int = 0, **lost: int) -> None:
        """No duplicate, and just this many lost: of those accepted, of those with an unknown fate, by kind."""
        assert (len(self.missing), len(self.unknown)) == (missing, unknown)
        self.check(missing, unknown)
        counted: Counter[str] = sum((Counter(layer.losses.as_dict()) for layer in self.layers), Counter())
        assert counted == lost

    def check(self, most_missing: int = 0, most_unknown: int = 0) -> None:
        """No duplicate, nothing that was not sent, and no more lost than the fault explains."""
        assert self.duplicates == []
        assert set(self.received) <= self.accepted | self.unknown
        assert len(self.accepted) + len(self.unknown) == self.total
        assert len(self.missing) <= most_missing
        assert len(self.unknown) <= most_unknown
