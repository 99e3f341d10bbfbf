"""Numbered messages to a recoverable group, and the clients that follow them through every loss of their network."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.project.feed import FEED, KEPT
from channels_classic.layers.redis import RedisChannelLayer

INTERVAL = 0.1
"""Seconds between two messages."""

JOIN_TIMEOUT = 30.0
"""Seconds within which all clients must have joined."""


class Feed:
    """Sends a message each interval, until it is stopped, to the layer that `REDIS_URL` names."""

    def __init__(self) -> None:
        self.sent = 0
        self._layer = RedisChannelLayer(hosts=[os.environ["REDIS_URL"]])
        self._is_stopping = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._is_stopping:
            await self._layer.send_group_async(FEED, {"text": str(self.sent)}, **KEPT)
            self.sent += 1
            await asyncio.sleep(INTERVAL)

    async def stop(self) -> None:
        """Send no more."""
        self._is_stopping = True
        await self._task
        await self._layer.close_async()


async def all_joined(followers: Sequence[Follower]) -> None:
    """Wait until each is a member: it has been given a cursor then."""
    deadline = time.monotonic() + JOIN_TIMEOUT
    while waiting := sum(not follower.cursor for follower in followers):
        if time.monotonic() > deadline:
            sys.exit(f"{waiting} of {len(followers)} clients have not joined the group after {JOIN_TIMEOUT:g} s.")
        await asyncio.sleep(0.05)


async def all_arrived(followers: Sequence[Follower], sent: int, timeout: float) -> int:
    """Return how many deliveries are missing, once there are none or `timeout` seconds are over."""
    deadline = time.monotonic() + timeout
    while (missing := sum(sent - len(follower.seen) for follower in followers)) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return missing


@dataclass
class Follower:
    """The numbers that a client has seen, over all of its sockets, and its cursor."""

    cursor: str = ""
    seen: set[int] = field(default_factory=set)
    twice: int = 0
    gaps: int = 0

    @property
    def protocols(self) -> str:
        """The sub-protocols to offer, as a header."""
        cursors = json.dumps({FEED: self.cursor} if self.cursor else {}).encode()
        return f"channels.recover.v1, channels.cursors.{base64.urlsafe_b64encode(cursors).decode().rstrip('=')}"

    def receive(self, text: bytes) -> bytes:
        """Note a message, and return it, without the line before it."""
        line, _, message = text.partition(b"\n")
        group, *rest = line.decode().split(" ")
        if group:
            self.cursor = rest[0]
            self.gaps += rest[-1] == "gap"
        if group and len(rest) == 1:
            number = int(message)
            self.twice += number in self.seen
            self.seen.add(number)
        return message
