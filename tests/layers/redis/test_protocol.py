"""Tests of what a connection makes of replies that nobody hopes for, without a server."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import redis

from channels_classic.exceptions import StepRefused
from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.cipher import Plain
from channels_classic.layers.redis.commands import RECORD_LOSSES, REGISTER, RELEASE_QUOTA, CommandBuilder
from channels_classic.layers.redis.connector import Connector
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.redis.protocol import LOAD, ROLE_CHECK_AFTER, RedisProtocol
from channels_classic.layers.results import Taken
from channels_classic.layers.steps import Members, Take
from tests.support.clock import Clock

LINEAGE, OTHER_LINEAGE = b"a" * 40, b"b" * 40
MILLISECONDS = 1_600_000_000_000
TIME = [b"1600000000", b"0"]
ROLE = b"# Replication\r\nrole:master\r\nmaster_replid:%b\r\nmaster_replid2:%b\r\n"
TAKE = Take(["jobs"], 1, 0.0)
FORGOTTEN = redis.ResponseError("NOSCRIPT No matching script.")


def entry(epoch: int) -> bytes:
    return struct.pack(">IdIB", epoch, MILLISECONDS, 60_000, 0) + b"payload"


def popped(*entries: bytes, queue: bytes = b"jobs") -> list[Any]:
    return [b"asgi:{0}:queue:" + queue, list(entries)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def protocol(clock: Clock) -> RedisProtocol:
    connector = Connector("redis://127.0.0.1:1/0", {})
    protocol = RedisProtocol(connector, CommandBuilder(Keys("asgi:", "0", "stats:"), 60.0, Plain()), Losses(), clock)
    protocol.registered([7, LINEAGE, b"1"])
    return protocol


def names(commands: list[Any]) -> list[str]:
    """Return what `commands` run: the digest of a script, else the first word."""
    return [command[1] if command[0] == "EVALSHA" else command[0] for command in commands]


def demote_and_promote(protocol: RedisProtocol, clock: Clock) -> Taken:
    """Take an entry from a server that was a replica meanwhile."""
    clock.now += 2 * ROLE_CHECK_AFTER
    protocol.commands([TAKE])
    taken = protocol.result(TAKE, [popped(entry(7)), TIME, ROLE % (OTHER_LINEAGE, LINEAGE)])
    assert isinstance(taken, Taken)
    return taken


def test_a_registration_is_repeated_until_the_server_carries_it_out(protocol: RedisProtocol, clock: Clock) -> None:
    assert [kind for kind, _ in demote_and_promote(protocol, clock).lost] == ["fenced"]
    for refusal in (redis.ResponseError("MISCONF Errors writing to the AOF file"), FORGOTTEN):
        assert names(protocol.pending_commands()) == [REGISTER.sha]
        protocol.settle([refusal])
        taken = protocol.result(TAKE, [popped(entry(7)), TIME])
        assert [kind for kind, _ in taken.lost] == ["fenced"], "an entry of before may have been handed out before"
    due = protocol.pending_commands()
    assert due[: len(LOAD)] == LOAD
    assert names(due[len(LOAD) :]) == [REGISTER.sha]
    protocol.settle([b"sha"] * len(LOAD) + [[8, OTHER_LINEAGE, b"2"]])
    assert protocol.pending_commands() == []
    assert len(protocol.result(TAKE, [popped(entry(8)), TIME]).items) == 1


def test_the_release_of_a_quota_is_repeated_when_the_scripts_were_forgotten(protocol: RedisProtocol) -> None:
    take = Take(["web!"], 1, 0.0)
    protocol.result(take, [popped(entry(7), queue=b"web!"), TIME, b"1600000000000"])
    due = protocol.pending_commands()
    assert names(due) == [RELEASE_QUOTA.sha]
    protocol.settle([FORGOTTEN])
    assert protocol.pending_commands() == [*LOAD, *due]


def test_messages_that_came_without_the_time_are_counted_as_lost(
    protocol: RedisProtocol, caplog: pytest.LogCaptureFixture
) -> None:
    busy = redis.ResponseError("BUSY Redis is busy running a script.")
    taken = protocol.result(TAKE, [popped(entry(7)), busy])
    assert taken.items == []
    assert [kind for kind, _ in taken.lost] == ["fenced"]
    assert "Messages that were handed out are lost" in caplog.text


@pytest.mark.parametrize(("waited", "needs"), [(0.5, False), (1.5, True)])
def test_the_time_of_an_answer_that_came_late_is_asked_again(
    protocol: RedisProtocol, clock: Clock, waited: float, needs: bool
) -> None:
    clock.now += 60  # in which nothing was asked
    protocol.commands([TAKE])
    clock.now += waited
    assert protocol.needs_time(TAKE, [popped(entry(7)), TIME]) is needs
    assert not protocol.needs_time(TAKE, [None, TIME])
    assert not protocol.needs_time(TAKE, [popped(entry(7)), FORGOTTEN]), "it would be refused again, and raise"
    assert not protocol.needs_time(TAKE, [FORGOTTEN, TIME])
    assert not protocol.needs_time(Members("g", "inbox!"), [[]])


def test_a_take_that_is_refused_took_nothing(protocol: RedisProtocol) -> None:
    refused = protocol.result(TAKE, [redis.ResponseError("OOM command not allowed"), TIME])
    assert isinstance(refused, StepRefused)
    assert protocol.pending_commands() == []


def test_losses_that_the_server_did_not_record_are_reported_again(protocol: RedisProtocol) -> None:
    protocol.losses.count("retries", "jobs", 7)
    for refusal in (FORGOTTEN, redis.ResponseError("READONLY You can't write against a read only replica.")):
        assert names(protocol.pending_commands())[-1] == RECORD_LOSSES.sha
        protocol.settle([refusal])
    other = RedisProtocol(protocol.connector, protocol.builder, protocol.losses)
    assert other.pending_commands() == protocol.builder.record_losses([("retries", "jobs", 7)])
    other.settle([None])
    assert other.pending_commands() == []


def test_a_connection_that_took_messages_without_their_context_takes_no_more(protocol: RedisProtocol) -> None:
    assert not protocol.misplaced
    protocol.result(TAKE, [popped(entry(7)), redis.ResponseError("NOPERM this user has no permissions to run 'time'")])
    assert protocol.misplaced


def test_data_that_something_else_has_written_is_a_refusal(protocol: RedisProtocol) -> None:
    refused = protocol.result(Members("g", "interface.v2.a!"), [[1, 1, [b"client"]]])
    assert isinstance(refused, StepRefused)
    assert "which other program writes" in str(refused)
