"""Which consumers are coroutine functions."""

from __future__ import annotations

import functools
from inspect import isawaitable
from typing import Any

from asgiref.sync import iscoroutinefunction

from channels_classic.utils import name_that_thing


def is_async(consumer: Any) -> bool:
    """Whether calling it gives a coroutine, as far as can be told without doing it."""
    while isinstance(consumer, functools.partial):
        consumer = consumer.func
    if iscoroutinefunction(consumer) or isinstance(consumer, type):
        return bool(iscoroutinefunction(consumer))
    return bool(iscoroutinefunction(getattr(type(consumer), "__call__", None)))  # noqa: B004  # that very method


def refuse_awaitable(consumer: object, result: Any) -> None:
    """Raise `TypeError` for a consumer that gave something to be awaited, without having told by its kind."""
    if isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise TypeError(
            f"The consumer {name_that_thing(consumer)} gave a coroutine, which nothing awaits: an async def consumer "
            "works without decorators, or with decorators that are async themselves."
        )
