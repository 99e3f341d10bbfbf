"""The hot connection: steps out without waiting, results back one by one, nothing ever sent twice.

redis-py opens the socket, authenticates and speaks the protocol; what is written when, and what an error means, is
decided here. Its pipelines are not used: an error in one reply must not throw away the messages another reply brought.
Its retries are off: a command whose reply was lost may have been carried out.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import hiredis
import redis

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.server import Server
from channels_classic.layers.redis.shard import SCRIPTS, Command, Shard
from channels_classic.layers.steps import Step, Take

OLDEST = (7, 0)
"""The oldest Redis whose `BLMPOP` and script effects are as needed; Valkey says 7.2 of itself."""

_GONE = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.AskError,  # `MOVED` as well
    redis.exceptions.ClusterDownError,  # `MASTERDOWN` as well
    redis.exceptions.TryAgainError,
)
"""Errors that say: this server is not, or not any more, the one to talk to. Connect again. So does `UNBLOCKED`."""

_LOST = (redis.ConnectionError, redis.TimeoutError, OSError)

_INTRODUCTION: list[Command] = [("INFO", "server"), ("CLIENT", "ID")]
_LOAD: list[Command] = [("SCRIPT", "LOAD", script.source) for script in SCRIPTS]


def _packed(commands: Sequence[Command]) -> list[bytes]:
    """What to write. redis-py does the same in Python, and its asyncio client all of it."""
    return [b"".join([hiredis.pack_command(command) for command in commands])]


class _Dialogue:
    """What has been asked on one connection and not been answered yet, and what answers mean. No I/O."""

    def __init__(self, server: Server, shard: Shard, losses: Losses) -> None:
        self.server = server
        self.shard = shard
        self.losses = losses
        self.fence = 0
        self._scripts_lost = False
        self._owed: list[Command] = []

    def introduced(self, replies: Sequence[Any]) -> Command:
        """What to ask after the introduction was answered. Raises `LayerUnavailable` for a server that will not do."""
        info = dict(line.split(":", 1) for line in replies[0].decode().splitlines() if ":" in line)
        version = info.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise LayerUnavailable(
                f"Redis {self.server.where}", f"it is version {version}", "Redis 7.0 or later, or Valkey, is needed"
            )
        return self.shard.attach(info["run_id"])

    def due(self) -> list[Command]:
        """What must go before the next steps, and whose replies nobody wants."""
        due = [*(_LOAD if self._scripts_lost else []), *self._owed, *self.shard.lose(self.losses.untold())]
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
            settlement = self.shard.settlement(step, replies)
            if settlement:
                self._owed.append(settlement)
        return self.shard.result(step, replies, self.fence)

    def _refusal(self, error: redis.ResponseError) -> StepRefused:
        if isinstance(error, redis.exceptions.NoScriptError):
            self._scripts_lost = True
            return StepRefused(f"Redis {self.server.where}", "it forgot its scripts", again=True)
        if isinstance(error, _GONE) or str(error).startswith("UNBLOCKED"):
            raise self.server.unavailable(error)
        return StepRefused(f"Redis {self.server.where}", str(error))


class RedisConnection:
    """A `Connection` to one shard, for one thread."""

    def __init__(self, server: Server, shard: Shard, losses: Losses) -> None:
        self._dialogue = _Dialogue(server, shard, losses)
        self._server = server
        self._wire = server.open()
        self._unread: deque[tuple[Step | None, int]] = deque()
        self._blocked = False
        self._woken = False
        self._control: Any = None
        self._guard(self._attach)

    def _attach(self) -> None:
        self._wire.connect()
        introduction = self._ask([*_INTRODUCTION, *_LOAD])
        self._client_id = introduction[1]
        (self._dialogue.fence,) = self._ask([self._dialogue.introduced(introduction)])

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        self._wire.send_packed_command(_packed(commands))
        return [self._wire.read_response(disable_decoding=True) for _ in commands]

    def write(self, steps: Sequence[Step]) -> None:
        self._guard(lambda: self._write(steps))

    def _write(self, steps: Sequence[Step]) -> None:
        blocking = any(isinstance(step, Take) and step.timeout for step in steps)
        self._blocked = self._blocked or blocking  # before `_woken` is read: `wake` looks at them the other way round
        if blocking and self._woken:
            steps = [replace(step, timeout=0.0) if isinstance(step, Take) else step for step in steps]
        due = self._dialogue.due()
        commands, counts = self._dialogue.commands(steps)
        if due:
            self._unread.append((None, len(due)))
        self._unread.extend(zip(steps, counts, strict=True))
        self._wire.send_packed_command(_packed([*due, *commands]))

    def read(self) -> Any:
        return self._guard(self._read)

    def _read(self) -> Any:
        step, count = self._unread.popleft()
        timeout = self._server.patience + (step.timeout if isinstance(step, Take) else 0.0)
        replies = [self._reply(timeout) for _ in range(count)]
        if step is None:
            return self._read()
        if isinstance(step, Take):
            self._blocked = self._woken = False
        return self._dialogue.result(step, replies)

    def _reply(self, timeout: float) -> Any:
        try:
            return self._wire.read_response(disable_decoding=True, timeout=timeout)
        except redis.ResponseError as error:
            return error

    def _guard(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except _LOST as error:
            self.close()
            raise error if isinstance(error, LayerUnavailable) else self._server.unavailable(error) from error
        except redis.ResponseError as error:
            self.close()
            raise self._server.unavailable(error) from error

    def usable(self) -> bool:
        try:
            # Nothing is unread, so what can be read is the end of the connection.
            return self._wire.is_connected and not self._wire.can_read(timeout=0)
        except (*_LOST, redis.ResponseError):
            return False

    def fileno(self) -> int:
        """The socket."""
        number: int = self._wire._sock.fileno()
        return number

    def unblock(self) -> None:
        """Ask the server once, from the thread that reads, to end the take that waits. Raises `LayerUnavailable`."""
        try:
            if self._control is None:
                self._control = self._server.beside(self._wire)
                self._control.connect()
            self._control.send_command("CLIENT", "UNBLOCK", self._client_id)
            self._control.read_response()
        except (*_LOST, redis.ResponseError) as error:
            self._control = None
            raise self._server.unavailable(error) from error

    def wake(self) -> None:
        self._woken = True
        if not self._blocked:
            return
        # `CLIENT UNBLOCK` does nothing when it comes before the server has begun to block: say it until the
        # reply is read.
        # The reply may still bring messages, so the read is never cut short from this side.
        wire = self._server.beside(self._wire)
        with suppress(*_LOST, redis.ResponseError):
            wire.connect()
            while self._blocked:
                wire.send_command("CLIENT", "UNBLOCK", self._client_id)
                wire.read_response()
                time.sleep(0.005)
        wire.disconnect()

    def close(self) -> None:
        self._blocked = False
        self._wire.disconnect()
        if self._control is not None:
            self._control.disconnect()


class AsyncRedisConnection:
    """An `AsyncConnection` to one shard."""

    def __init__(self, server: Server, shard: Shard, losses: Losses) -> None:
        self._dialogue = _Dialogue(server, shard, losses)
        self._server = server
        self._wire: Any = None
        self._control: Any = None
        self._turn = asyncio.Lock()

    async def attach(self) -> None:
        """Connect. Raises `LayerUnavailable`."""
        self._wire = await self._server.open_async()
        try:
            await self._wire.connect()
            introduction = await self._ask([*_INTRODUCTION, *_LOAD])
            self._client_id = introduction[1]
            (self._dialogue.fence,) = await self._ask([self._dialogue.introduced(introduction)])
        except BaseException as error:
            await self._fail(error)

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        await self._wire.send_packed_command(_packed(commands))
        return [await self._wire.read_response(disable_decoding=True) for _ in commands]

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        async with self._turn:
            try:
                return await self._run(steps)
            except BaseException as error:
                # Cancelled or broken in the middle: replies would be taken for those of the next steps.
                return await self._fail(error)

    async def _run(self, steps: Sequence[Step]) -> list[Any]:
        due = self._dialogue.due()
        commands, counts = self._dialogue.commands(steps)
        await self._wire.send_packed_command(_packed([*due, *commands]))
        for _ in due:
            await self._reply(self._server.patience)
        results = []
        for step, count in zip(steps, counts, strict=True):
            timeout = self._server.patience + (step.timeout if isinstance(step, Take) else 0.0)
            replies = [await self._reply(timeout) for _ in range(count)]
            results.append(self._dialogue.result(step, replies))
        return results

    async def _reply(self, timeout: float) -> Any:
        # As an argument redis-py would take it for a polite question, and give None when nothing came: then each reply
        # would be taken for that of the command before.
        self._wire.socket_timeout = timeout
        try:
            return await self._wire.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error

    async def _fail(self, error: BaseException) -> list[Any]:
        await self.close()
        if isinstance(error, LayerUnavailable) or not isinstance(error, (*_LOST, redis.ResponseError)):
            raise error
        raise self._server.unavailable(error) from error

    def usable(self) -> bool:
        """Whether the server still listens, as far as the event loop has heard."""
        reader = self._wire._reader
        return reader is not None and not reader.at_eof()

    async def unblock(self) -> None:
        """Ask the server once to end the take that waits. Raises `LayerUnavailable`."""
        try:
            if self._control is None:
                self._control = self._server.beside_async(self._wire)
                await self._control.connect()
            await self._control.send_command("CLIENT", "UNBLOCK", self._client_id)
            await self._control.read_response()
        except (*_LOST, redis.ResponseError) as error:
            self._control = None
            raise self._server.unavailable(error) from error

    async def close(self) -> None:
        await self._wire.disconnect(nowait=True)
        if self._control is not None:
            await self._control.disconnect(nowait=True)


class RedisPlace:
    """One shard on one server."""

    def __init__(self, server: Server, shard: Shard, losses: Losses) -> None:
        self._server = server
        self._shard = shard
        self._losses = losses

    @property
    def where(self) -> str:
        """For people."""
        return self._server.where

    def open(self) -> RedisConnection:
        """Raises `LayerUnavailable`."""
        return RedisConnection(self._server, self._shard, self._losses)

    async def open_async(self) -> AsyncRedisConnection:
        """Raises `LayerUnavailable`."""
        connection = AsyncRedisConnection(self._server, self._shard, self._losses)
        await connection.attach()
        return connection
