"""Messages that the clients of event streams post: for a stream of this process, or of another, through the layer.

Whichever process a request arrives at, the process of the stream decides, because it knows the token and has the queue
of the client's messages. So they keep their order if the client waits for each answer.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.codec import EntryKind, encode
from channels_classic.layers.names import is_owned
from channels_classic.layers.results import PushStatus
from channels_classic.layers.steps import Entry, Push, Step

TIMEOUT = 5.0
"""Seconds for which the layer and another process may take to answer."""

MOST_WAITING = 100
"""Messages that may wait in the inbox of one process for its streams."""

_TOKEN = re.compile(r"(v\d{1,4}\.[A-Za-z0-9]{1,40})\.([0-9a-f]{1,40})\.([A-Za-z0-9_-]{1,100})")
_PREFIX = "interface."

GONE, FULL, UNAVAILABLE = 410, 429, 503


class Token(NamedTuple):
    """Names a stream and its process, and proves that the bearer is its client."""

    inbox: str
    local: str
    secret: str

    @classmethod
    def new(cls, inbox: str, local: str) -> Token:
        """Return a token that nobody can guess."""
        return cls(inbox, local, secrets.token_urlsafe(24))

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """Return the token in a text that a client sent; None if it is not one."""
        found = _TOKEN.fullmatch(text)
        token = cls(f"{_PREFIX}{found[1]}!", found[2], found[3]) if found else None
        return token if token is not None and is_owned(token.inbox) else None

    def __str__(self) -> str:
        return f"{self.inbox.removeprefix(_PREFIX).removesuffix('!')}.{self.local}.{self.secret}"


class Inlet(Protocol):
    """A stream that takes messages."""

    def post(self, secret: str, path: str, text: str) -> int:
        """Take a message; return the HTTP status of the answer."""


class Posts:
    """The streams of one process, and the questions to other processes that are not answered yet."""

    def __init__(
        self,
        inbox: str,
        ask: Callable[[Step], Awaitable[Any]],
        post: Callable[[Step], None],
        is_available: Callable[[], bool],
    ) -> None:
        self._inbox = inbox
        self._ask = ask
        self._post = post
        self._is_available = is_available
        self._inlets: dict[str, Inlet] = {}
        self._answers: dict[str, asyncio.Future[int]] = {}

    def open(self, local: str, inlet: Inlet) -> Token:
        """Let a stream take messages; return its token."""
        self._inlets[local] = inlet
        return Token.new(self._inbox, local)

    def close(self, local: str) -> None:
        """Record that a stream has ended."""
        self._inlets.pop(local, None)

    def is_known_dead(self, token: Token) -> bool:
        """Return True for a token of this process whose stream has ended, or never existed."""
        return token.inbox == self._inbox and token.local not in self._inlets

    async def send(self, token: Token, path: str, text: str) -> int:
        """Pass a message to its stream; return the HTTP status of the answer."""
        if token.inbox == self._inbox:
            return self._take(token.local, token.secret, path, text)
        if not self._is_available():
            return UNAVAILABLE
        number = secrets.token_hex(8)
        self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(self._relay(token, path, text, number), TIMEOUT)
        except (LayerUnavailable, StepRefused, asyncio.TimeoutError):
            return UNAVAILABLE
        finally:
            del self._answers[number]

    async def _relay(self, token: Token, path: str, text: str, number: str) -> int:
        payload = encode(EntryKind.POST, token.local, token.secret, path, text, self._inbox, number)
        entry = Entry(payload, TIMEOUT, "@post", MOST_WAITING)
        (status,) = await self._ask(Push(token.inbox, [entry], alive=True))
        if status is not PushStatus.ACCEPTED:
            return FULL if status is PushStatus.FULL else GONE
        return await self._answers[number]

    def _take(self, local: str, secret: str, path: str, text: str) -> int:
        inlet = self._inlets.get(local)
        return GONE if inlet is None else inlet.post(secret, path, text)

    # Entries of the inbox

    def received(self, local: str, secret: str, path: str, text: str, inbox: str, number: str, *_: object) -> None:
        """Take a message that arrived at another process, and answer that."""
        status = self._take(local, secret, path, text)
        self._post(Push(inbox, [Entry(encode(EntryKind.POSTED, number, status), TIMEOUT)], alive=True))

    def answered(self, number: str, status: int, *_: object) -> None:
        """Record the answer of another process."""
        answer = self._answers.get(number)
        if answer is not None and not answer.done():
            answer.set_result(status)
