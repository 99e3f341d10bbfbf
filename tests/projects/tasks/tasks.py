"""Tasks, as a project writes them."""

from __future__ import annotations

from typing import Any

from django.tasks import task

calls: list[Any] = []


@task
def add(a: int, b: int = 0) -> int:
    calls.append((a, b))
    return a + b


@task(takes_context=True)
def attempt(context: Any) -> None:
    calls.append(context.task_result.id)


@task(queue_name="slow")
async def slowly(text: str) -> str:
    calls.append(text)
    return text


@task
def broken() -> None:
    raise ZeroDivisionError("this task is broken")


def plain() -> None:
    """Not a task."""
