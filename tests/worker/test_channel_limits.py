"""Limits by channel: slow work leaves room for the rest."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from channels_classic import Channel
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.steps import Length
from channels_classic.message import Message
from channels_classic.worker import loop
from channels_classic.worker.channel_limits import ChannelLimits, parse_limits, without_effect
from tests.support.waiting import eventually, eventually_async, scaled
from tests.worker.harness import drain, make_group, make_worker, running


def test_limits_are_read_from_the_command_line() -> None:
    assert parse_limits(["thumbnails.*=1", "mail=20"]) == {"thumbnails.*": 1, "mail": 20}


@pytest.mark.parametrize("text", ["thumbnails", "=1", "mail=", "mail=0", "mail=-1", "mail=many"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a glob and a number from 1, such as 'thumbnails\.\*=1'"):
        parse_limits([text])


def test_globs_that_no_channel_needs_are_found() -> None:
    options = {"--limit": ["thubmnails.*", "mail", "*", "thumbnails.*"], "--only-channels": ["t*", "[a-m]*"]}
    found = [("--limit", "thubmnails.*"), ("--limit", "thumbnails.*")]
    assert list(without_effect(options, ["thumbnails.make", "mail"])) == found


def test_the_first_pattern_that_fits_a_channel_counts_for_all_its_channels() -> None:
    limit = ChannelLimits({"a.*": 2, "*": 1}, ["a.x", "a.y", "b", "c"])
    assert limit.acquire("a.x") and limit.acquire("a.y") and not limit.acquire("a.x")
    assert limit.acquire("b") and not limit.acquire("c")
    assert limit.open(["a.x", "b"], 0) == []
    limit.release("a.y")
    assert limit.open(["a.x", "b"], 0) == ["a.x"]


class Watch:
    """Return the largest number of consumers of each channel that ran at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def enter(self, message: Message) -> None:
        with self._lock:
            name = message.channel.name
            self._now[name] += 1
            self.most[name] = max(self.most[name], self._now[name])

    def reached(self, message: Message) -> bool:
        """Return whether as many consumers ran at once as a limit of two allows, and more of the other channel."""
        return self.most[message.channel.name] >= (2 if message.channel.name == "slow" else 3)

    def leave(self, message: Message) -> None:
        with self._lock:
            self._now[message.channel.name] -= 1
        Channel("out", channel_layer=message.channel_layer).send({"channel": message.channel.name})


def test_no_more_threads_than_the_limit_run_a_channel(layer: BaseChannelLayer) -> None:
    watch = Watch()

    def consumer(message: Message) -> None:
        watch.enter(message)
        eventually(lambda: watch.reached(message))
        time.sleep(0.02)
        watch.leave(message)

    for _ in range(15):
        layer.send("slow", {})
        layer.send("other", {})
    group = make_group(layer, {"slow": consumer, "other": consumer}, 5)
    group.limits = {"slow": 2}
    with running(group):
        drain(layer, "out", 30, 20)
    assert watch.most["slow"] == 2 and watch.most["other"] > 2
    assert layer.run([Length("slow"), Length("other")]) == [0, 0]


def test_no_more_coroutines_than_the_limit_run_a_channel(layer: BaseChannelLayer) -> None:
    watch = Watch()

    async def consumer(message: Message) -> None:
        watch.enter(message)
        await eventually_async(lambda: watch.reached(message))
        await asyncio.sleep(0.02)
        watch.leave(message)

    for _ in range(15):
        layer.send("slow", {})
        layer.send("other", {})
    worker = make_worker(layer, {"slow": consumer, "other": consumer})
    worker.limits = {"slow": 2}
    with running(worker):
        drain(layer, "out", 30, 10)
    assert watch.most["slow"] == 2 and watch.most["other"] > 2


def test_slow_work_leaves_threads_for_the_rest(memory: ChannelLayer) -> None:
    release = threading.Event()
    seen: list[Any] = []

    def slow(message: Message) -> None:
        release.wait(scaled(20))

    for _ in range(10):
        memory.send("thumbnails.make", {})
    group = make_group(memory, {"thumbnails.make": slow, "fast": seen.append}, 3)
    group.limits = {"thumbnails.*": 1}
    with running(group):
        eventually(lambda: memory.run([Length("thumbnails.make")]) == [9])
        for number in range(20):
            memory.send("fast", {"n": number})
        eventually(lambda: len(seen) == 20)
        release.set()
        eventually(lambda: memory.run([Length("thumbnails.make")]) == [0])


def test_a_worker_whose_only_channel_is_closed_stops_at_once(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BLOCK", 3600.0)  # the end of a take that nobody ends would come too late
    started = threading.Event()

    async def consumer(message: Message) -> None:
        started.set()
        await asyncio.sleep(0.2)

    memory.send("slow", {})
    worker = make_worker(memory, {"slow": consumer})
    worker.limits = {"slow": 1}
    with running(worker):
        assert started.wait(scaled(5))


def test_a_busy_channel_does_not_keep_others_waiting(layer: BaseChannelLayer) -> None:
    release = threading.Event()
    seen: list[str] = []

    def consumer(message: Message) -> None:
        seen.append(message.channel.name)
        if not release.is_set():  # the busy channel never runs dry
            message.channel.send({})
        if message.channel.name == "quiet":
            release.set()

    for _ in range(100):
        layer.send("busy", {})
    with running(make_worker(layer, {"busy": consumer, "quiet": consumer})):
        eventually(lambda: len(seen) > 50)
        layer.send("quiet", {})
        before = len(seen)
        assert release.wait(scaled(5))
    assert seen.index("quiet") - before < 2000
