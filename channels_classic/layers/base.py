"""The channel layer as user code sees it: the 1.x methods, their asyncio twins, and methods that both programs use.

`flows` has each operation, written once. The two sets of methods only carry its steps: `run` in a thread, `run_async`
on an event loop. A layer adds the connections.
"""

from __future__ import annotations

import math
import warnings
from asyncio import AbstractEventLoop, Task, get_running_loop
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from channels_classic.exceptions import ChannelFull, LayerUnavailable, MessageTooLarge, StepRefused
from channels_classic.layers import names
from channels_classic.layers.capacity import LARGEST, Capacities, Patterns
from channels_classic.layers.flows import Flow, Flows, Received
from channels_classic.layers.history import SECONDS
from channels_classic.layers.legacy_names import LegacyNames
from channels_classic.layers.losses import Losses
from channels_classic.layers.planner import Delivery, Planner, Report
from channels_classic.layers.pool import ConnectionPool, Multiplexer
from channels_classic.layers.results import Taken
from channels_classic.layers.steps import AsyncConnection, Connection, PutBack, Step, waits

T = TypeVar("T")

BLOCK = 5.0
"""Seconds for which `receive(block=True)` waits before it returns `(None, None)`."""

BeforeRun = Callable[["BaseChannelLayer", Sequence[Step]], None]

before_run: ContextVar[BeforeRun | None] = ContextVar("channels_classic_before_run", default=None)
"""Called with the layer and the steps before a thread carries them out. A worker, which collects what its consumers
send, writes first what these steps must not overtake."""


