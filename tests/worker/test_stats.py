"""Tests of what a worker tells of its work: counts and durations by consumer, slow ones by name."""

from __future__ import annotations

import logging
import re
import signal
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_classic.exceptions import ConsumeLater
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.message import Message
from channels_classic.worker import attempt, stats
from channels_classic.worker.stats import ConsumerStats, Stats, report
from tests.support.waiting import eventually, scaled
from tests.worker.harness import Inbox, drain, make_group, make_worker, running
from tests.worker.programs import TIMEOUT, Start


@given(st.lists(st.floats(1e-7, 1e4), min_size=1, max_size=30), st.sampled_from([1, 50, 99, 100]))
def test_percentiles_are_right_within_a_sixteenth(durations: list[float], percent: int) -> None:
    stats = ConsumerStats("consumer")
    for duration in durations:
        stats.add(duration, Outcome.CONSUMED)
    exact = sorted(durations)[-(-len(durations) * percent // 100) - 1]
    assert stats.durations.percentile(percent) == pytest.approx(exact, rel=1 / 15)


def test_the_counts_of_threads_are_added_up() -> None:
    first, second = Stats(), Stats()
    for one in (first, second):
        one.of(print).add(0.001, Outcome.CONSUMED)
        one.of(print).add(0.001, Outcome.RAISED)
        one.of(len).add(0.5, None)
        one.of(len).add(0.5, Outcome.DROPPED)
    head, *lines = report([first, second], {"full": 3}).splitlines()
    assert head.split() == ["taken", "failed", "retried", "dropped", "p50", "ms", "p99", "ms"]
    assert [line.split()[:5] for line in lines[:2]] == [
        ["builtins.print", "4", "2", "0", "0"],
        ["builtins.len", "4", "0", "2", "2"],
    ]
    assert lines[2].split()[:6] == ["all", "consumers", "8", "2", "2", "2"]
    assert lines[3] == "lost: 3 full"
    assert report([Stats()], {}) == ""


def test_consumers_made_for_each_message_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_KNOWN", 5)
    counts = Stats()
    for _ in range(100):
        counts.of(partial(print)).add(0.1, Outcome.CONSUMED)
    (counted,) = counts.all()
    assert counted.taken == 100 and len(counts._by_identity) <= 5


def test_a_worker_counts_what_it_does(memory: ChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "channels_classic.worker")

    def good(message: Message) -> None: ...

    def bad(message: Message) -> None:
        raise ValueError

    def later(message: Message) -> None:
        if not message.get("__retries__"):
            raise ConsumeLater

    inbox = Inbox(memory)
    group = make_group(memory, {"good": good, "bad": bad, "later": later}, 2)
    with running(group):
        for channel in ("good", "good", "bad", "later"):
            inbox.post(channel, {})
        inbox.wait(4)
        group.log_statistics()
        eventually(lambda: "Consumed by this process" in caplog.text)
    table = next(text for text in caplog.messages if text.startswith("Consumed by this process"))
    counts = {line.split()[0].rpartition(".")[2]: line.split()[1:5] for line in table.splitlines()[2:-1]}
    assert counts == {
        "good": ["2", "0", "0", "0"],
        "bad": ["1", "1", "0", "0"],
        "later": ["2", "0", "1", "0"],
    }


def test_a_consumer_that_holds_messages_for_long_is_named_once(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "SLOW", scaled(0.3))

    def holds(message: Message) -> None:
        assert message.reply_channel is not None
        message.reply_channel.send({})
        time.sleep(scaled(0.35))

    def computes(message: Message) -> None:
        assert message.reply_channel is not None
        time.sleep(scaled(0.35))
        message.reply_channel.send({})

    inbox = Inbox(memory)
    with running(make_worker(memory, {"holds": holds, "computes": computes})):
        for channel in ("holds", "computes", "holds"):
            inbox.post(channel, {})
        inbox.wait(6)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert re.search(r"holds of holds held 1 message\(s\) for (?!0\.0)\d+\.\d s", warning)
    assert "immediately=True" in warning


def test_a_process_tells_when_it_is_asked_and_at_its_end(start: Start, redis: RedisChannelLayer) -> None:
    worker = start()
    worker.wait_for_line(
        r"Running 1 process\(es\) × 1 thread\(s\) on the channel layer RedisChannelLayer \(redis://\S+\)"
    )
    worker.send_signal(signal.SIGUSR1)
    worker.wait_for_line("Consumed by this process: no message.")
    for number in range(2):
        redis.send("echo", {"number": 1, "answer": "answers"})
        drain(redis, "answers", 1, TIMEOUT)
        worker.send_signal(signal.SIGUSR1)
        worker.wait_for_line(rf"^\S*worker\.consumers\.echo +{number + 1} +0 +0 +0 ")
    assert worker.stop() == 0
    assert worker.output.count("Consumed by this process") == 4


def test_every_process_of_a_supervisor_tells_when_that_is_asked(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--processes", "2", "--threads", "2", listening=2)
    supervisor.wait_for_line(r"Running 2 process\(es\) × 2 thread\(s\) on the channel layer .*, for channels .*echo, ")
    redis.send("echo", {"number": 1, "answer": "answers"})
    drain(redis, "answers", 1, TIMEOUT)
    supervisor.send_signal(signal.SIGUSR1)
    supervisor.wait_for_line(r"worker\.consumers\.echo +1 +0 +0 +0 ")
    assert supervisor.output.count("Listening on channels") == 0
    assert supervisor.stop() == 0


def test_each_message_gets_a_line_when_much_is_asked_for(start: Start, redis: RedisChannelLayer) -> None:
    worker = start("-v", "2")
    redis.send("echo", {"number": 1, "answer": "answers"})
    worker.wait_for_line(r"echo -> tests\.projects\.worker\.consumers\.echo: consumed in \d+\.\d ms")
