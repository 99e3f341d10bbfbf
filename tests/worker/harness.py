"""Workers in threads of the test, and a stand-in for the interface server that reads an inbox as it would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind, Outcome, decode
from channels_classic.layers.names import new_inbox
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import Heartbeat, Take
from channels_classic.worker import Worker, WorkerGroup
from tests.support.waiting import eventually, scaled


def make_worker(layer: BaseChannelLayer, routing: Any, **options: Any) -> Worker:
    """A worker for `layer` that catches no signals."""
    return Worker(ChannelLayerWrapper(layer, "default", routing), signal_handlers=False, **options)


def make_group(layer: BaseChannelLayer, routing: Any, threads: int, **options: Any) -> WorkerGroup:
    """Several of them."""
    wrapper = ChannelLayerWrapper(layer, "default", routing)
    return WorkerGroup(wrapper, signal_handlers=False, n_threads=threads, **options)


@contextmanager
def running(*workers: Worker) -> Iterator[None]:
    """Inside the block the workers run, each in a thread; afterwards they have stopped."""
    threads = [threading.Thread(target=worker.run, name="worker under test") for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(scaled(10))
            assert not thread.is_alive(), "the worker did not stop"


def warm_up(layer: BaseChannelLayer, seen: list[Any]) -> None:
    """Let a worker consume its first message, which it takes alone."""
    layer.send("test", {"n": -1})
    eventually(lambda: seen)
    seen.clear()


class Inbox:
    """The messages that an interface server gets: replies and reports for its clients, in order.

    Reports that a consumer still runs come on a busy machine, too; they are left out without `shows_running`.
    """

    def __init__(self, layer: BaseChannelLayer, *, shows_running: bool = False) -> None:
        self.layer = layer
        self._shows_running = shows_running
        self.name = new_inbox()
        layer.run([Heartbeat(self.name)])
        self.seen: list[tuple[str, Any]] = []

    def client(self, local: str = "client") -> str:
        """The reply channel of a client."""
        return self.name + local

    def post(self, channel: str, message: dict[str, Any], token: str | None = "token", local: str = "client") -> None:
        """Send a message of a client that waits for a report."""
        send = Outgoing(channel, {"reply_channel": self.client(local), **message}, token=token)
        self.layer.run(self.layer.planner.pushes([send], {}))

    def wait(self, number: int, timeout: float = 5) -> list[tuple[str, Any]]:
        """The first `number` replies `(local, message)` and reports `(local, outcome)`; fails without this many."""
        timeout = scaled(timeout)
        deadline = time.monotonic() + timeout
        while len(self.seen) < number:
            assert time.monotonic() < deadline, f"only {self.seen} after {timeout} s"
            (taken,) = self.layer.run([Take([self.name], 100, 0.1)])
            for item in taken.items if taken else ():
                self.seen += self._read(item.payload)
        return self.seen

    def reports(self) -> list[Outcome]:
        """The outcomes among what was seen."""
        return [what for _, what in self.seen if isinstance(what, Outcome)]

    def _read(self, payload: bytes) -> list[tuple[str, Any]]:
        kind, *rest = decode(payload)
        if kind == EntryKind.MESSAGE:
            message, _, local, *report = rest
            ends = [outcome for outcome in report[1:2] if outcome != Outcome.RUNNING]  # more replies follow
            return [(local, message), *((local, Outcome(outcome)) for outcome in ends)]
        if kind == EntryKind.GROUP:
            return [(rest[0], rest[2])]
        if kind == EntryKind.REPORT and rest[2] == Outcome.RUNNING and not self._shows_running:
            return []
        if kind == EntryKind.REPORT:
            return [(rest[0], Outcome(rest[2]))]
        return [("", EntryKind(kind))]


def drain(layer: BaseChannelLayer, channel: str, number: int, timeout: float = 5) -> Sequence[dict[str, Any]]:
    """The first `number` messages of a plain channel; fails without this many."""
    timeout = scaled(timeout)
    messages: list[dict[str, Any]] = []
    deadline = time.monotonic() + timeout
    while len(messages) < number:
        assert time.monotonic() < deadline, f"only {messages} after {timeout} s"
        (taken,) = layer.run([Take([channel], number - len(messages), 0.1)])
        if taken:
            messages += [delivery.message for delivery in layer.open(taken)[0]]
    return messages


class Ending(BaseException):
    """An error whose text ends the process that asks for it."""

    def __str__(self) -> str:
        raise SystemExit(3)
