"""An event loop's connection to one shard: write a batch of steps, read their results, send nothing twice.

redis-py opens the connection and authenticates; then this module takes over its transport, so that a whole batch of
replies costs one future and one timer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.answer_timer import AnswerTimer
from channels_classic.layers.losses import Losses
from channels_classic.layers.pool import LOOK_AFTER, has_input
from channels_classic.layers.redis.commands import Command, CommandBuilder, unblock
from channels_classic.layers.redis.connector import Connector
from channels_classic.layers.redis.protocol import LOST, TIME, RedisProtocol, new_reader, packed
from channels_classic.layers.steps import Step, Take


class _CommandStream(asyncio.Protocol):
    """Writes commands and collects their replies."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._lost = False
        self._transport = transport
        self._number = transport.get_extra_info("socket").fileno()
        self._used = time.monotonic()
        self._reader = new_reader()
        self._replies: list[Any] = []
        self._wanted = 0
        self._answered: asyncio.Future[list[Any]] | None = None
        transport.set_protocol(self)

    def has_ended(self) -> bool:
        """Return whether the other side has ended the connection. An event loop that was busy may not know it yet."""
        idles = self._answered is None or self._answered.done()
        if idles and not self._lost and time.monotonic() - self._used > LOOK_AFTER:
            self._lost = has_input(self._number)
        return self._lost

    async def ask(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """Return the replies to `commands`, errors included. Raise one of `LOST`."""
        if not commands:
            return []
        if self._lost:
            raise redis.ConnectionError("it closed the connection")
        loop = asyncio.get_running_loop()
        self._wanted = len(commands)
        self._answered = loop.create_future()
        self._transport.write(packed(commands))
        timer = AnswerTimer(timeout, lambda: self._late(timeout))
        try:
            return await self._answered
        finally:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse bytes of replies."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._replies.append(reply)
        except redis.ConnectionError as error:
            self._fail(error)
            self._transport.abort()
            return
        if len(self._replies) >= self._wanted and self._answered is not None and not self._answered.done():
            replies, self._replies = self._replies, []
            self._used = time.monotonic()
            self._answered.set_result(replies)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the replies that are outstanding: one side ended the connection.

        A server that has too many clients says so, whatever it was asked, before it does.
        """
        self._lost = True
        reason = next(iter(self._replies), None)
        if isinstance(reason, redis.ResponseError) and len(self._replies) == 1:
            error = reason
        self._fail(error or redis.ConnectionError("it closed the connection"))

    def _late(self, timeout: float) -> None:
        self._fail(redis.TimeoutError(f"it did not answer within {timeout:g} s"))

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)


class AsyncRedisConnection:
    """An `AsyncConnection` to one shard."""

    def __init__(self, connector: Connector, builder: CommandBuilder, losses: Losses) -> None:
        self._protocol = RedisProtocol(connector, builder, losses)
        self._connector = connector
        self._raw: Any = None
        self._control: Any = None
        self._turn = asyncio.Lock()

    async def register(self) -> None:
        """Connect and register. Raise `LayerUnavailable`."""
        self._raw = await self._connector.open_async()
        try:
            await self._raw.connect()
            self._stream = _CommandStream(self._raw._writer.transport)
            introduction = await self._ask(self._protocol.introduction())
            self._client_id = introduction[1]
            reply = (await self._ask(self._protocol.handshake(introduction)))[-1]
            former = self._protocol.former(reply)
            if former is not None:
                find_proof = self._connector.find_proof
                proof = await asyncio.to_thread(find_proof, self._raw, former, reply[1].decode())
                (reply,) = await self._ask([self._protocol.proven(proof)])
            self._protocol.registered(reply)
        except BaseException as error:
            await self._fail(error)

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        return self._protocol.check(commands, await self._stream.ask(commands, self._connector.reply_timeout))

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        async with self._turn:
            try:
                return await self._run(steps)
            except BaseException as error:
                # Cancelled or broken midway: the replies would be mistaken for those of the next steps.
                return await self._fail(error)

    async def _run(self, steps: Sequence[Step]) -> list[Any]:
        pending = self._protocol.pending_commands()
        commands, counts = self._protocol.commands(steps)
        blocks = sum(step.timeout for step in steps if isinstance(step, Take))
        replies = await self._stream.ask([*pending, *commands], self._connector.reply_timeout + blocks)
        self._protocol.settle(replies[: len(pending)])
        results, end = [], len(pending)
        for step, count in zip(steps, counts, strict=True):
            begin, end = end, end + count
            if self._protocol.needs_time(step, replies[begin:end]):
                # An error too: what was taken is counted.
                (replies[begin + 1],) = await self._stream.ask([TIME], self._connector.reply_timeout)
            results.append(self._protocol.result(step, replies[begin:end]))
        return results

    async def _fail(self, error: BaseException) -> list[Any]:
        await self.close()
        if isinstance(error, LayerUnavailable) or not isinstance(error, (*LOST, redis.ResponseError)):
            raise error
        raise self._connector.unavailable(error) from error

    def usable(self) -> bool:
        """Return False once the connection has ended, or the server said that it is not the master."""
        return not self._stream.has_ended() and not self._protocol.misplaced

    async def unblock(self) -> None:
        """Ask the server once to end the take that blocks. Raise `LayerUnavailable`."""
        try:
            if self._control is not None and _has_ended(self._control):
                control, self._control = self._control, None
                await _end(control)
            if self._control is None:
                self._control = self._connector.sibling_async(self._raw)
                await self._control.connect()
            await self._control.send_packed_command([packed(unblock(self._client_id))])
            with suppress(redis.ResponseError):
                await self._control.read_response()
            await self._control.read_response()
        except BaseException as error:
            control, self._control = self._control, None
            if control is not None:
                await _end(control)
            if isinstance(error, (*LOST, redis.ResponseError)):
                raise self._connector.unavailable(error) from error
            raise

    async def close(self) -> None:
        await _end(self._raw)
        if self._control is not None:
            await _end(self._control)


def _has_ended(raw: Any) -> bool:
    """Return whether the server has ended a connection of redis-py on which no answer is due.

    An event loop that was busy may not know it yet.
    """
    if raw._reader is None or raw._reader.at_eof() or raw._writer.transport.is_closing():
        return True
    return has_input(raw._writer.get_extra_info("socket").fileno())


async def _end(raw: Any) -> None:
    """Close a connection of redis-py at once.

    It would otherwise stay open until the server has read what was written to it and, with TLS, has ended its side.
    """
    if raw._writer is not None:
        raw._writer.transport.abort()
    await raw.disconnect(nowait=True)
