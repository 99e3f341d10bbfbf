"""Tests that a message that is too old is not started, whether a slow consumer or the whole worker slept."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.message import Message
from tests.support.redis_server import RedisServer
from tests.support.waiting import scaled
from tests.worker.harness import Inbox, drain, make_worker, running
from tests.worker.programs import running_worker


def test_a_message_that_grew_too_old_behind_another_is_not_started(layer: BaseChannelLayer) -> None:
    seen: list[int] = []
    layer.planner.expiry = scaled(0.5)
    go_on = threading.Event()

    def consumer(message: Message) -> None:
        seen.append(message["n"])
        if message["n"] == 0:
            go_on.wait(scaled(10))

    inbox = Inbox(layer)
    worker = make_worker(layer, {"test": consumer})
    with running(worker):
        inbox.post("test", {"n": -1}, token="warm")
        inbox.wait(1)
        for number in range(3):
            inbox.post("test", {"n": number}, token=str(number), local=f"client{number}")
        time.sleep(scaled(0.6))
        go_on.set()
        inbox.wait(4, timeout=10)
    assert seen == [-1, 0]
    assert sorted(inbox.reports()[1:]) == [Outcome.CONSUMED, Outcome.EXPIRED, Outcome.EXPIRED]


@pytest.mark.parametrize("blocks", ["in a take", "with messages taken"])
def test_a_worker_that_was_stopped_starts_nothing_that_has_expired(own_redis: RedisServer, blocks: str) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url], expiry=3)
    try:
        with running_worker(own_redis.url) as worker:
            layer.send("echo", {"number": 0, "answer": "answers"})
            drain(layer, "answers", 1, 10)
            if blocks == "with messages taken":
                layer.send("work", {"number": 1, "seconds": 0.5, "answer": "answers"})
                worker.wait_for_line("is working")
            else:
                time.sleep(0.5)  # it waits for messages
            worker.send_signal(signal.SIGSTOP)
            layer.send("echo", {"number": 2, "answer": "answers"})
            time.sleep(4)
            worker.send_signal(signal.SIGCONT)
            layer.send("echo", {"number": 3, "answer": "answers"})
            numbers = [answer["number"] for answer in drain(layer, "answers", 1 + (blocks != "in a take"), 10)]
            assert layer.receive(["answers"]) == (None, None)
            worker.stop()
    finally:
        layer.close()
    assert numbers == ([3] if blocks == "in a take" else [1, 3])


def test_a_coroutine_that_waits_for_its_turn_too_long_is_not_started(memory: BaseChannelLayer) -> None:
    seen: list[int] = []
    memory.planner.expiry = scaled(0.5)
    go_on = threading.Event()

    async def consumer(message: Message) -> None:
        import asyncio

        seen.append(message["n"])
        while not go_on.is_set():
            await asyncio.sleep(0.01)

    inbox = Inbox(memory)
    worker = make_worker(memory, {"test": consumer})
    worker.concurrency = 1
    with running(worker):
        for number in range(2):
            inbox.post("test", {"n": number}, token=str(number), local=f"client{number}")
        time.sleep(scaled(0.6))
        go_on.set()
        inbox.wait(2)
    assert seen == [0]
    assert sorted(inbox.reports()) == [Outcome.CONSUMED, Outcome.EXPIRED]
