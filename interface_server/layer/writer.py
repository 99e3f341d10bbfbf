"""Everything this process sends: messages and steps of one turn of the event loop go to the layer in one batch.

Senders that pass a callback get the result of their message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import (
    InvalidChannelName,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
    StepRefused,
)
from channels_classic.layers.planner import Outgoing, Planner
from channels_classic.layers.results import PushStatus
from channels_classic.layers.steps import Push, Step

from .reconnecting import ReconnectingConnection

logger = logging.getLogger("channels_classic.interface_server")


class SendResult(Enum):
    """The result of sending a message."""

    ACCEPTED = "accepted"
    FULL = "full"
    """The channel is at its capacity; nothing was written."""
    UNAVAILABLE = "unavailable"
    """The layer was down; nothing was written."""
    REFUSED = "refused"
    """The layer refused it for a reason of its own, such as a lack of memory; nothing was written."""
    LOST = "lost"
    """Unknown whether it was written. It must not be sent again."""
    INVALID = "invalid"
    """No layer can carry it: it is too large, or its channel name is invalid."""


UNSENDABLE = (InvalidChannelName, InvalidMessage, MessageTooLarge)
"""Errors that reject one message; the rest of its batch is sent."""

SendCallback = Callable[[Outgoing, SendResult], None]
_Sends = list[tuple[Outgoing, SendCallback | None]]
_Steps = list[tuple[Step, asyncio.Future[Any] | None]]
_RESULTS = {
    PushStatus.ACCEPTED: SendResult.ACCEPTED,
    PushStatus.FULL: SendResult.FULL,
    PushStatus.DEAD: SendResult.UNAVAILABLE,
}


class Writer:
    """Batches sends per loop turn, writes each batch, reports each result. The next batch gathers meanwhile."""

    def __init__(self, connection: ReconnectingConnection, planner: Planner) -> None:
        self._connection = connection
        self._planner = planner
        self._throttled_log = ThrottledLog()
        self._sends: _Sends = []
        self._steps: _Steps = []
        self._failed_posts: list[Step] = []
        self._wake: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def send(self, send: Outgoing, callback: SendCallback | None = None) -> None:
        """Send a message; `callback` is called later with its result."""
        self._sends.append((send, callback))
        self._wake_up()

    def post(self, step: Step) -> None:
        """Run a step that may be repeated, and ignore its result; if it fails, `repeat` runs it again."""
        self._steps.append((step, None))
        self._wake_up()

    def repeat(self) -> None:
        """Run the posted steps again that failed: the connection broke, or the layer refused them."""
        failed, self._failed_posts = self._failed_posts, []
        for step in failed:
            self.post(step)

    async def ask(self, step: Step) -> Any:
        """Run a step and return its result. Raises `LayerUnavailable` or `StepRefused`."""
        future = asyncio.get_running_loop().create_future()
        self._steps.append((step, future))
        self._wake_up()
        return await future

    async def try_all(self, steps: Sequence[Step]) -> list[Any]:
        """Run steps in one batch and return their results, with a `StepRefused` for each that the layer refuses.

        Raises `LayerUnavailable`.
        """
        return await asyncio.gather(*map(self._try, steps))

    async def _try(self, step: Step) -> Any:
        try:
            return await self.ask(step)
        except StepRefused as error:
            self._throttled_log.warn(logger, "%s", error)
            return error

    async def drained(self) -> None:
        """Return when every message sent so far has its result."""
        await self._idle.wait()

    def _wake_up(self) -> None:
        self._idle.clear()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self) -> None:
        """Write batches forever."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._sends and not self._steps:
                self._idle.set()
                self._wake = loop.create_future()
                # Callbacks still to run in this turn of the loop add to the batch before this coroutine continues.
                await self._wake
            await self._connection.connect()
            await self._write()

    async def _write(self) -> None:
        sends, self._sends = self._sends, []
        steps, self._steps = self._steps, []
        steps = [(step, future) for step, future in steps if future is None or not future.done()]  # others gave up
        pushes = self._plan(sends)
        try:
            results = await self._connection.run([*pushes, *(step for step, _ in steps)])
        except LayerUnavailable as error:
            self._fail(sends, SendResult.LOST if error.written else SendResult.UNAVAILABLE)
            self._answer(steps, [error] * len(steps))
            # Messages that gathered meanwhile were certainly not written, and would go out much too late.
            gathered, self._sends = self._sends, []
            self._fail(gathered, SendResult.UNAVAILABLE)
            return
        self._settle(sends, pushes, results)
        self._answer(steps, results[len(pushes) :])

    def _plan(self, sends: _Sends) -> list[Push]:
        """Return the pushes for `sends`, after removing and reporting those that no layer can carry."""
        if not sends:
            return []
        try:
            return self._planner.pushes([send for send, _ in sends], {})
        except UNSENDABLE:
            self._drop_invalid(sends)
            return self._planner.pushes([send for send, _ in sends], {})

    def _drop_invalid(self, sends: _Sends) -> None:
        for pair in list(sends):
            try:
                self._planner.pushes([pair[0]], {})
            except UNSENDABLE:
                sends.remove(pair)
                self._fail([pair], SendResult.INVALID)

    @staticmethod
    def _fail(sends: _Sends, result: SendResult) -> None:
        for send, callback in sends:
            if callback is not None:
                callback(send, result)

    def _settle(self, sends: _Sends, pushes: list[Push], results: list[Any]) -> None:
        entries = iter(sends)
        for push, result in zip(pushes, results, strict=False):
            refused = isinstance(result, StepRefused)
            if refused:
                self._throttled_log.warn(logger, "%s", result)
            for index in range(len(push.entries)):
                send, callback = next(entries)
                if callback is not None:
                    callback(send, SendResult.REFUSED if refused else _RESULTS[result[index]])

    def _answer(self, steps: _Steps, results: Sequence[Any]) -> None:
        for (step, future), result in zip(steps, results, strict=True):
            failed = isinstance(result, (LayerUnavailable, StepRefused))
            if future is None:
                if failed and not getattr(result, "foreign", False):
                    self._failed_posts.append(step)
            elif not future.done():
                if failed:
                    future.set_exception(result)
                else:
                    future.set_result(result)
