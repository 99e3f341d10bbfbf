"""A message leaves no trace in the next: context variables, language, time zone, script prefix and URLconf."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
import structlog
from asgiref.local import Local
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_save
from django.test import override_settings
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

from channels_classic import Channel, signals
from channels_classic._current import current_message
from channels_classic.delay.models import DelayedMessage
from channels_classic.delay.worker import Worker as DelayWorker
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.test import ChannelTestCase, Client, apply_routes
from tests.support.waiting import eventually, scaled
from tests.worker.harness import make_group, make_worker, running

color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")

local = Local()
"""As packages for several tenants keep the present one."""

AS_CONFIGURED: dict[str, Any] = {
    "color": "none",
    "tenant": "none",
    "decimal places": 28,
    "language": "en-us",
    "time zone": "Europe/Berlin",
    "prefix": "/",
    "urlconf": None,
    "structlog": {},
    "sentry user": None,
}


def state() -> dict[str, Any]:
    """The state that a message could leave behind."""
    return {
        "color": color.get(),
        "tenant": getattr(local, "tenant", "none"),
        "decimal places": decimal.getcontext().prec,
        "language": translation.get_language(),
        "time zone": timezone.get_current_timezone_name(),
        "prefix": get_script_prefix(),
        "urlconf": get_urlconf(),
        "structlog": dict(structlog.contextvars.get_contextvars()),
        "sentry user": (sentry_sdk.get_isolation_scope()._user or {}).get("id"),
    }


def change_everything() -> None:
    color.set("red")
    local.tenant = "alice's"
    decimal.getcontext().prec = 3
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    set_script_prefix("/elsewhere/")
    set_urlconf("tests.urls")
    structlog.contextvars.bind_contextvars(user="alice")
    sentry_sdk.set_user({"id": "alice"})


@pytest.fixture(autouse=True)
def settings_of_the_project() -> Iterator[None]:
    with override_settings(LANGUAGE_CODE="en-us", TIME_ZONE="Europe/Berlin", USE_I18N=True, USE_TZ=True):
        yield


class Seen:
    """A consumer that notes what it finds and changes everything."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.threads: set[int] = set()
        self._three = threading.Barrier(3)

    def __call__(self, message: Message) -> None:
        self.states.append(state())
        self.threads.add(threading.get_ident())
        change_everything()

    def together(self, message: Message) -> None:
        """The same, once in each of three threads."""
        self._three.wait(scaled(5))
        self(message)

    async def coroutine(self, message: Message) -> None:
        self(message)


def consume(layer: ChannelLayer, worker: Any, number: int, seen: list[Any]) -> None:
    done = threading.Event()

    def count(**kwargs: Any) -> None:
        if len(seen) >= number:
            done.set()

    signals.consumer_finished.connect(count)
    try:
        with running(worker):
            for _ in range(number):
                layer.send("test", {})
            assert done.wait(scaled(10)), seen
    finally:
        signals.consumer_finished.disconnect(count)


def test_the_next_message_of_a_thread_begins_as_the_settings_say(memory: ChannelLayer) -> None:
    seen = Seen()
    consume(memory, make_worker(memory, {"test": seen}), 3, seen.states)
    assert seen.states == [AS_CONFIGURED] * 3


def test_this_holds_in_every_thread_of_a_group(memory: ChannelLayer) -> None:
    seen = Seen()
    consume(memory, make_group(memory, {"test": seen.together}, 3), 9, seen.states)
    assert (seen.states, len(seen.threads)) == ([AS_CONFIGURED] * 9, 3)


def test_this_holds_for_coroutines(memory: ChannelLayer) -> None:
    seen = Seen()
    consume(memory, make_worker(memory, {"test": seen.coroutine}), 3, seen.states)
    assert seen.states == [AS_CONFIGURED] * 3


@pytest.mark.parametrize("kind", ["thread", "coroutine"])
def test_the_script_prefix_is_that_of_the_settings_in_all_threads(memory: ChannelLayer, kind: str) -> None:
    seen = Seen()
    with override_settings(FORCE_SCRIPT_NAME="/site"):
        if kind == "thread":
            consume(memory, make_group(memory, {"test": seen.together}, 3), 3, seen.states)
        else:
            consume(memory, make_worker(memory, {"test": seen.coroutine}), 3, seen.states)
    assert [found["prefix"] for found in seen.states] == ["/site/"] * 3


@pytest.mark.parametrize("name", ["consumer_started", "consumer_finished"])
def test_receivers_and_their_consumer_share_one_context(memory: ChannelLayer, name: str) -> None:
    seen: list[str] = []
    signal = getattr(signals, name)

    def receiver(**kwargs: Any) -> None:
        seen.append(color.get())
        color.set(name)

    def consumer(message: Message) -> None:
        seen.append(color.get())
        color.set("consumer")

    signal.connect(receiver)
    try:
        consume(memory, make_worker(memory, {"test": consumer}), 2, seen)
    finally:
        signal.disconnect(receiver)
    assert seen[:4] == (["none", name] if name == "consumer_started" else ["none", "consumer"]) * 2


