"""The backend for the tasks of Django 6."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import django
import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from channels_classic import route
from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.exceptions import ChannelFull
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from tests.support.waiting import eventually
from tests.worker.harness import make_worker, running

if django.VERSION < (6, 0):
    pytest.skip("django.tasks came with Django 6", allow_module_level=True)

TASKS = {
    "default": {
        "BACKEND": "channels_classic.tasks.ChannelTasksBackend",
        "QUEUES": ["default", "slow"],
    }
}
ROUTING = [route(["tasks.default", "tasks.slow"], "channels_classic.tasks.run_task")]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def layer() -> Iterator[ChannelLayer]:
    """A memory layer with a route for tasks, in the place of the default one."""
    layer = ChannelLayer(capacity=5)
    previous = channel_layers.set("default", ChannelLayerWrapper(layer, "default", ROUTING))
    with override_settings(TASKS=TASKS):
        yield layer
    channel_layers.set("default", previous)


@pytest.fixture(autouse=True)
def calls(layer: ChannelLayer) -> list[Any]:
    from tests.projects.tasks import tasks

    tasks.calls.clear()
    return tasks.calls


@pytest.fixture
def events() -> Iterator[list[tuple[str, Any]]]:
    from django.tasks.signals import task_enqueued, task_finished, task_started

    seen: list[tuple[str, Any]] = []
    receivers = []
    for name, signal in (("enqueued", task_enqueued), ("started", task_started), ("finished", task_finished)):

        def receiver(task_result: Any, name: str = name, **kwargs: Any) -> None:
            seen.append((name, task_result))

        signal.connect(receiver)
        receivers.append((signal, receiver))
    yield seen
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def test_a_worker_runs_what_was_enqueued(layer: ChannelLayer, calls: list[Any], events: list[tuple[str, Any]]) -> None:
    from tests.projects.tasks.tasks import add

    result = add.enqueue(1, b=2)
    assert (result.status, result.args, result.kwargs) == ("READY", [1], {"b": 2})
    assert calls == []
    with running(make_worker(layer, ROUTING)):
        eventually(lambda: len(events) == 3)
    assert calls == [(1, 2)]
    assert [name for name, _ in events] == ["enqueued", "started", "finished"]
    finished = events[-1][1]
    assert (finished.id, finished.status, finished.return_value) == (result.id, "SUCCESSFUL", 3)
    assert finished.enqueued_at == result.enqueued_at <= finished.started_at <= finished.finished_at


def test_contexts_and_coroutines_and_queues(layer: ChannelLayer, calls: list[Any]) -> None:
    from tests.projects.tasks.tasks import attempt, slowly

    result = attempt.enqueue()
    slowly.enqueue("text")
    assert layer.channel_statistics("tasks.slow")["messages_pending"] == 1
    with running(make_worker(layer, ROUTING)):
        eventually(lambda: len(calls) == 2)
    assert {*calls} == {result.id, "text"}


def test_a_task_that_fails_is_logged_and_not_run_again(
    layer: ChannelLayer, events: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    from tests.projects.tasks.tasks import broken

    broken.enqueue()
    with running(make_worker(layer, ROUTING)):
        eventually(lambda: len(events) == 3)
        eventually(lambda: "this task is broken" in caplog.text)
    (error,) = events[-1][1].errors
    assert (events[-1][1].status, error.exception_class) == ("FAILED", ZeroDivisionError)
    assert layer.receive(["tasks.default"]) == (None, None)


def test_inside_a_consumer_and_after_a_commit_it_is_a_send_like_any_other(layer: ChannelLayer) -> None:
    from tests.projects.tasks.tasks import add

    pending: list[int] = []

    def consumer(message: Message) -> None:
        add.enqueue(1)
        pending.append(layer.channel_statistics("tasks.default")["messages_pending"])

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        eventually(lambda: layer.channel_statistics("tasks.default")["messages_pending"] == 1)
    assert pending == [0]
    channel_layers["default"].on_commit = True
    with transaction.atomic():
        add.enqueue(2)
        assert layer.channel_statistics("tasks.default")["messages_pending"] == 1
    assert layer.channel_statistics("tasks.default")["messages_pending"] == 2


def test_a_task_for_later_goes_to_the_delay_server(layer: ChannelLayer) -> None:
    from tests.projects.tasks.tasks import add

    result = add.using(run_after=timezone.now() + timedelta(seconds=60)).enqueue(1)
    _, message = layer.receive(["asgi.delay"])
    assert message is not None
    assert (message["channel"], message["content"]["id"]) == ("tasks.default", result.id)
    assert 55_000 < message["delay"] <= 60_000


def test_a_full_channel_is_told_to_who_enqueues(layer: ChannelLayer) -> None:
    from tests.projects.tasks.tasks import add

    for _ in range(5):
        add.enqueue(1)
    with pytest.raises(ChannelFull):
        add.enqueue(1)


def test_what_the_backend_cannot_do_is_refused() -> None:
    from django.tasks.exceptions import InvalidTask

    from tests.projects.tasks.tasks import add

    with pytest.raises(InvalidTask, match="priority"):
        add.using(priority=5)
    with pytest.raises(InvalidTask, match="Queue 'unknown'"):
        add.using(queue_name="unknown")
    with pytest.raises(TypeError, match="Unsupported type"):
        add.enqueue(object())  # type: ignore[arg-type]  # that is the point
    with pytest.raises(NotImplementedError):
        add.get_result("id")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "it has no 'task' and no 'id'"),
        ({"task": "tests.projects.tasks.tasks.gone"}, "cannot be imported"),
        ({"task": "tests.projects.tasks.tasks.plain"}, "is not a task, but a function"),
    ],
)
def test_a_message_that_is_no_task_is_an_error_that_says_so(content: dict[str, Any], reason: str) -> None:
    from channels_classic.tasks import run_task

    rest = {"id": "x", "backend": "default", "args": [], "kwargs": {}, "enqueued_at": "2026-01-01T00:00:00+00:00"}
    message = Message({**rest, **content} if content else {}, "tasks.default", channel_layers["default"])
    with pytest.raises(ValueError, match=reason):
        run_task(message)


def test_the_checks_say_what_is_missing_and_that_tasks_run_at_most_once() -> None:
    from channels_classic.tasks import ChannelTasksBackend

    def ids(**params: Any) -> list[str | None]:
        return [message.id for message in ChannelTasksBackend("default", params).check()]

    assert ids(QUEUES=["default", "slow"]) == ["channels_classic.I030"]
    assert ids(QUEUES=["other"]) == ["channels_classic.E032", "channels_classic.I030"]
    assert ids(QUEUES=["no name!"]) == ["channels_classic.E031", "channels_classic.I030"]
    assert ids(OPTIONS={"LAYER": "unknown"}) == ["channels_classic.E030", "channels_classic.I030"]
    assert "at most once" in str(ChannelTasksBackend.__doc__)
