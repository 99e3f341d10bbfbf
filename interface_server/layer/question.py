"""Questions that workers ask about a client: is it still there, and what comes next in the body of its request?

A question is in a message to the client's reply channel, alone or with a part of the response, and names a channel for
the answer. The answer repeats its number. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from channels_classic.layers.names import check_channel
from channels_classic.layers.planner import Outgoing

MAX_OFFSET = 2**63 - 1
"""The largest offset of a file; more overflow in C."""

QUESTION = "question"
"""The key of a message under which it is."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a worker about a client; with an `offset` also a chunk of the body from there."""

    channel: str
    number: int
    offset: int | None = None

    def answer(self, *, closed: bool, chunk: Mapping[str, Any]) -> Outgoing:
        """Return the answer; `closed` means that nothing the worker sends reaches the client any more."""
        return Outgoing(self.channel, {"number": self.number, "closed": closed, **chunk})


def question_of(message: Mapping[str, Any]) -> Question | None:
    """Return the question in a message, None if it has none that can be answered."""
    found = message.get(QUESTION)
    if not isinstance(found, dict):
        return None
    channel, number, offset = found.get("channel"), found.get("number"), found.get("offset")
    if not isinstance(channel, str) or not isinstance(number, int):
        return None
    if offset is not None and not (isinstance(offset, int) and 0 <= offset <= MAX_OFFSET):
        return None
    try:
        return Question(check_channel(channel), number, offset)
    except TypeError:
        return None
