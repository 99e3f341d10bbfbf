"""What is said on a connection to Redis: steps as bytes, bytes as replies, replies as results. Pure; both faces use it.

An error in one reply must not throw away the messages that another one brought, so errors are replies like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
import redis

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.commands import SCRIPTS, Command, CommandBuilder
from channels_classic.layers.redis.connector import NEXT_STEPS, Connector
from channels_classic.layers.steps import Step, Take

OLDEST = (7, 0)
"""The oldest Redis whose `BLMPOP` and script effects are as needed; Valkey says 7.2 of itself."""

_GONE = {"ASK", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "READONLY", "TRYAGAIN", "UNBLOCKED"}
"""Errors that say: this server is not, or not any more, the one to talk to. Connect again."""

LOST = (redis.ConnectionError, redis.TimeoutError, OSError)
"""What a connection that breaks raises."""

INTRODUCTION: list[Command] = [("INFO", "server"), ("CLIENT", "ID")]
"""What is asked first, with the scripts."""

LOAD: list[Command] = [("SCRIPT", "LOAD", script.source) for script in SCRIPTS]


def packed(commands: Sequence[Command]) -> bytes:
    """What to write for `commands`."""
    return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]  # it takes more


def new_reader() -> hiredis.Reader:
    """Makes replies of what is read."""
    return hiredis.Reader(replyError=redis.ResponseError, protocolError=redis.ConnectionError)


class RedisProtocol:
    """What is to be asked on one connection, and what answers mean. No I/O."""

    def __init__(self, connector: Connector, shard: CommandBuilder, losses: Losses) -> None:
        self.connector = connector
        self.shard = shard
        self.losses = losses
        self.epoch = 0
        self._scripts_lost = False
        self._owed: list[Command] = []

    def handshake(self, replies: Sequence[Any]) -> Command:
        """What to ask after the introduction was answered. Raises `LayerUnavailable` for a server that will not do."""
        info = dict(line.split(":", 1) for line in replies[0].decode().splitlines() if ":" in line)
        version = info.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise LayerUnavailable(
                f"Redis {self.connector.where}", f"it is version {version}", "Redis 7.0 or later, or Valkey, is needed"
            )
        return self.shard.register(info["run_id"])

    def due(self) -> list[Command]:
        """What must go before the next steps, and whose replies nobody wants."""
        due = [*(LOAD if self._scripts_lost else []), *self._owed, *self.shard.record_losses(self.losses.unreported())]
        self._scripts_lost, self._owed = False, []
        return due

    def commands(self, steps: Sequence[Step]) -> tuple[list[Command], list[int]]:
        """The commands for `steps`, and how many of them each step has."""
        by_step = [self.shard.commands(step) for step in steps]
        return [command for commands in by_step for command in commands], [len(commands) for commands in by_step]

    def result(self, step: Step, replies: Sequence[Any]) -> Any:
        """The result of a step. Raises `LayerUnavailable` when the server said that it is not the one to talk to."""
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                return self._refusal(reply)
        if isinstance(step, Take):
            quota_release = self.shard.quota_release(step, replies)
            if quota_release:
                self._owed.append(quota_release)
        return self.shard.result(step, replies, self.epoch)

    def _refusal(self, error: redis.ResponseError) -> StepRefused:
        code = str(error).partition(" ")[0]
        if code == "NOSCRIPT":
            self._scripts_lost = True
            return StepRefused(f"Redis {self.connector.where}", "it forgot its scripts", again=True)
        if code in _GONE:
            raise self.connector.unavailable(error)
        return StepRefused(f"Redis {self.connector.where}", str(error), NEXT_STEPS.get(code, ""))

    def check(self, replies: list[Any]) -> list[Any]:
        """The replies to what was asked while connecting. Raises `LayerUnavailable` for an error among them."""
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise self.connector.unavailable(reply)
        return replies
