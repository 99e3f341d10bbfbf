"""Consumers that misbehave in real worker processes: the worker lives or is replaced, and the client is answered."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from channels_classic.layers.codec import Outcome
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.status import read
from channels_classic.layers.steps import Length
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.worker.harness import Inbox, drain
from tests.worker.programs import LISTENS, TIMEOUT, Start, alive, begun, running_worker

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lasting(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One worker for all consumers that it survives."""
    with running_worker(_apart(redis_server), DATABASE=str(tmp_path_factory.mktemp("worker") / "database")) as worker:
        yield worker
        assert worker.stop() == 0, worker.output


@pytest.fixture
def layer(redis_server: RedisServer) -> Iterator[RedisChannelLayer]:
    """The layer of the lasting worker; other workers take nothing from it."""
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[_apart(redis_server)], capacity=100_000)
    yield layer
    layer.close()


def _apart(server: RedisServer) -> str:
    return server.url.removesuffix("/0") + "/1"


def still_works(layer: RedisChannelLayer) -> int:
    """The process that answers a message sent now."""
    layer.send("echo", {"number": -1, "answer": "proof"})
    pid: int = drain(layer, "proof", 1, TIMEOUT)[0]["pid"]
    return pid


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("fail", "ValueError: a consumer's own"),
        ("leave", "SystemExit: 4"),
        ("interrupt", "KeyboardInterrupt: not Ctrl-C"),
    ],
)
def test_a_consumer_that_fails_is_reported_logged_and_told_to_error_trackers(
    lasting: Process, layer: RedisChannelLayer, channel: str, error: str
) -> None:
    before = len(lasting.output)
    inbox = Inbox(layer)
    inbox.post(channel, {"path": "/tenant/\n"})
    assert inbox.wait(1, TIMEOUT) == [("client", Outcome.RAISED)]
    assert still_works(layer) == lasting.pid
    lasting.wait_for_line(error)
    consumer = f"tests.projects.worker.consumers.{channel}"
    lasting.wait_for_line(rf"The consumer {consumer} of {channel} failed after \d+\.\d+ s at '/tenant/\\n'\.")
    lasting.wait_for_line(f"tracked {error.partition(':')[0]} of {channel} on {channel}")
    assert lasting.output[before:].count("Traceback") == 1


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["alone", "supervised"])
def test_a_consumer_that_leaks_memory_costs_a_process_not_a_message(
    start: Start, redis: RedisChannelLayer, options: tuple[str, ...]
) -> None:
    worker = start("--max-memory", "160", *options, listening=2 if options else 1)
    listening = begun(worker)
    sent = 0
    while begun(worker) == listening:
        redis.send("leak", {"number": sent, "mebibytes": 40, "answer": "answers"})
        sent += 1
        assert drain(redis, "answers", 1, TIMEOUT)[0]["number"] == sent - 1
    worker.wait_for_line("for a replacement of this worker process: it has grown to [0-9]{3,4} MiB")


def test_a_limit_that_no_process_keeps_is_ignored(start: Start, redis: RedisChannelLayer) -> None:
    worker = start("--max-memory", "1")
    worker.wait_for_line("Ignoring --max-memory 1: this process starts with [0-9]+ MiB")
    assert {still_works(redis) for _ in range(3)} == {worker.pid} and begun(worker) == 1


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_consumer_that_waits_for_ever_is_given_up_and_its_process_replaced(
    start: Start, redis: RedisChannelLayer, threads: str
) -> None:
    supervisor = start("--consumer-timeout", "0.5", "--threads", threads)
    before = still_works(redis)
    inbox = Inbox(redis)
    inbox.post("wait", {})
    assert inbox.wait(1, TIMEOUT) == [("client", Outcome.RAISED)]
    supervisor.wait_for_line(
        r"The consumer \S+\.wait_for_ever of wait failed after (?!0\.[0-4])\d+\.\d+ s\. A consumer of 'wait' runs"
    )
    supervisor.wait_for_line("threading.Event")  # where it waits
    supervisor.wait_for_line("tracked ConsumerTimeout of wait_for_ever on wait")
    eventually(lambda: not alive(before), TIMEOUT)
    assert still_works(redis) != before
    eventually(lambda: [worker.processes for worker in read(redis).workers] == [1], 10)  # it reported its end
    assert supervisor.output.count("failed after") == 1
    assert supervisor.stop() == 0


