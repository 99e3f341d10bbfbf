"""A thread's connection to one shard: write steps without waiting, read results one by one, send nothing twice.

This file and `connection_async` lean on private parts of redis-py (`_sock`, `_writer`): redis-py opens the socket and
authenticates; from then on this module decides when to write and how long to wait. A command whose reply was lost may
have been carried out, so nothing is repeated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import redis

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.losses import Losses
from channels_classic.layers.pool import has_input
from channels_classic.layers.redis.commands import Command, CommandBuilder, unblock
from channels_classic.layers.redis.connector import Connector
from channels_classic.layers.redis.protocol import LOST, TIME, RedisProtocol, new_reader, packed
from channels_classic.layers.steps import Step, Take

READ = 64 * 1024
"""Bytes to ask for in one read."""


class RedisConnection:
    """A `Connection` to one shard, for one thread."""

    def __init__(self, connector: Connector, builder: CommandBuilder, losses: Losses) -> None:
        self._protocol = RedisProtocol(connector, builder, losses)
        self._connector = connector
        self._raw = connector.open()
        self._unread: deque[tuple[Step | None, int]] = deque()
        self._blocked = False
        self._woken = False
        self._control: Any = None
        self._guard(self._attach)

    def _attach(self) -> None:
        self._raw.connect()
        self._reader = new_reader()
        introduction = self._ask(self._protocol.introduction())
        self._client_id = introduction[1]
        reply = self._ask(self._protocol.handshake(introduction))[-1]
        former = self._protocol.former(reply)
        if former is not None:
            proof = self._connector.find_proof(self._raw, former, reply[1].decode())
            (reply,) = self._ask([self._protocol.proven(proof)])
        self._protocol.registered(reply)

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        self._raw._sock.sendall(packed(commands))
        return self._protocol.check(commands, [self._reply(self._connector.reply_timeout) for _ in commands])

    def write(self, steps: Sequence[Step]) -> None:
        self._guard(lambda: self._write(steps))

    def _write(self, steps: Sequence[Step]) -> None:
        blocking = any(isinstance(step, Take) and step.timeout for step in steps)
        self._blocked = self._blocked or blocking  # before `_woken` is read: `wake` looks at them the other way round
        if blocking and self._woken:
            steps = [replace(step, timeout=0.0) if isinstance(step, Take) else step for step in steps]
        pending = self._protocol.pending_commands()
        commands, counts = self._protocol.commands(steps)
        if pending:
            self._unread.append((None, len(pending)))
        self._unread.extend(zip(steps, counts, strict=True))
        self._raw._sock.sendall(packed([*pending, *commands]))

    def read(self) -> Any:
        return self._guard(self._read)

    def _read(self) -> Any:
        step, count = self._unread.popleft()
        timeout = self._connector.reply_timeout + (step.timeout if isinstance(step, Take) else 0.0)
        replies = [self._reply(timeout) for _ in range(count)]
        if step is None:
            self._protocol.settle(replies)
            return self._read()
        if isinstance(step, Take):
            self._blocked = self._woken = False
            if not self._unread and self._protocol.needs_time(step, replies):
                self._raw._sock.sendall(packed([TIME]))
                replies[1] = self._reply(self._connector.reply_timeout)  # an error too: what was taken is counted
        return self._protocol.result(step, replies)

    def _reply(self, timeout: float) -> Any:
        while (reply := self._reader.gets()) is False:
            raw = self._raw._sock
            if raw.gettimeout() != timeout:
                raw.settimeout(timeout)
            data = raw.recv(READ)
            if not data:
                raise redis.ConnectionError("it closed the connection")
            self._reader.feed(data)
        return reply

    def _guard(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (*LOST, redis.ResponseError) as error:
            self.close()
            raise error if isinstance(error, LayerUnavailable) else self._connector.unavailable(error) from error

    def usable(self) -> bool:
        try:
            # No reply is outstanding, so readable data is the end of the connection.
            alive = self._raw.is_connected and not self._raw.can_read(timeout=0)
            return bool(alive) and not self._protocol.misplaced
        except (*LOST, redis.ResponseError):
            return False

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        number: int = self._raw._sock.fileno()
        return number

    def unblock(self) -> None:
        """Ask the server once, from the reading thread, to end the take that blocks. Raise `LayerUnavailable`."""
        try:
            if self._control is not None and has_input(self._control._sock.fileno()):
                # Nothing is unread there, so the server closed it while it idled.
                self._control.disconnect()
                self._control = None
            if self._control is None:
                self._control = self._connector.sibling(self._raw)
                self._control.connect()
            self._send_unblock(self._control)
        except (*LOST, redis.ResponseError) as error:
            if self._control is not None:
                self._control.disconnect()
                self._control = None
            raise self._connector.unavailable(error) from error

    def wake(self) -> None:
        self._woken = True
        if not self._blocked:
            return
        # `CLIENT UNBLOCK` has no effect before the server has begun to block, so it is repeated until the reply was
        # read. The reply may still bring messages, so the read is never cut short from this side.
        raw = self._connector.sibling(self._raw)
        with suppress(*LOST, redis.ResponseError):
            raw.connect()
            while self._blocked:
                self._send_unblock(raw)
                time.sleep(0.005)
        raw.disconnect()

    def _send_unblock(self, control: Any) -> None:
        control.send_packed_command([packed(unblock(self._client_id))])
        with suppress(redis.ResponseError):
            control.read_response()
        control.read_response()

    def close(self) -> None:
        self._blocked = False
        self._raw.disconnect()
        if self._control is not None:
            self._control.disconnect()
