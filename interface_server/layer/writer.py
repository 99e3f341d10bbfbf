"""Everything this process sends: what one turn of the event loop brings together crosses to the layer in one trip.

In come messages and steps, in order; out goes, for each message whose sender asked, what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from channels_classic.exceptions import (
    InvalidChannelName,
    InvalidMessage,
    LayerUnavailable,
    MessageTooLarge,
    StepRefused,
)
from channels_classic.layers.planner import Planner, Send
from channels_classic.layers.steps import Push, Status, Step

from .reconnecting import Link


class Fate(Enum):
    """What became of a message."""

    ACCEPTED = "accepted"
    FULL = "full"
    """The channel holds its capacity; nothing was written."""
    HELD = "held"
    """The layer was away or refused; nothing was written."""
    LOST = "lost"
    """Nobody knows whether it was written. It must not be sent again."""
    INVALID = "invalid"
    """No layer carries it: it is too large, or for no channel."""


UNSENDABLE = (InvalidChannelName, InvalidMessage, MessageTooLarge)
"""What one message is refused for; those that are to leave with it are not."""

Settled = Callable[[Send, Fate], None]
_FATES = {Status.ACCEPTED: Fate.ACCEPTED, Status.FULL: Fate.FULL, Status.DEAD: Fate.HELD}


class Writer:
    """Collects, writes, tells. One `run` is under way at a time; meanwhile the next batch gathers."""

    def __init__(self, link: Link, planner: Planner) -> None:
        self._link = link
        self._planner = planner
        self._sends: list[tuple[Send, Settled | None]] = []
        self._steps: list[tuple[Step, asyncio.Future[Any] | None]] = []
        self._wake: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def send(self, send: Send, settled: Settled | None = None) -> None:
        """Send a message; `settled` is called later with its fate."""
        self._sends.append((send, settled))
        self._awake()

    def post(self, step: Step) -> None:
        """Have a step carried out whose result nobody wants."""
        self._steps.append((step, None))
        self._awake()

    async def ask(self, step: Step) -> Any:
        """The result of a step. Raises `LayerUnavailable`, or `StepRefused`."""
        future = asyncio.get_running_loop().create_future()
        self._steps.append((step, future))
        self._awake()
        return await future

    async def drained(self) -> None:
        """Return once everything that was sent has its fate."""
        await self._idle.wait()

    def _awake(self) -> None:
        self._idle.clear()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self) -> None:
        """Write for as long as the process lives."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._sends and not self._steps:
                self._idle.set()
                self._wake = loop.create_future()
                # Whoever is still to run in this turn of the loop adds to the batch before this coroutine goes on.
                await self._wake
            await self._link.connect()
            await self._write()

    async def _write(self) -> None:
        sends, self._sends = self._sends, []
        steps, self._steps = self._steps, []
        pushes = self._plan(sends)
        try:
            results = await self._link.run([*pushes, *(step for step, _ in steps)])
        except LayerUnavailable as error:
            self._fail(sends, Fate.LOST if error.written else Fate.HELD)
            for _, future in steps:
                if future is not None and not future.done():
                    future.set_exception(error)
            # What gathered meanwhile was not written for certain, and would go out much too late.
            gathered, self._sends = self._sends, []
            self._fail(gathered, Fate.HELD)
            return
        self._settle(sends, pushes, results)
        self._answer(steps, results[len(pushes) :])

    def _plan(self, sends: list[tuple[Send, Settled | None]]) -> list[Push]:
        """The pushes for `sends`, from which those that no layer carries are taken out and settled."""
        if not sends:
            return []
        try:
            return self._planner.pushes([send for send, _ in sends], {})
        except UNSENDABLE:
            self._weed(sends)
            return self._planner.pushes([send for send, _ in sends], {})

    def _weed(self, sends: list[tuple[Send, Settled | None]]) -> None:
        for pair in list(sends):
            try:
                self._planner.pushes([pair[0]], {})
            except UNSENDABLE:
                sends.remove(pair)
                self._fail([pair], Fate.INVALID)

    @staticmethod
    def _fail(sends: Sequence[tuple[Send, Settled | None]], fate: Fate) -> None:
        for send, settled in sends:
            if settled is not None:
                settled(send, fate)

    def _settle(self, sends: list[tuple[Send, Settled | None]], pushes: list[Push], results: list[Any]) -> None:
        entries = iter(sends)
        for push, result in zip(pushes, results, strict=False):
            refused = isinstance(result, StepRefused)
            for index in range(len(push.entries)):
                send, settled = next(entries)
                if settled is not None:
                    settled(send, Fate.HELD if refused else _FATES[result[index]])

    @staticmethod
    def _answer(steps: list[tuple[Step, asyncio.Future[Any] | None]], results: Sequence[Any]) -> None:
        for (_, future), result in zip(steps, results, strict=True):
            if future is None or future.done():
                continue
            if isinstance(result, StepRefused):
                future.set_exception(result)
            else:
                future.set_result(result)