def test_a_consumer_that_keeps_its_whole_process_from_running_is_killed(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--consumer-timeout", "0.5")
    before = still_works(redis)
    inbox = Inbox(redis)
    inbox.post("compute", {})
    supervisor.wait_for_line("computing")
    assert inbox.wait(1, TIMEOUT) == [("client", Outcome.DIED)]
    supervisor.wait_for_line(r"has been stuck for (?:[5-9]|\d\d) s: killing it")
    supervisor.wait_for_line(r"died holding 1 message\(s\): 1 of compute")
    assert still_works(redis) != before
    assert supervisor.output.count("killing it") == 1


@pytest.mark.parametrize("channel", ["fork-and-return", "fork-and-exit"])
def test_what_a_consumer_forks_does_not_go_on_as_a_worker(
    lasting: Process, layer: RedisChannelLayer, channel: str
) -> None:
    for number in range(5):
        layer.send(channel, {"number": number, "answer": "answers"})
    answers = drain(layer, "answers", 5, TIMEOUT)
    assert [(answer["number"], answer["pid"]) for answer in answers] == [(n, lasting.pid) for n in range(5)]
    assert still_works(layer) == lasting.pid
    assert layer.run([Length("answers")]) == [0]


def test_what_a_process_pool_of_a_consumer_sends_arrives(lasting: Process, layer: RedisChannelLayer) -> None:
    for number in range(3):
        layer.send("fork-a-pool", {"number": number, "answer": "answers"})
    answers = drain(layer, "answers", 3, TIMEOUT)
    assert [answer["number"] for answer in answers] == [0, 1, 2]
    assert all(answer["pid"] != lasting.pid for answer in answers)
    assert still_works(layer) == lasting.pid


def test_a_database_that_was_closed_is_opened_again(lasting: Process, layer: RedisChannelLayer) -> None:
    for channel, answer in (("query", 42), ("close-database", 1), ("query", 42)):
        layer.send(channel, {"number": 1, "answer": "answers"})
        assert drain(layer, "answers", 1, TIMEOUT)[0]["number"] == answer
    assert still_works(layer) == lasting.pid


def test_a_consumer_that_sends_to_a_full_channel_loses_that_alone(lasting: Process, layer: RedisChannelLayer) -> None:
    layer.send("fill", {"number": 1, "answer": "answers"})
    assert drain(layer, "answers", 1, TIMEOUT)[0]["number"] == 1
    assert still_works(layer) == lasting.pid
    lasting.wait_for_line("for tiny: the channel held its capacity")


def test_a_consumer_that_sends_nonsense_loses_that_alone(lasting: Process, layer: RedisChannelLayer) -> None:
    inbox = Inbox(layer)
    inbox.post("babble", {"number": 1, "answer": "answers"})
    assert drain(layer, "answers", 1, TIMEOUT)[0]["number"] == 1
    assert inbox.wait(1) == [("client", Outcome.CONSUMED)]
    lasting.wait_for_line("'no such name!!' is not a valid channel name")
    lasting.wait_for_line("The message for 'answers' cannot be sent")
    assert still_works(layer) == lasting.pid


def test_a_process_that_dies_costs_only_what_it_had_taken(start: Start, redis: RedisChannelLayer) -> None:
    supervisor = start("--processes", "2", listening=2)
    redis.send("work", {"number": -1, "seconds": 60, "answer": "answers"})
    victim = int(supervisor.wait_for_line(r"\d+ is working").partition(" ")[0])
    for number in range(100):  # which the other process takes
        redis.send("echo", {"number": number, "answer": "answers"})
    os.kill(victim, signal.SIGKILL)
    supervisor.wait_for_line(rf"Worker process {victim} died holding 1 message\(s\): 1 of work")
    answers = drain(redis, "answers", 100, TIMEOUT)
    assert sorted(answer["number"] for answer in answers) == list(range(100))
    eventually(lambda: redis.channel_statistics("work").get("lost_died") == 1, TIMEOUT)
    supervisor.wait_for_line(LISTENS, occurrences=3)
    still_works(redis)
    assert redis.run([Length("answers")]) == [0]
