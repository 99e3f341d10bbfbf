"""The protocol of a connection to Redis: steps as bytes, bytes as replies, replies as results. Pure.

Shared by the sync and async connections. An error in one reply must not throw away the messages that another one
brought, so errors are replies like any other.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import hiredis
import redis

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.losses import Count, Losses
from channels_classic.layers.redis.commands import BARRIER, SCRIPTS, Command, CommandBuilder
from channels_classic.layers.redis.connector import NEXT_STEPS, Connector
from channels_classic.layers.redis.handover import UNPROVEN, Former, fields_of
from channels_classic.layers.redis.replies import queue_of, result_of
from channels_classic.layers.steps import (
    Audit,
    GetPresence,
    Join,
    JoinAs,
    Leave,
    Lookup,
    Publish,
    Record,
    Restore,
    RestoreIdentities,
    Step,
    Take,
    TakeNotices,
)

logger = logging.getLogger("channels_classic.layers")

OLDEST = (7, 0)
"""The oldest Redis whose `BLMPOP` and script effects are as needed; Valkey reports 7.2."""

MISPLACED = {"ASK", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "READONLY", "TRYAGAIN", "UNBLOCKED"}
"""Errors of a server that is not (or no longer, or not yet) the master. It did nothing: connect again."""

ROLE_CHECK_AFTER = 0.01
"""Seconds without an answer after which a take asks whether the server was demoted and promoted again meanwhile.

That needs a full synchronisation with the server that was master in between, which takes longer. A take that waits is
ended by the server with an error when its role changes.
"""

LEFT_OUT = 10.0
"""Seconds for which a take from several queues leaves out one that is not a list, and would refuse all of it."""

STALE_AFTER = 1.0
"""Seconds without an answer after which the time in it may be out of date: this process may have stood still."""

TIME: Command = ("TIME",)

_NO_LINEAGE = b"0" * 40

LOST = (redis.ConnectionError, redis.TimeoutError, OSError)
"""Errors of a connection that breaks."""

INTRODUCTION: list[Command] = [("INFO", "server"), ("CLIENT", "ID")]
"""The first commands, sent with the connector's questions."""

ROLE: Command = ("INFO", "replication")

_FORBIDDEN_TO_SCRIPTS = ("The user executing the script can't", "ACL failure in script")
"""Errors without the code NOPERM, where the user lacks a permission that a script needs."""

_NOT_LOCAL = "non local key"
"""The error of a script about a key that is not given to the script and is on another node already."""

_MAY_BE_REPEATED = (
    *(Lookup, Publish, Record, Join, JoinAs, Leave),
    *(Audit, GetPresence, Restore, RestoreIdentities, TakeNotices),
)
"""Steps that may be sent again after this error: nothing was written before it, or repeating what was is harmless."""

_FOREIGN_DATA = "Find out which other program writes keys that begin with the `prefix` of this layer."

LOAD: list[Command] = [("SCRIPT", "LOAD", script.source) for script in SCRIPTS]


def packed(commands: Sequence[Command]) -> bytes:
    """Return `commands` as bytes."""
    return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]  # it takes more


def new_reader() -> hiredis.Reader:
    """Makes replies of what is read."""
    return hiredis.Reader(replyError=redis.ResponseError, protocolError=redis.ConnectionError)


def is_too_old(version: str) -> bool:
    """Return whether a server of this version lacks what the layer needs."""
    return tuple(int(part) for part in version.split(".")[:2]) < OLDEST


