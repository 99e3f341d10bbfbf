"""Announces who came to a group and who left: takes the notices of the layer and sends them as messages.

Only workers that listen on one of these channels do that, so a site without such routes pays nothing. A notice is
taken by one worker alone; it is sent where a route would take it, once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any

from channels_classic.exceptions import ChannelFull, InvalidChannelLayerError, LayerUnavailable, StepRefused
from channels_classic.layers.losses import kind_of
from channels_classic.layers.presence import read_info
from channels_classic.layers.results import Notice
from channels_classic.layers.steps import TakeNotices
from channels_classic.message import Message

from .context import Context
from .outstanding import RETRY_TIME

logger = logging.getLogger("channels_classic.worker")

CHANNELS = {True: "group.join", False: "group.leave"}
"""The channel for arrivals, and the one for departures."""

INTERVAL = 1.0
"""Seconds between two looks for notices."""

AT_ONCE = 100
"""Notices that are taken together."""

_PAUSE = 0.1
"""Seconds between attempts to send to a full channel."""


class PresenceAnnouncer:
    """A thread that announces until it is stopped, if the worker listens on one of `CHANNELS`."""

    def __init__(self, context: Context, channels: Collection[str]) -> None:
        self._context = context
        self._is_wanted = not {*CHANNELS.values()}.isdisjoint(channels)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-announcer", daemon=True)
        self._taken: deque[Notice] = deque()
        self._taken_at = 0.0

    def start(self) -> None:
        """Start the thread, if it is wanted."""
        if self._is_wanted:
            self._thread.start()

    def stop(self) -> None:
        """Finish what was taken, and end the thread."""
        self._stopping.set()
        if self._is_wanted:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._announce() == AT_ONCE:
                    continue
            except (InvalidChannelLayerError, LayerUnavailable, StepRefused) as error:
                logger.debug("No notices can be taken or sent: %s", error)  # the worker reports it, or ends with it
            except Exception:
                logger.exception("The announcer failed and continues.")
            self._stopping.wait(INTERVAL)
        if self._taken:
            self._announce()

    def _announce(self) -> int:
        """Take and send notices; return how many there were.

        Raises the error of a layer that does not take them. They stay here, and no others are taken before they are
        sent, until they are older than a message may be.
        """
        if not self._taken:
            (found,) = self._context.layer.run([TakeNotices(AT_ONCE)])
            if isinstance(found, StepRefused):
                raise found
            self._taken.extend(found)
            self._taken_at = self._context.clock()
        count = len(self._taken)
        while self._taken:
            try:
                self._send(self._taken[0])
            except Exception as error:
                is_written = isinstance(error, LayerUnavailable) and error.written
                if isinstance(error, (LayerUnavailable, StepRefused)) and not is_written and self._may_wait:
                    raise
                self._lose(self._taken[0], error)
            self._taken.popleft()
        return count

    @property
    def _may_wait(self) -> bool:
        return self._context.clock() < self._taken_at + self._context.layer.expiry and not self._stopping.is_set()

    def _lose(self, notice: Notice, error: Exception) -> None:
        channel = CHANNELS[notice.arrived]
        self._context.layer.losses.count(kind_of(error), channel)
        logger.error("Lost a message for %s about the group %s: %s", channel, notice.group, error)

    def _send(self, notice: Notice) -> None:
        channel, wrapper = CHANNELS[notice.arrived], self._context.wrapper
        content = {"group": notice.group, "who": notice.identity.who, "info": read_info(notice.identity)}
        if wrapper.router.match(Message(content, channel, wrapper)) is None:
            return
        deadline = self._context.clock() + RETRY_TIME
        while not self._is_sent(channel, content, deadline):
            time.sleep(_PAUSE)

    def _is_sent(self, channel: str, content: dict[str, Any], deadline: float) -> bool:
        try:
            self._context.wrapper.send(channel, content)
        except ChannelFull:
            if self._context.clock() >= deadline or self._stopping.is_set():
                raise
            return False
        return True
