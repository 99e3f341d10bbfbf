"""The client of a request, as a worker sees it: its interface server is asked about it, and answers on a channel.

Nothing is remembered on either side between two questions, so nothing can expire: a question is repeated until it is
answered, or until the interface server is known to be dead. Knows nothing of requests and responses.
"""

from __future__ import annotations

import time
from typing import Any

from channels_classic.channel import Channel
from channels_classic.exceptions import RequestAborted, RequestTimeout, StepRefused
from channels_classic.layers.names import inbox_of, is_managed, random_text
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.results import PushStatus

WINDOW = 2 * 1024 * 1024
"""Bytes of a response that are sent before the interface server is asked whether it took them.

It takes them at once, whatever the client does; this bounds what the layer holds."""

INTERVAL = 0.5
"""Seconds between checks that the client is still there."""


class RemoteClient:
    """The client behind a reply channel."""

    def __init__(self, reply_channel: Channel | None) -> None:
        self.can_answer = reply_channel is not None and is_managed(inbox_of(reply_channel.name))
        """False if another program owns that channel, such as a test that acts as the client."""
        self._reply_channel: Any = reply_channel
        self._answers = f"http.request.answer?{random_text(24)}" if self.can_answer else ""
        self._number = 0

    def ask(self, part: dict[str, Any] | None = None, *, timeout: float = 60.0, **question: Any) -> dict[str, Any]:
        """Ask, and return the answer, `closed` if the interface server is dead; `part` travels with the question.

        Raises `RequestTimeout` when nothing was answered for `timeout` seconds, and what the layer raises.
        """
        layer = self._reply_channel.channel_layer
        self._number += 1
        question = {"question": {"channel": self._answers, "number": self._number, **question}}
        layer.send(self._reply_channel.name, {**(part or {}), **question})
        deadline = time.monotonic() + timeout
        while True:
            _, answer = layer.receive([self._answers], block=True)
            if answer is None:
                if self._repeat(question):
                    return {"closed": True}
                if time.monotonic() >= deadline:
                    raise RequestTimeout(f"The interface server did not answer for {timeout:g} seconds.")
            elif answer["number"] == self._number:
                return answer  # type: ignore[no-any-return]

    def _repeat(self, question: dict[str, Any]) -> bool:
        """Ask again; return True if the interface server is dead. That a channel is full does not prove it."""
        layer = self._reply_channel.channel_layer
        (push,) = layer.planner.pushes([Outgoing(self._reply_channel.name, question)], {})
        (result,) = layer.run([push._replace(alive=True)])
        return not isinstance(result, StepRefused) and PushStatus.DEAD in result

    def is_gone(self) -> bool:
        """Return True if nothing that is sent reaches the client any more; one round trip."""
        return self.can_answer and bool(self.ask()["closed"])


class PartSender:
    """Sends the parts of one response, and notices within `INTERVAL` seconds that their client left.

    With the first part it asks at once: its client may have left while the request waited for a worker.
    """

    def __init__(self, reply_channel: Channel, retry_interval: float) -> None:
        self._reply_channel = reply_channel
        self._retry_interval = retry_interval  # seconds between two attempts on a full channel
        self._client = RemoteClient(reply_channel)
        self._unconfirmed = 0
        self._ask_at = 0.0

    def send(self, part: dict[str, Any]) -> None:
        """Send a part. Raises `RequestAborted` when the client is gone, and `ChannelFull` after the expiry."""
        self._unconfirmed += len(part.get("content", b""))
        now = time.monotonic()
        is_due = self._unconfirmed >= WINDOW or now >= self._ask_at
        if not (self._client.can_answer and is_due and part.get("more_content")):
            self._when_there_is_room(self._reply_channel.send, part, immediately=True)
            return
        answer = self._when_there_is_room(self._client.ask, part)
        if answer["closed"]:
            raise RequestAborted("The client left while its response was being sent.")
        self._unconfirmed = 0
        self._ask_at = time.monotonic() + INTERVAL

    def _when_there_is_room(self, send: Any, *args: Any, **kwargs: Any) -> Any:
        layer: Any = self._reply_channel.channel_layer
        deadline = time.monotonic() + getattr(layer, "expiry", 60)
        while True:
            try:
                return send(*args, **kwargs)
            except layer.ChannelFull:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(self._retry_interval)
