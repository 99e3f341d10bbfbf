"""Parts of a response that an asynchronous iterator makes, for a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from sqlite3 import ProgrammingError
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections, transaction

from channels_classic import _async_parts
from channels_classic._async_parts import AsyncParts
from channels_classic.exceptions import RequestAborted

seen: list[str] = []


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    monkeypatch.setattr(_async_parts, "INTERVAL", 0.02)


async def parts(count: int, pause: float = 0.0) -> AsyncIterator[int]:
    task = asyncio.current_task()
    try:
        for number in range(count):
            assert asyncio.current_task() is task, "one task from the first part to the last"
            seen.append(f"makes {number}")
            yield number
            await asyncio.sleep(pause)
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise
    finally:
        seen.append("closed")


def never() -> bool:
    return False


def test_all_parts_come_in_order_and_then_the_end() -> None:
    found = AsyncParts(parts(5), never)
    assert list(found) == [0, 1, 2, 3, 4]
    assert list(found) == []
    assert seen[-1] == "closed"


def test_the_iterator_is_no_more_than_two_parts_ahead() -> None:
    found = AsyncParts(parts(100), never)
    assert next(found) == 0
    assert len(seen) <= 3
    found.close()


def test_what_the_iterator_raises_reaches_the_thread_behind_its_parts() -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise ZeroDivisionError

    found = AsyncParts(failing(), never)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_a_part_that_nobody_wants_is_not_waited_for() -> None:
    found = AsyncParts(parts(2, 3600), lambda: "makes 0" in seen)
    assert next(found) == 0
    with pytest.raises(RequestAborted):
        next(found)
    assert seen == ["makes 0", "cancelled", "closed"]


@pytest.mark.parametrize("begun", [True, False])
def test_closing_closes_the_iterator(begun: bool) -> None:
    found = AsyncParts(parts(2, 3600), never)
    if begun:
        next(found)
    found.close()
    found.close()
    assert seen[-1:] == (["closed"] if begun else [])


def test_an_iterator_that_goes_on_after_its_cancellation_is_cancelled_again() -> None:
    async def careless() -> AsyncIterator[int]:
        for number in range(100):
            with suppress(asyncio.CancelledError):
                yield number
                await asyncio.sleep(3600 if number == 1 else 0)

    found = AsyncParts(careless(), never)
    assert [next(found), next(found)] == [0, 1]
    begun = time.monotonic()
    found.close()
    assert time.monotonic() - begun < _async_parts.CLOSE_TIMEOUT / 2
    assert found._task.done()


def test_an_iterator_that_swallows_its_cancellation_does_not_hold_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_async_parts, "CLOSE_TIMEOUT", 0.1)

    async def stubborn() -> AsyncIterator[int]:
        yield 1
        while len(seen) < 100:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                seen.append("no")

    found = AsyncParts(stubborn(), never)
    assert next(found) == 1
    found.close()


@pytest.mark.django_db(transaction=True)
def test_an_iterator_leaves_its_database_connection_and_transaction_to_nobody() -> None:
    def leave() -> Any:
        seen.append(str(connections["default"].in_atomic_block))
        transaction.atomic().__enter__()
        return connections["default"].connection

    async def leaving() -> AsyncIterator[Any]:
        yield await sync_to_async(leave)()

    first, second = [*AsyncParts(leaving(), never), *AsyncParts(leaving(), never)]
    assert seen == ["False", "False"]
    assert first is not second
    with pytest.raises(ProgrammingError, match="closed"):
        first.execute("SELECT 1")


def test_what_an_iterator_does_when_it_is_closed_is_done_in_its_own_thread() -> None:
    async def threads() -> AsyncIterator[int]:
        try:
            yield await sync_to_async(threading.get_ident)()
            await asyncio.sleep(3600)
        finally:
            seen.append(str(await sync_to_async(threading.get_ident)()))

    found = AsyncParts(threads(), never)
    made = str(next(found))
    found.close()
    assert seen == [made]


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_cannot_be_closed_does_not_cut_off_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("the server has gone away")

    async def using() -> AsyncIterator[int]:
        yield await sync_to_async(lambda: len(connections.all()))()

    monkeypatch.setattr(connections, "close_all", fail)
    assert list(AsyncParts(using(), never)) == [1]
