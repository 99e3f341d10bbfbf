"""Recognises consumers that are coroutine functions, and those whose code has not run although they returned."""

from __future__ import annotations

import functools
from inspect import isasyncgen, isawaitable, isgenerator
from typing import Any

from asgiref.sync import iscoroutinefunction

from channels_classic.utils import name_that_thing


def is_async(consumer: Any) -> bool:
    """Return whether calling the consumer returns a coroutine, as far as its type shows."""
    while isinstance(consumer, functools.partial):
        consumer = consumer.func
    if iscoroutinefunction(consumer) or isinstance(consumer, type):
        return bool(iscoroutinefunction(consumer))
    return bool(iscoroutinefunction(getattr(type(consumer), "__call__", None)))  # noqa: B004  # that very method


def refuse_unfinished(consumer: object, result: Any) -> None:
    """Raise `TypeError` if a consumer returned an awaitable, or a generator, instead of running its code."""
    if isgenerator(result) or isasyncgen(result):
        raise TypeError(
            f"The consumer {name_that_thing(consumer)} has a yield: it returned a generator, whose code has not run. "
            "To send in parts, send each with immediately=True."
        )
    if isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise TypeError(
            f"The consumer {name_that_thing(consumer)} returned a coroutine, which is not awaited. Use an async def "
            "consumer without decorators, or with decorators that are async def themselves."
        )