class BaseChannelLayer(LegacyNames):
    """The methods of every channel layer.

    `expiry` and `group_expiry` are in seconds, `capacity` in unread messages per channel (for a process-local channel:
    per client); `channel_capacity` maps patterns to capacities. Subclasses provide connections.
    """

    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge
    extensions: ClassVar[list[str]] = ["groups", "presence", "flush", "async", "statistics"]

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
    ) -> None:
        for name, value in {"expiry": expiry, "group_expiry": group_expiry, "capacity": capacity}.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"`{name}` is {value!r}: expected a number.")
            if not (0 < value < math.inf or (name == "capacity" and value == 0)):
                raise ValueError(f"`{name}` is {value!r}: expected a finite number above 0.")
            if name == "capacity" and not isinstance(value, int):
                raise ValueError(f"`capacity` is {value!r}: expected a whole number, 0 or more.")
            if value > LARGEST:
                raise ValueError(f"`{name}` is {value!r}: expected at most {LARGEST}.")
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.channel_capacity = channel_capacity or {}
        self.losses = Losses()
        self.planner = Planner(expiry, group_expiry, Capacities(capacity, channel_capacity), self.losses)
        self._flows = Flows(self.planner)
        self._pool = ConnectionPool(self.connect)
        self._returns: set[Task[None]] = set()
        self._multiplexers: dict[AbstractEventLoop, Multiplexer] = {}

    # What a layer provides

    def connect(self) -> Connection:
        """A connection for one thread. Raises `LayerUnavailable`."""
        raise NotImplementedError

    async def connect_async(self) -> AsyncConnection:
        """A connection for the running event loop. Raises `LayerUnavailable`."""
        raise NotImplementedError

    async def start(self) -> None:
        """Called once by an interface server, before it uses the layer."""

    async def stop(self) -> None:
        """Called once by an interface server, after it used the layer."""

    # The synchronous face

    def send(self, channel: str, message: dict[str, Any]) -> None:
        """Put a message on a channel.

        Raises `ChannelFull` (the message was not sent), `MessageTooLarge`, `InvalidChannelName`, `InvalidMessage`, and
        `LayerUnavailable`: if `written`, it is unknown whether it was sent, and it must not be sent again. ASGI draft,
        "Specification Details".
        """
        self._drive(self._flows.send(channel, message))

    def receive(self, channels: Sequence[str], block: bool = False) -> Received:
        """The next message of any of the channels as `(channel, message)`, or `(None, None)`.

        With `block` it waits some seconds. The message has left the layer: if the caller fails now, it is lost. A
        connection that breaks meanwhile may lose what was being handed out; it is never handed out twice.
        """
        return self._drive(self._flows.receive(channels, BLOCK if block else 0.0))

    def receive_many(self, channels: Sequence[str], block: bool = False) -> Received:
        """The old name of `receive`."""
        warnings.warn("receive_many is deprecated: use receive", DeprecationWarning, stacklevel=2)
        return self.receive(channels, block)

    def new_channel(self, pattern: str) -> str:
        """A fresh name from a pattern that ends in `?`. It is not reserved, but cannot be guessed.

        If the connection breaks nothing happened. Raises `InvalidChannelName`.
        """
        return self._drive(self._flows.new_channel(pattern))

    def group_add(
        self,
        group: str,
        channel: str,
        who: str | None = None,
        info: dict[str, Any] | None = None,
        after: str | None = None,
        keep: int = 0,
    ) -> None:
        """Make a channel a member, or renew its membership; complete for every sender when this returns.

        With `who` it is known to `group_presence` who is at the channel, and `info` about it. With `keep`, as in
        `send_group`, it first gets what the group keeps after the cursor `after`. If the connection breaks
        (`LayerUnavailable`) it is done or not; doing it again is harmless. Raises `InvalidPresence`.
        """
        self._drive(self._flows.group_add(group, channel, who, info, after, keep))

    def group_discard(self, group: str, channel: str) -> None:
        """End a membership, if there is one; complete for every sender when this returns.

        If the connection breaks (`LayerUnavailable`) it is done or not; doing it again is harmless.
        """
        self._drive(self._flows.group_discard(group, channel))

    def group_channels(self, group: str) -> list[str]:
        """The members of a group, without those that expired and the clients of interface servers that are gone."""
        return self._drive(self._flows.group_channels(group))

    def group_count(self, group: str) -> int:
        """Return the number of members that `group_channels` would name, without naming them."""
        return self._drive(self._flows.group_count(group))

    def group_presence(self, group: str) -> dict[str, list[dict[str, Any]]]:
        """Return who is in a group: for each `who` the `info` of each of their sockets.

        Members that were added without `who` are left out, and so are clients of interface servers that are gone.
        """
        return self._drive(self._flows.group_presence(group))

    def send_group(
        self, group: str, message: dict[str, Any], but: str = "", keep: int = 0, seconds: float = SECONDS
    ) -> None:
        """Send a message to every member, except for the channel `but`.

        With `keep` the group keeps its last messages, as many as that and each for `seconds`, for members that come
        back. Members that are full miss it, and are counted; it never raises `ChannelFull`. If the connection breaks,
        or the layer refuses a part, some may have it and some not: `LayerUnavailable`, and unless its `written` is
        false it must not be sent again.
        """
        self._drive(self._flows.send_group(group, message, but, keep, seconds))

    def flush(self) -> None:
        """Drop all messages, groups and statistics, for every process; if the connection breaks, maybe only some."""
        self._drive(self._flows.flush())

    def global_statistics(self) -> dict[str, int]:
        """Return the number of messages that all channels accepted and refused, and of those lost, by kind.

        Since counting began: a week without messages, a flush or the end of the layer's data begin it anew. ASGI draft,
        "Statistics".
        """
        return self._drive(self._flows.statistics(None))

    def channel_statistics(self, channel: str) -> dict[str, int]:
        """The same for one channel, and how many messages wait, with the age of the oldest in seconds.

        The clients of an inbox are counted together.
        """
        return self._drive(self._flows.statistics(names.inbox_of(names.check_channel(channel))))

    # The asyncio face

    async def send_async(self, channel: str, message: dict[str, Any]) -> None:
        """`send` on an event loop."""
        await self._drive_async(self._flows.send(channel, message))

    async def receive_async(self, channels: Sequence[str]) -> Received:
        """`receive` with `block`, on an event loop."""
        return await self._drive_async(self._flows.receive(channels, BLOCK, look=True))

    async def group_add_async(
        self,
        group: str,
        channel: str,
        who: str | None = None,
        info: dict[str, Any] | None = None,
        after: str | None = None,
        keep: int = 0,
    ) -> None:
        """`group_add` on an event loop."""
        await self._drive_async(self._flows.group_add(group, channel, who, info, after, keep))

    async def group_discard_async(self, group: str, channel: str) -> None:
        """`group_discard` on an event loop."""
        await self._drive_async(self._flows.group_discard(group, channel))

    async def group_channels_async(self, group: str) -> list[str]:
        """`group_channels` on an event loop."""
        return await self._drive_async(self._flows.group_channels(group))

    async def group_count_async(self, group: str) -> int:
        """`group_count` on an event loop."""
        return await self._drive_async(self._flows.group_count(group))

    async def group_presence_async(self, group: str) -> dict[str, list[dict[str, Any]]]:
        """`group_presence` on an event loop."""
        return await self._drive_async(self._flows.group_presence(group))

    async def send_group_async(
        self, group: str, message: dict[str, Any], but: str = "", keep: int = 0, seconds: float = SECONDS
    ) -> None:
        """`send_group` on an event loop."""
        await self._drive_async(self._flows.send_group(group, message, but, keep, seconds))

    async def global_statistics_async(self) -> dict[str, int]:
        """`global_statistics` on an event loop."""
        return await self._drive_async(self._flows.statistics(None))

    async def channel_statistics_async(self, channel: str) -> dict[str, int]:
        """`channel_statistics` on an event loop."""
        return await self._drive_async(self._flows.statistics(names.inbox_of(names.check_channel(channel))))

    def open(self, taken: Taken) -> tuple[list[Delivery], list[Report]]:
        """Return the messages of a `Take`, and reports for the gates of those that were lost, which are counted."""
        return self.planner.open(taken)

    # How steps are carried

    def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps, in order, in one round trip; a `StepRefused` is among the results, not raised."""
        before = before_run.get()
        if before is not None:
            before(self, steps)
        return self._pool.run(steps)

    async def run_async(self, steps: Sequence[Step]) -> list[Any]:
        """`run` on an event loop, for steps that do not wait."""
        return await self._on_this_loop().run(steps)

    def _on_this_loop(self) -> Multiplexer:
        loop = get_running_loop()
        pool = self._multiplexers.get(loop)
        if pool is None:
            # Loops that are over take their connections with them.
            self._multiplexers = {other: kept for other, kept in self._multiplexers.items() if not other.is_closed()}
            pool = self._multiplexers[loop] = Multiplexer(self.connect_async, self._give_back)
        return pool

    def _give_back(self, results: Sequence[Any]) -> None:
        """Put back what a coroutine took that was cancelled before it had it."""
        for taken in results:
            if isinstance(taken, Taken):
                work = get_running_loop().create_task(self._put_back(taken))
                self._returns.add(work)
                work.add_done_callback(self._returns.discard)

    async def _put_back(self, taken: Taken) -> None:
        _, reports = self.open(replace(taken, items=[]))  # counts what was lost
        steps: list[Step] = [*self.planner.pushes([], {}, reports)]
        if taken.items:
            steps.append(PutBack(taken.queue, taken.items))
        lost = len(taken.items)
        try:
            results = await self.run_async(steps)
            if results and not isinstance(results[-1], StepRefused):
                lost = 0
        except LayerUnavailable:
            pass  # counted
        finally:
            if lost:
                self.losses.count("broker", taken.queue, lost)

    def close(self) -> None:
        """Close the connections that nobody uses now; the layer remains usable."""
        self._pool.close()

    async def close_async(self) -> None:
        """Close the connections of the running event loop; the layer remains usable."""
        pool = self._multiplexers.pop(get_running_loop(), None)
        if pool is not None:
            await pool.close()

    def _drive(self, flow: Flow[T]) -> T:
        try:
            steps = next(flow)
            while True:
                try:
                    results = self.run(steps)
                except LayerUnavailable as error:
                    steps = flow.throw(error)
                else:
                    steps = flow.send(results)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            flow.close()

    async def _drive_async(self, flow: Flow[T]) -> T:
        pool = self._on_this_loop()
        try:
            steps = next(flow)
            while True:
                run = pool.run_alone if any(map(waits, steps)) else pool.run
                try:
                    results = await run(steps)
                except LayerUnavailable as error:
                    steps = flow.throw(error)
                else:
                    steps = flow.send(results)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            flow.close()

    def __str__(self) -> str:
        return type(self).__name__