class RedisProtocol:
    """The commands to send on one connection, and the meaning of the replies. No I/O; the clock is given."""

    def __init__(
        self, connector: Connector, builder: CommandBuilder, losses: Losses, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.connector = connector
        self.builder = builder
        self.losses = losses
        self.misplaced = False
        """True once the server answered that it is not the master, or handed out messages without their context.

        This connection must not be used again.
        """
        self._place: tuple[str, Sequence[str]] = ("", ())
        self._epoch = 0
        self._lineage = b""
        self._clock = clock
        self._written_at = self._answered_at = clock()
        self._scripts_lost = False
        self._owed: list[Command] = []
        self._awaited: deque[tuple[list[Command], list[Count]]] = deque()
        """The pending commands that were sent, until their replies come, and the losses that the last one reports."""
        self._asked: list[str] = []
        """The queues whose types must be asked before the next steps, since one of them is not a list."""
        self._odd_until: dict[str, float] = {}
        """The queues that are not lists, and until when they are left out of takes from several."""
        self._unregistered = False
        """True from the moment in which the data may have gone back until the server named the epoch."""

    def introduction(self) -> list[Command]:
        """Return the first commands; `handshake` takes their replies.

        The commands that follow a take are among them: what a user without permission for them takes would be lost.
        """
        following = (TIME, ("HGET", self.builder.keys.epoch, "number"))
        return [*INTRODUCTION, *self.connector.questions, *following, BARRIER([])]

    def handshake(self, replies: Sequence[Any]) -> list[Command]:
        """Return the commands that load the scripts, unless the server has them, and register the connection.

        Raise `LayerUnavailable` for a server that is too old.
        """
        version = fields_of(replies[0]).get("redis_version", "0")
        if is_too_old(version):
            raise LayerUnavailable(
                f"Redis {self.connector.where}", f"it is version {version}", "Redis 7.0 or later, or Valkey, is needed"
            )
        end = len(INTRODUCTION) + len(self.connector.questions)
        self._place = self.connector.place(replies[len(INTRODUCTION) : end])
        has_scripts = not (_has_forgotten(replies[-1]) or self.connector.has_lost_scripts)
        return [*(() if has_scripts else LOAD), self._register("")]

    def former(self, reply: Sequence[Any]) -> Former | None:
        """Return the master of which it must be proven that nothing is missing here, if the registration asks for it.

        Then `proven` is the next command, and its reply is that to the registration.
        """
        return Former(reply[2].decode(), reply[3].decode()) if len(reply) > 3 else None

    def proven(self, proof: str) -> Command:
        """Return the command that registers the connection with what came of looking for a proof."""
        return self._register(proof)

    def _register(self, proof: str) -> Command:
        return self.builder.register(*self._place, *self.connector.epoch, proof)

    def registered(self, reply: Sequence[Any]) -> None:
        """Take note of the reply to the registration."""
        self._epoch, self._lineage = int(reply[0]), reply[1]
        self.connector.epoch = max(self.connector.epoch, (self._epoch, int(reply[2])))
        self._answered_at = self._clock()
        self._unregistered = self.connector.has_lost_scripts = False

    @property
    def _registration(self) -> Command:
        """The command that registers the connection again: by then the data has gone back."""
        return self._register(UNPROVEN)

    def pending_commands(self) -> list[Command]:
        """Return what must go before the next steps; `settle` takes the replies."""
        pending = [*(LOAD if self._scripts_lost else []), *([self._registration] if self._unregistered else [])]
        pending += [("TYPE", self.builder.keys.queue(queue)) for queue in self._asked]
        self._asked = []
        counts = self.losses.unreported()
        pending += [*self._owed, *self.builder.record_losses(counts)]
        self._scripts_lost, self._owed = False, []
        if pending:
            self._awaited.append((pending, counts))
        return pending

    def settle(self, replies: Sequence[Any]) -> None:
        """Take note of the replies to the pending commands.

        A registration that the server refuses is sent again before the next steps, on another connection if that is
        possible; until then everything taken counts as old. Losses that it did not record are reported again, by
        whichever connection comes first. The rest is sent again only if the server had forgotten the scripts.
        """
        if not replies:
            return
        commands, counts = self._awaited.popleft()
        if counts and isinstance(replies[-1], redis.ResponseError):
            self.losses.report_again(counts)
            commands, replies = commands[:-1], replies[:-1]
        for command, reply in zip(commands, replies, strict=True):
            if command[0] == "TYPE":
                if isinstance(reply, bytes) and reply not in (b"list", b"none"):
                    self._odd_until[queue_of(str(command[1]).encode())] = self._clock() + LEFT_OUT
            elif isinstance(reply, list):
                self.registered(reply)
            elif command[0] == "SCRIPT" and isinstance(reply, redis.ResponseError):
                self.misplaced = True  # the next connection names the reason
            elif _has_forgotten(reply):
                self._scripts_lost = True
                if command[:2] != self._registration[:2]:
                    self._owed.append(command)
            elif command[:2] == self._registration[:2]:
                self.misplaced = True

    def commands(self, steps: Sequence[Step]) -> tuple[list[Command], list[int]]:
        """Return the commands for `steps`, and how many of them each step has."""
        by_step = [self.builder.commands(self._without_odd_queues(step)) for step in steps]
        self._written_at = self._clock()
        if self._written_at - self._answered_at > ROLE_CHECK_AFTER:
            for step, commands in zip(steps, by_step, strict=True):
                if isinstance(step, Take):
                    commands.append(ROLE)
        return [command for commands in by_step for command in commands], [len(commands) for commands in by_step]

    def _without_odd_queues(self, step: Step) -> Step:
        if not self._odd_until or not isinstance(step, Take):
            return step
        now = self._clock()
        self._odd_until = {queue: until for queue, until in self._odd_until.items() if until > now}
        queues = [queue for queue in step.queues if queue not in self._odd_until or queue.endswith("!")]
        return replace(step, queues=queues) if queues else step

    def needs_time(self, step: Step, replies: Sequence[Any]) -> bool:
        """Return whether the time among `replies` may be out of date, so that `TIME` must be asked once more.

        It is not known when the messages came: this process may have been suspended with them unread.
        """
        waited = self._clock() - self._written_at > STALE_AFTER
        return waited and isinstance(step, Take) and isinstance(replies[0], list) and isinstance(replies[1], list)

    def result(self, step: Step, replies: Sequence[Any]) -> Any:
        """Return the result of a step: a `StepRefused` when the server did nothing."""
        self._answered_at = self._clock()
        error = _first_error(replies)
        if error is not None and isinstance(step, Take):
            replies = _without_odd_quotas(replies)
            error = _first_error(replies)
        if error is not None and isinstance(step, Take) and isinstance(replies[0], list):
            return self._taken_without_context(step, replies[0], error)
        if error is not None:
            return self._refusal(error, step)
        if not isinstance(step, Take):
            return self._converted(step, replies)
        epoch = self._epoch + self._unregistered
        if isinstance(replies[-1], bytes) and replies[-1].startswith(b"# Replication"):
            *replies, role = replies
            if self._data_went_back(role):
                # Whatever was taken was there before, and may have been handed out before. The next steps find out
                # which epoch it is now.
                epoch += 1
                self._unregistered = True
        quota_release = self.builder.quota_release(step, replies)
        if quota_release:
            self._owed.append(quota_release)
        return result_of(step, replies, epoch, self.builder.cipher)

    def _converted(self, step: Step, replies: Sequence[Any]) -> Any:
        try:
            return result_of(step, replies, self._epoch, self.builder.cipher)
        except (ValueError, LookupError, TypeError, OverflowError, struct.error) as error:
            return StepRefused(f"Redis {self.connector.where}", f"its data cannot be read ({error!r})", _FOREIGN_DATA)

    def _taken_without_context(self, step: Take, taken: Any, error: redis.ResponseError) -> Any:
        """Return the result of a `Take` that got entries, but not the time or the role: they are lost, and counted."""
        logger.warning("Messages that were handed out are lost: %s", self._refusal(error))
        self._unregistered = self.misplaced = True
        no_context = [None] * sum(queue.endswith("!") for queue in step.queues)
        return result_of(step, [taken, (0, 0), *no_context], self._epoch + 1, self.builder.cipher)

    def _data_went_back(self, role: bytes) -> bool:
        """Return whether the server may hold data of another one since this connection was registered."""
        fields = dict(line.split(b":", 1) for line in role.splitlines() if b":" in line)
        return fields[b"master_replid"] != self._lineage and fields[b"master_replid2"] != _NO_LINEAGE

    def _refusal(self, error: redis.ResponseError, step: Step | None = None) -> StepRefused:
        if any(text in str(error) for text in _FORBIDDEN_TO_SCRIPTS):
            error = redis.ResponseError(f"NOPERM {str(error).removeprefix('ERR ')}")
        code = str(error).partition(" ")[0]
        if code == "NOSCRIPT":
            self._scripts_lost = True
            return StepRefused(f"Redis {self.connector.where}", "it forgot its scripts", again=True)
        if code in MISPLACED:
            self.misplaced = True
            reason = str(self.connector.unavailable(error).reason)
            return StepRefused(f"Redis {self.connector.where}", reason, NEXT_STEPS.get(code, ""), again=True)
        if _NOT_LOCAL in str(error) and isinstance(step, _MAY_BE_REPEATED):
            reason = "a slot of the cluster is on its way to another node"
            return StepRefused(f"Redis {self.connector.where}", reason, NEXT_STEPS["CLUSTERDOWN"], again=True)
        # Refusals have a code of their own in scripts too; what is left in them is data that they do not expect.
        if step is not None and (code == "WRONGTYPE" or ("user_script" in str(error) and code not in NEXT_STEPS)):
            return self._odd(step, error)
        return StepRefused(f"Redis {self.connector.where}", str(error), NEXT_STEPS.get(code, ""))

    def _odd(self, step: Step, error: redis.ResponseError) -> StepRefused:
        """Return the refusal of a step that found a key as no program of this project writes it.

        A take from several queues finds out which of them it is, and leaves it out for a while: the others are fine.
        """
        keys = self.builder.keys_of(step)
        if isinstance(step, Take) and len(step.queues) > 1:
            self._asked = list(step.queues)
        return StepRefused(
            f"Redis {self.connector.where}",
            f"something else has written one of the keys {', '.join(keys)} ({str(error).partition(' script:')[0]})",
            "Find out what does, and delete the key: TYPE and the documentation of delivery tell what it should be.",
            foreign=True,
        )

    def check(self, commands: Sequence[Command], replies: list[Any]) -> list[Any]:
        """The replies to what was asked while connecting. Raises `LayerUnavailable` for an error among them.

        An epoch of another type does not count, since the registration replaces it, nor does a server without scripts.
        """
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, redis.ResponseError) and not _is_mended(command, reply):
                self.connector.has_lost_scripts = _has_forgotten(reply)  # while they were loaded
                raise self.connector.unavailable(reply)
        return replies


def _is_mended(command: Command, error: redis.ResponseError) -> bool:
    return str(error).startswith("WRONGTYPE") or (command == BARRIER([]) and _has_forgotten(error))


def _has_forgotten(reply: object) -> bool:
    """Return whether the server does not know a script."""
    return isinstance(reply, redis.ResponseError) and str(reply).startswith("NOSCRIPT")


def _first_error(replies: Sequence[Any]) -> redis.ResponseError | None:
    return next((reply for reply in replies if isinstance(reply, redis.ResponseError)), None)


def _without_odd_quotas(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies to a take without errors of quotas that something else has written: there are none then."""
    return [
        None if index > 1 and isinstance(reply, redis.ResponseError) and str(reply).startswith("WRONGTYPE") else reply
        for index, reply in enumerate(replies)
    ]
