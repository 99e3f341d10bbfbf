"""A backend for the tasks of Django 6: each task is a message on a channel, and workers run it, at most once.

`enqueue` sends to the channel of the task's queue, `run_task` is the consumer. A task that runs later passes
through the delay server. Importable from Django 6 on.
"""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Info
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import import_string

try:
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json
except ImportError as error:
    raise ImportError("channels_classic.tasks needs Django 6 or later, which has django.tasks.") from error

from channels_classic.asgi import channel_layers
from channels_classic.channel import Channel
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import ChannelsError, InvalidChannelName
from channels_classic.layers.names import DELAY_CHANNEL, check_channel
from channels_classic.message import Message

__all__ = ["ChannelTasksBackend", "run_task"]

DELAY_APP = "channels_classic.delay"

AT_MOST_ONCE = (
    "Tasks run at most once: one whose worker is killed, or that waits for longer than the layer's expiry, is not run "
    "again."
)


class ChannelTasksBackend(BaseTaskBackend):
    """Runs tasks in the workers of a channel layer, *at most once*: what a crash interrupts is not run again.

    A task of the queue `name` is a message on the channel `tasks.name`, for which a route names `run_task`. It
    expires like any message, and `enqueue` raises `ChannelFull` when too many wait. A `run_after` goes through
    the delay server. Results are not kept: use the signals of `django.tasks`. `OPTIONS` may name the `LAYER`.
    """

    supports_defer = True
    supports_async_task = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.layer: str = self.options.get("LAYER", DEFAULT_CHANNEL_LAYER)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Send a task to its channel as `Channel.send` does: inside a consumer when that returns.

        Raises `InvalidTask`, and what `Channel.send` raises.
        """
        self.validate_task(task)
        result: Any = TaskResult(
            task=task,
            id=secrets.token_urlsafe(24),
            status=TaskResultStatus.READY,  # type: ignore[arg-type]  # the stubs know no members
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        self._send(task, _content(result))
        task_enqueued.send(type(self), task_result=result)
        return result

    def _send(self, task: Any, content: dict[str, Any]) -> None:
        name = channel_of(task.queue_name)
        if task.run_after is None:
            Channel(name, alias=self.layer).send(content)
            return
        due = task.run_after if timezone.is_aware(task.run_after) else timezone.make_aware(task.run_after)
        delay = max(0.0, (due - timezone.now()).total_seconds() * 1000)
        Channel(DELAY_CHANNEL, alias=self.layer).send({"channel": name, "content": content, "delay": delay})

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Return what keeps tasks from being run, and that they run at most once."""
        return [*super().check(**kwargs), *self._mistakes(), self._info()]

    def _info(self) -> CheckMessage:
        return Info(
            f"{AT_MOST_ONCE} That is so for TASKS[{self.alias!r}].",
            hint="Silence this with SILENCED_SYSTEM_CHECKS, or use another backend for work that must not be lost.",
            id="channels_classic.I030",
        )

    def _mistakes(self) -> Iterator[CheckMessage]:
        try:
            listened = channel_layers[self.layer].router.channels
        except ChannelsError as error:
            yield Error(f"The LAYER of TASKS[{self.alias!r}] cannot be used: {error}", id="channels_classic.E030")
            return
        for queue in sorted(self.queues):
            try:
                name = check_channel(channel_of(queue))
            except InvalidChannelName as error:
                yield Error(f"The queue {queue!r} of TASKS[{self.alias!r}]: {error}", id="channels_classic.E031")
                continue
            if name not in listened:
                yield Error(
                    f"No route takes the tasks of the queue {queue!r} of TASKS[{self.alias!r}].",
                    hint=f"Add to the routing: route({name!r}, 'channels_classic.tasks.run_task').",
                    id="channels_classic.E032",
                )
        if not apps.is_installed(DELAY_APP):
            yield Info(
                f"Tasks of TASKS[{self.alias!r}] with a run_after need the delay server.",
                hint=f"Add {DELAY_APP!r} to INSTALLED_APPS, migrate, and run `manage.py rundelay`.",
                id="channels_classic.I031",
            )


def channel_of(queue: str) -> str:
    """Return the channel of a queue."""
    return f"tasks.{queue}"


def run_task(message: Message) -> None:
    """Run the task in a message; send `task_started` before and `task_finished` after it.

    Raises what the task raises, which the worker logs.
    """
    result = _result(message.content, message.channel.name)
    task = result.task
    task_started.send(type(task.get_backend()), task_result=result)
    try:
        context: tuple[Any, ...] = (TaskContext(task_result=result),) if task.takes_context else ()
        value = normalize_json(task.call(*context, *result.args, **result.kwargs))
    except BaseException as error:
        path = f"{type(error).__module__}.{type(error).__qualname__}"
        result.errors.append(TaskError(exception_class_path=path, traceback="".join(traceback.format_exception(error))))
        _finish(result, TaskResultStatus.FAILED)
        raise
    _set(result, _return_value=value)
    _finish(result, TaskResultStatus.SUCCESSFUL)


def _finish(result: Any, status: Any) -> None:
    _set(result, status=status, finished_at=timezone.now())
    task_finished.send(type(result.task.get_backend()), task_result=result)


def _set(result: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)  # Django's own backends do so: it is frozen for projects


def _content(result: Any) -> dict[str, Any]:
    return {
        "task": result.task.module_path,
        "id": result.id,
        "backend": result.backend,
        "args": result.args,
        "kwargs": result.kwargs,
        "enqueued_at": result.enqueued_at.isoformat(),
    }


def _result(content: dict[str, Any], channel: str) -> Any:
    """Return the result of the task in a message, which runs from now on. Raises `ValueError` for any other one."""
    missing = [key for key in ("task", "id", "backend", "args", "kwargs", "enqueued_at") if key not in content]
    if missing:
        raise ValueError(f"The message on {channel!r} is not a task: it has no {' and no '.join(map(repr, missing))}.")
    try:
        task = import_string(content["task"])
    except ImportError as error:
        raise ValueError(f"The task {content['task']!r} cannot be imported: {error}. Was it renamed?") from error
    if not isinstance(task, Task):
        raise ValueError(f"{content['task']!r} is not a task, but a {type(task).__name__}.")
    now = timezone.now()
    return TaskResult(
        task=task.using(backend=content["backend"], queue_name=channel.removeprefix(channel_of(""))),
        id=content["id"],
        status=TaskResultStatus.RUNNING,  # type: ignore[arg-type]  # as above
        enqueued_at=parse_datetime(content["enqueued_at"]),
        started_at=now,
        finished_at=None,
        last_attempted_at=now,
        args=content["args"],
        kwargs=content["kwargs"],
        backend=content["backend"],
        errors=[],
        worker_ids=[secrets.token_urlsafe(8)],
    )
