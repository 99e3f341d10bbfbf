"""The watchdog: what waits behind a slow consumer goes to others, and what is written for it stays in order."""

from __future__ import annotations

import threading
import time

import pytest

from channels_classic import Channel
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import Connection, Length
from channels_classic.message import Message
from channels_classic.worker import batch
from tests.support.waiting import eventually, scaled
from tests.worker.harness import drain, make_worker, running, warm_up


def test_messages_behind_a_slow_consumer_are_handed_to_another_worker_in_order(
    layer: BaseChannelLayer, large_batches: None
) -> None:
    release = threading.Event()
    seen: list[int] = []

    def consumer(message: Message) -> None:
        if message["n"] == 0:
            release.wait(scaled(10))
        seen.append(message["n"])

    first, second = (make_worker(layer, {"test": consumer}) for _ in range(2))
    with running(first):
        warm_up(layer, seen)
        sends = [Outgoing("test", {"n": number}) for number in range(10)]
        layer.run(layer.planner.pushes(sends, {}))
        eventually(lambda: layer.run([Length("test")]) == [9])
        with running(second):
            eventually(lambda: len(seen) == 9)
            release.set()
    assert seen == [*range(1, 10), 0]


class SlowForWatchdogs(ChannelLayer):
    """Makes the watchdog of a worker wait for its connection."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = threading.Event()

    def connect(self) -> Connection:
        if threading.current_thread().name == "worker-watchdog":
            self.waited.set()
            time.sleep(0.2)
        return super().connect()


def test_what_the_watchdog_writes_is_not_overtaken_by_what_comes_later(
    large_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "COLLECT_TIME", 60.0)  # the thread leaves the first result to the watchdog
    layer = SlowForWatchdogs()

    def consumer(message: Message) -> None:
        if message["n"] == 1:
            layer.waited.wait(scaled(10))
        Channel("out", channel_layer=message.channel_layer).send({"n": message["n"]})

    with running(make_worker(layer, {"test": consumer})):
        layer.send("test", {"n": -1})
        drain(layer, "out", 1)
        layer.run(layer.planner.pushes([Outgoing("test", {"n": number}) for number in range(2)], {}))
        assert [message["n"] for message in drain(layer, "out", 2)] == [0, 1]
    assert layer.waited.is_set()