def test_a_failing_consumer_leaves_nothing_behind(memory: ChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()

    def consumer(message: Message) -> None:
        seen(message)
        raise RuntimeError("it fails")

    consume(memory, make_worker(memory, {"test": consumer}), 2, seen.states)
    assert seen.states == [AS_CONFIGURED] * 2


def test_the_callback_of_a_worker_and_the_routing_leave_nothing_behind(memory: ChannelLayer) -> None:
    seen = Seen()
    calls: list[str] = []

    def callback(channel: str, message: Message) -> None:
        calls.append(color.get())
        change_everything()

    consume(memory, make_worker(memory, {"test": seen}, callback=callback), 2, seen.states)
    assert calls == ["none", "none"]


def test_a_thread_keeps_its_caches_as_under_any_other_server(memory: ChannelLayer) -> None:
    seen: list[int] = []
    consume(memory, make_worker(memory, {"test": lambda message: seen.append(id(caches["default"]))}), 3, seen)
    assert len(set(seen)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_consumer_that_leaves_a_transaction_open_does_so_for_itself_alone(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    states: list[bool] = []
    left: list[Any] = []

    def consumer(message: Message) -> None:
        states.append(connections["default"].in_atomic_block)
        if not left:
            left.append(transaction.atomic())
            left[0].__enter__()
        DelayedMessage.objects.create(due_date=timezone.now(), channel_name="test", content="{}")

    consume(memory, make_worker(memory, {"test": consumer}), 3, states)
    assert states == [False] * 3
    assert DelayedMessage.objects.count() == 2
    assert [text for text in caplog.messages if "transaction" in text] == [
        "A consumer left a transaction of the database 'default' open: it was rolled back."
    ]


@pytest.mark.django_db(transaction=True)
def test_a_consumer_that_leaves_autocommit_off_is_named(memory: ChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    states: list[bool] = []

    def consumer(message: Message) -> None:
        states.append(transaction.get_autocommit())
        if len(states) == 1:
            transaction.set_autocommit(False)
        DelayedMessage.objects.create(due_date=timezone.now(), channel_name="test", content="{}")

    consume(memory, make_worker(memory, {"test": consumer}), 3, states)
    assert states == [True] * 3
    assert DelayedMessage.objects.count() == 2
    assert caplog.text.count("A consumer left a transaction of the database 'default' open") == 1


@pytest.mark.django_db(transaction=True)
def test_a_transaction_left_open_on_a_dead_connection_takes_nothing_else_with_it(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    counts: list[int] = []
    left: list[Any] = []

    def consumer(message: Message) -> None:
        counts.append(DelayedMessage.objects.count())
        Channel("sent", channel_layer=message.channel_layer).send({"n": len(counts)})
        if not left:
            left.append(transaction.atomic())
            left[0].__enter__()
            connections["default"].connection.close()

    consume(memory, make_worker(memory, {"test": consumer}), 2, counts)
    assert counts == [0, 0]
    assert [memory.receive(["sent"])[1] for _ in counts] == [{"n": 1}, {"n": 2}]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_a_coroutine_leaves_open_is_rolled_back_once_none_runs(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[Any] = []

    def leave() -> None:
        left.append(transaction.atomic())
        left[0].__enter__()

    def write() -> None:
        DelayedMessage.objects.create(due_date=timezone.now(), channel_name="test", content="{}")

    async def consumer(message: Message) -> None:
        if message["n"] == 0:
            await sync_to_async(leave)()
        await sync_to_async(write)()

    with running(make_worker(memory, {"test": consumer})):
        memory.send("test", {"n": 0})
        eventually(lambda: "A consumer left a transaction of the database 'default' open" in caplog.text)
        memory.send("test", {"n": 1})
        eventually(lambda: DelayedMessage.objects.count() == 1)


def _leave_transaction() -> None:
    transaction.atomic().__enter__()


def _leave_autocommit_off() -> None:
    transaction.set_autocommit(False)


@pytest.mark.parametrize("leave", [_leave_transaction, _leave_autocommit_off])
@pytest.mark.django_db(transaction=True)
def test_what_a_coroutine_leaves_open_takes_no_rows_of_others_with_it_while_one_runs(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture, leave: Any
) -> None:
    done: list[str] = []
    hanging = asyncio.Event()

    async def consumer(message: Message) -> None:
        if message["do"] == "hang":
            done.append("hangs")
            await hanging.wait()
        elif message["do"] == "leave":
            await sync_to_async(leave)()
        else:
            await DelayedMessage.objects.acreate(due_date=timezone.now(), channel_name="test", content="{}")
        done.append(message["do"])
        if message["do"] == "end":
            hanging.set()

    with running(make_worker(memory, {"test": consumer})):
        for number, action in enumerate(("hang", "leave", "write", "end"), 1):
            memory.send("test", {"do": action})
            eventually(lambda number=number: len(done) >= number)  # type: ignore[misc]
    assert done == ["hangs", "leave", "write", "end", "hang"]
    assert DelayedMessage.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_gets_no_connection_that_is_older_than_the_settings_allow(
    memory: ChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 1.5)
    seen: list[Any] = []

    def use() -> None:
        connections["default"].ensure_connection()
        seen.append(connections["default"].connection)

    async def consumer(message: Message) -> None:
        await sync_to_async(use)()

    with running(make_worker(memory, {"test": consumer})):
        for number, pause in enumerate((0, 0, 3), 1):
            time.sleep(pause)
            memory.send("test", {})
            eventually(lambda number=number: len(seen) == number)  # type: ignore[misc]
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_a_receiver_leaves_open_is_rolled_back(
    memory: ChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    states: list[bool] = []

    def consumer(message: Message) -> None:
        states.append(connections["default"].in_atomic_block)

    def receiver(**kwargs: Any) -> None:
        if len(states) == 1:
            _leave_transaction()

    signals.consumer_finished.connect(receiver)
    try:
        consume(memory, make_worker(memory, {"test": consumer}), 3, states)
    finally:
        signals.consumer_finished.disconnect(receiver)
    assert states == [False] * 3
    assert "left a transaction of the database 'default' open" in caplog.text


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_receivers_for_two_consumers_that_time_out_see_nothing_of_each_other(memory: ChannelLayer, kind: str) -> None:
    seen: list[tuple[str, str, Any]] = []
    over = threading.Event()

    def function(message: Message) -> None:
        over.wait(scaled(10))

    async def coroutine(message: Message) -> None:
        over.wait(scaled(10))

    def receiver(message: Message, **kwargs: Any) -> None:
        found = current_message.get(None)
        seen.append((color.get(), str(translation.get_language()), found is not None and found["n"] == message["n"]))
        change_everything()

    is_function = kind == "function"
    worker = make_group(memory, {"test": function}, 2) if is_function else make_worker(memory, {"test": coroutine})
    worker.consumer_timeout = scaled(0.3)
    signals.consumer_failed.connect(receiver)
    try:
        with running(worker):
            for number in range(2):
                memory.send("test", {"n": number})
            eventually(lambda: len(seen) == 2, 20)
            over.set()
    finally:
        over.set()
        signals.consumer_failed.disconnect(receiver)
    assert seen == [("none", "en-us", True)] * 2


@pytest.mark.django_db(transaction=True)
def test_a_consumer_that_leaves_autocommit_off_does_so_for_itself_alone(memory: ChannelLayer) -> None:
    seen: list[bool] = []

    def consumer(message: Message) -> None:
        seen.append(transaction.get_autocommit())
        transaction.set_autocommit(False)

    consume(memory, make_worker(memory, {"test": consumer}), 3, seen)
    assert seen == [True] * 3


def test_an_event_of_sentry_has_the_user_of_its_own_message_alone(memory: ChannelLayer) -> None:
    events: list[Any] = []
    done = threading.Event()

    def consumer(message: Message) -> None:
        if message["user"]:
            sentry_sdk.set_user({"id": message["user"]})
        raise ValueError(message["user"])

    def note(event: Any, hint: Any) -> None:
        events.append((event["exception"]["values"][0]["value"], event.get("user", {}).get("id", "")))
        if len(events) == 2:
            done.set()

    def report(exception: BaseException, **kwargs: Any) -> None:
        sentry_sdk.capture_exception(exception)

    sentry_sdk.init(dsn="https://key@sentry.invalid/1", before_send=note, default_integrations=False)
    signals.consumer_failed.connect(report)
    try:
        with running(make_worker(memory, {"test": consumer})):
            for user in ("alice", ""):
                memory.send("test", {"user": user})
            assert done.wait(scaled(10))
    finally:
        signals.consumer_failed.disconnect(report)
        sentry_sdk.get_client().close()
        sentry_sdk.init()
    assert events == [("alice", "alice"), ("", "")]


@pytest.mark.django_db(transaction=True)
def test_delayed_messages_leave_nothing_behind(memory: ChannelLayer) -> None:
    seen: list[str] = []

    def receiver(sender: Any, **kwargs: Any) -> None:
        seen.append(color.get())
        color.set("red")

    worker = DelayWorker(memory, signal_handlers=False, database_sleep_duration=0)

    def run() -> None:
        try:
            worker.run()
        finally:
            connections.close_all()  # of this thread

    thread = threading.Thread(target=run)
    for signal in (post_save, post_delete):
        signal.connect(receiver, sender=DelayedMessage)
    try:
        for _ in range(2):
            memory.send("asgi.delay", {"channel": "later", "content": {}, "delay": 0})
        thread.start()
        eventually(lambda: memory.receive(["later"])[0] and len(seen) >= 4)
    finally:
        worker.termed = True
        thread.join(scaled(10))
        for signal in (post_save, post_delete):
            signal.disconnect(receiver, sender=DelayedMessage)
    assert set(seen) == {"none"}


class TestClients(ChannelTestCase):
    """The test clients, which consume in the thread of the test."""

    def test_a_consumer_leaves_no_trace_in_the_test_or_the_next_message(self) -> None:
        seen = Seen()
        before = state()
        with apply_routes({"test": seen}):
            for _ in range(2):
                Client().send_and_consume("test")
        assert seen.states == [AS_CONFIGURED] * 2
        assert state() == before
