"""Delayed messages: their rows, and the program that sends them."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_save
from django.utils import timezone

from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.delay.models import DelayedMessage
from channels_classic.delay.storage import delayed_message
from channels_classic.delay.worker import Worker
from channels_classic.exceptions import InvalidChannelName, InvalidMessage, LayerUnavailable
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.test import ChannelTestCase
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, scaled

OLD_TABLE = "channels.delay_delayedmessage"


@pytest.fixture
def layer(default_layer: ChannelLayerWrapper, db: None) -> ChannelLayerWrapper:
    return default_layer


class CountedWorker(Worker):
    """Runs as many rounds as `termed` is set to, as the tests of Channels 1.x count them."""

    _rounds = 0

    @property
    def termed(self) -> bool:
        self._rounds -= 1
        return self._rounds < 0

    @termed.setter
    def termed(self, rounds: int) -> None:
        self._rounds = rounds


def run(layer: Any, rounds: int = 1, **options: Any) -> CountedWorker:
    worker = CountedWorker(layer, signal_handlers=False, **options)
    worker.termed = rounds
    worker.run()
    return worker


@contextmanager
def later(milliseconds: float) -> Iterator[datetime]:
    then = timezone.now() + timedelta(milliseconds=milliseconds)
    with mock.patch("django.utils.timezone.now", return_value=then):
        yield then


def stored() -> list[tuple[str, Any]]:
    return [(row.channel_name, json.loads(row.content)) for row in DelayedMessage.objects.order_by("pk")]


# DelayedMessage


def test_a_message_is_due_when_its_time_has_come(layer: ChannelLayerWrapper) -> None:
    message = DelayedMessage(channel_name="test", content="{}", delay=1000)
    message.save()
    assert DelayedMessage.objects.is_due().count() == 0
    with later(1001):
        assert DelayedMessage.objects.is_due().count() == 1


def test_sending_delivers_at_once_and_deletes_the_row(layer: ChannelLayerWrapper) -> None:
    message = DelayedMessage(channel_name="test", content=json.dumps({"test": "value"}), delay=1000)
    message.save()
    message.send(channel_layer=layer)
    assert layer.receive(["test"]) == ("test", {"test": "value"})
    assert not DelayedMessage.objects.exists()


def test_the_layer_to_send_on_may_be_left_out(layer: ChannelLayerWrapper) -> None:
    DelayedMessage.objects.create(channel_name="test", content="{}", delay=0).send()
    assert layer.receive(["test"])[0] == "test"


def test_a_message_for_a_full_channel_is_due_again_later(layer: ChannelLayerWrapper) -> None:
    message = DelayedMessage.objects.create(channel_name="test", content="{}", delay=0)
    with later(5000) as now:
        message.send(channel_layer=ChannelLayer(capacity=0), requeue_delay=3000)
    assert DelayedMessage.objects.get().due_date == now + timedelta(milliseconds=3000)


def test_what_else_the_layer_raises_reaches_the_caller_and_the_row_stays(layer: ChannelLayerWrapper) -> None:
    message = DelayedMessage.objects.create(channel_name="not a name", content="{}", delay=0)
    with pytest.raises(InvalidChannelName):
        message.send()
    assert DelayedMessage.objects.exists()


def test_the_delay_is_not_stored() -> None:
    message = DelayedMessage(delay=1000)
    assert message.delay == 1000
    with pytest.raises(AttributeError):
        _ = DelayedMessage().delay


# Worker


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_leaves_a_transaction_open_takes_no_later_message_with_it(
    default_layer: ChannelLayerWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[Any] = []

    def leave(**kwargs: Any) -> None:
        if not left:
            left.append(transaction.atomic())
            left[0].__enter__()

    post_save.connect(leave, sender=DelayedMessage)
    try:
        for number in range(2):
            default_layer.send("asgi.delay", {"channel": "test", "delay": 60_000, "content": {"n": number}})
        run(default_layer, 3)
    finally:
        post_save.disconnect(leave, sender=DelayedMessage)
    assert "A receiver left a transaction of the database 'default' open: it was rolled back." in caplog.text
    assert not transaction.get_connection().in_atomic_block
    assert stored() == [("test", {"n": 0}), ("test", {"n": 1})]


def test_a_message_is_stored_and_sent_when_it_is_due(layer: ChannelLayerWrapper) -> None:
    layer.send("asgi.delay", {"channel": "test", "delay": 1000, "content": {"test": "value"}})
    worker = run(layer)
    assert stored() == [("test", {"test": "value"})]
    assert layer.receive(["test"]) == (None, None)
    with later(1001):
        worker.termed = 1
        worker.run()
    assert layer.receive(["test"]) == ("test", {"test": "value"})
    assert stored() == []


@pytest.mark.parametrize(
    "message",
    [
        {"test": "value"},
        {"channel": "test", "content": {}},
        {"channel": "test", "delay": 0},
        {"content": {}, "delay": 0},
        {"channel": "test", "content": {}, "delay": "1000"},
        {"channel": "test", "content": {}, "delay": True},
        {"channel": "test", "content": {}, "delay": None},
        {"channel": "test", "content": {}, "delay": float("nan")},
        {"channel": "test", "content": {}, "delay": 1e300},
        {"channel": "test", "content": "text", "delay": 0},
        {"channel": "not a name", "content": {}, "delay": 0},
        {"channel": 1, "content": {}, "delay": 0},
        {"channel": [], "content": {}, "delay": 0},
    ],
    ids=repr,
)
def test_a_bad_message_stores_nothing_and_the_server_goes_on(
    layer: ChannelLayerWrapper, message: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    layer.send("asgi.delay", message)
    layer.send("asgi.delay", {"channel": "test", "content": {}, "delay": 1000})
    run(layer, rounds=2)
    assert stored() == [("test", {})]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "Dropped a delayed message: " in record.getMessage()
    assert layer.losses.as_dict() == {"undecodable": 1}


def test_content_that_json_lacks_is_refused_with_its_key_also_if_an_earlier_release_sent_it(
    layer: ChannelLayerWrapper,
) -> None:
    message = {"channel": "test", "content": {"rows": [b"bytes"]}, "delay": 0}
    with pytest.raises(InvalidMessage, match=r"content the key \['rows'\]\[0\] has a value of type bytes"):
        layer.send("asgi.delay", message)
    with pytest.raises(TypeError, match=r"content the key \['rows'\]\[0\] has a value of type bytes"):
        delayed_message(message)


def test_a_negative_delay_is_due_at_once(layer: ChannelLayerWrapper) -> None:
    layer.send("asgi.delay", {"channel": "test", "content": {}, "delay": -1})
    run(layer)
    assert layer.receive(["test"])[0] == "test"


def test_what_does_not_fit_into_the_channel_stays(layer: ChannelLayerWrapper) -> None:
    small = ChannelLayerWrapper(ChannelLayer(capacity=10), "default", [])
    for _ in range(11):
        DelayedMessage.objects.create(channel_name="test", content="{}", delay=-1)
    run(small)
    assert DelayedMessage.objects.count() == 1


def test_a_row_that_can_never_be_sent_is_dropped_and_keeps_no_other_waiting(
    layer: ChannelLayerWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in (("not a name", "{}"), ("test", "no json"), ("test", "[]"), ("test", '{"n": 1}')):
        DelayedMessage.objects.create(channel_name=name, content=content, delay=-1)
    run(layer)
    assert layer.receive(["test"]) == ("test", {"n": 1})
    assert stored() == []
    assert len([record for record in caplog.records if "Dropped a delayed message" in record.getMessage()]) == 3


def layer_away() -> LayerUnavailable:
    """Return the error of a layer without a connection."""
    error = LayerUnavailable("redis", "gone", "Start it.")
    error.written = False
    return error


@pytest.mark.parametrize("error", [layer_away(), OperationalError("gone")])
def test_a_layer_or_database_that_is_away_does_not_end_the_server(
    layer: ChannelLayerWrapper, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    DelayedMessage.objects.create(channel_name="test", content="{}", delay=-1)
    sending = layer.send
    outcomes = iter([error, None])

    def send(channel: str, message: dict[str, Any]) -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        sending(channel, message)

    monkeypatch.setattr(layer, "send", send, raising=False)
    run(layer, rounds=2)
    assert layer.receive(["test"])[0] == "test"
    assert stored() == []
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "gone" in record.getMessage() and record.exc_info is None


@contextmanager
def refusing_inserts() -> Iterator[None]:
    """Let the database refuse to store delayed messages inside the block."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TRIGGER refusing BEFORE INSERT ON {DelayedMessage._meta.db_table} "
            "BEGIN SELECT RAISE(ABORT, 'refused by a trigger'); END"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refusing")


def delayed(number: int) -> dict[str, Any]:
    return {"channel": "test", "content": {"number": number}, "delay": 0}


def numbers(layer: Any) -> list[int]:
    found = []
    while (message := layer.receive(["test"])[1]) is not None:
        found.append(message["number"])
    return sorted(found)


@contextmanager
def serving(layer: Any) -> Iterator[None]:
    """Inside the block a delay server runs in a thread."""
    worker = Worker(layer, signal_handlers=False, database_sleep_duration=0)

    def serve() -> None:
        worker.run()
        connections.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        worker.termed = True
        thread.join(scaled(10))
        assert not thread.is_alive()


def crowded(layer: ChannelLayerWrapper) -> Any:
    """Replace `receive` so that the place of each message that is taken is taken at once, by one with the number 0."""
    receiving = layer.receive

    def receive(channels: list[str], block: bool = False) -> Any:
        taken = receiving(channels, block=block)
        if taken[0] == "asgi.delay" and taken[1]["content"]["number"]:
            layer.send("asgi.delay", delayed(0))
        return taken

    return mock.patch.object(layer, "receive", receive, create=True)


@pytest.mark.django_db(transaction=True)
def test_while_the_database_refuses_messages_stay_on_the_channel(
    default_layer: ChannelLayerWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        default_layer.send("asgi.delay", delayed(number))
    with refusing_inserts():
        run(default_layer, rounds=4)
        assert default_layer.channel_statistics("asgi.delay")["messages_pending"] == 5
        assert stored() == []
    run(default_layer, rounds=6, database_sleep_duration=0)
    assert numbers(default_layer) == [0, 1, 2, 3, 4]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "The database of delayed messages failed: refused by a trigger. New messages stay on the channel asgi.delay "
        "until it works. If the table is missing, run `manage.py migrate`."
    ]
    assert "Traceback" not in caplog.text
    assert default_layer.losses.as_dict() == {}


@pytest.mark.django_db(transaction=True)
def test_one_that_the_channel_does_not_take_back_is_kept_until_the_database_stores_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ChannelLayerWrapper(ChannelLayer(channel_capacity={"asgi.delay": 1}), "default", [])
    layer.send("asgi.delay", delayed(1))
    with crowded(layer), ExitStack() as refusing:
        refusing.enter_context(refusing_inserts())
        with serving(layer):
            eventually(lambda: "refused by a trigger" in caplog.text)
            refusing.close()
            found: list[int] = []
            eventually(lambda: _all_taken(layer, found, 2))
    assert sorted(found) == [0, 1]
    assert layer.losses.as_dict() == {}


def _all_taken(layer: ChannelLayerWrapper, found: list[int], count: int) -> bool:
    """Take what has come into `found` → whether that is all."""
    found.extend(numbers(layer))
    return len(found) == count


@pytest.mark.django_db(transaction=True)
def test_what_is_neither_stored_nor_taken_back_when_the_server_stops_is_named_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ChannelLayerWrapper(ChannelLayer(capacity=1), "default", [])
    layer.send("asgi.delay", delayed(1))
    with refusing_inserts(), crowded(layer):
        run(layer)
    assert "The delayed message for test at " in caplog.text
    assert layer.losses.as_dict() == {"broker": 1}
    assert layer.receive(["asgi.delay"])[1] == delayed(0)


@pytest.mark.django_db(transaction=True)
def test_a_row_that_cannot_be_written_back_goes_to_the_channel() -> None:
    layer = ChannelLayerWrapper(ChannelLayer(channel_capacity={"test": 0}), "default", [])
    DelayedMessage.objects.create(channel_name="test", content='{"number": 1}', delay=-1)
    with refusing_inserts():
        run(layer)
    assert not DelayedMessage.objects.exists()
    _, put_back = layer.receive(["asgi.delay"])
    assert put_back is not None
    assert (put_back["channel"], put_back["content"]) == ("test", {"number": 1})
    assert layer.losses.as_dict() == {}


@pytest.mark.django_db(transaction=True)
def test_who_sends_a_row_is_told_that_it_could_not_be_written_back() -> None:
    message = DelayedMessage.objects.create(channel_name="test", content="{}", delay=-1)
    with refusing_inserts(), pytest.raises(IntegrityError):
        message.send(channel_layer=ChannelLayer(capacity=0))
    assert message.lost_its_row
    message.save()
    assert DelayedMessage.objects.get() == message


def test_a_message_that_was_stored_though_the_connection_broke_is_not_stored_twice(
    layer: ChannelLayerWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the database server is gone before its answer to the insert arrived."""
    monkeypatch.setattr("channels_classic.delay.storage._is_certain", lambda: False)
    layer.send("asgi.delay", delayed(1))
    inserting = DelayedMessage.save
    failures = iter([OperationalError("the connection was closed"), None])

    def insert(message: DelayedMessage, **options: Any) -> None:
        inserting(message, **options)
        if error := next(failures, None):
            raise error

    monkeypatch.setattr(DelayedMessage, "save", insert)
    run(layer, rounds=3)
    assert numbers(layer) == [1]
    assert layer.losses.as_dict() == {}


def test_what_is_due_is_looked_for_at_first_and_then_once_per_interval(
    layer: ChannelLayerWrapper, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        run(layer, rounds=3, database_sleep_duration=60)
    with django_assert_num_queries(3):
        run(layer, rounds=3, database_sleep_duration=0)


def test_of_several_servers_that_read_a_row_one_sends_it(layer: ChannelLayerWrapper) -> None:
    DelayedMessage.objects.create(channel_name="test", content="{}", delay=0)
    first, second = DelayedMessage.objects.get(), DelayedMessage.objects.get()
    first.send(channel_layer=layer)
    second.send(channel_layer=layer)
    assert layer.receive(["test"])[1] == {}
    assert layer.receive(["test"])[1] is None


def test_a_message_of_which_nobody_knows_whether_it_was_sent_is_not_sent_again(
    db: None, own_redis: RedisServer
) -> None:
    DelayedMessage.objects.create(channel_name="test", content="{}", delay=0)
    layer = RedisChannelLayer(hosts=[own_redis.url], connection_kwargs={"socket_timeout": 0.5})
    layer.send("other", {})
    own_redis.pause()
    with pytest.raises(LayerUnavailable):
        DelayedMessage.objects.get().send(channel_layer=layer)
    assert not DelayedMessage.objects.exists()
    assert layer.losses.as_dict() == {"broker": 1}


def test_a_message_for_a_layer_that_cannot_be_reached_keeps_its_row(db: None, own_redis: RedisServer) -> None:
    DelayedMessage.objects.create(channel_name="test", content="{}", delay=0)
    own_redis.stop()
    with pytest.raises(LayerUnavailable):
        DelayedMessage.objects.get().send(channel_layer=RedisChannelLayer(hosts=[own_redis.url]))
    assert DelayedMessage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_channel_that_the_layer_refuses_keeps_no_other_waiting(
    redis_server: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Something else has written its key; a shard that is down refuses what belongs to it in the same way."""
    layer = RedisChannelLayer(hosts=[redis_url])
    redis_server.command("SET", "asgi:{0}:queue:odd", "x")
    for name in ("odd", "test", "odd", "test"):
        DelayedMessage.objects.create(channel_name=name, content='{"number": 1}', delay=-1)
    got: list[str | None] = []

    def got_both(channel: str) -> bool:
        got.append(layer.receive([channel])[0])
        return got.count(channel) == 2

    with serving(layer):
        eventually(lambda: got_both("test"), 10)
        redis_server.command("DEL", "asgi:{0}:queue:odd")
        eventually(lambda: got_both("odd"), 10)
    assert stored() == []
    assert sum("queue:odd" in record.getMessage() for record in caplog.records) == 1
    layer.close()


@pytest.mark.django_db(transaction=True)
def test_database_connections_are_checked_while_it_runs(default_layer: ChannelLayerWrapper) -> None:
    with (
        mock.patch.object(BaseDatabaseWrapper, "close_if_unusable_or_obsolete", autospec=True) as check,
        serving(default_layer),
    ):
        eventually(lambda: check.called)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_finds_its_old_handler_again(layer: ChannelLayerWrapper, number: int) -> None:
    previous = signal.getsignal(number)
    worker = Worker(layer)
    receiving = layer.receive

    def receive(channels: list[str], block: bool) -> Any:
        os.kill(os.getpid(), number)
        return receiving(channels, block=block)

    with mock.patch.object(layer, "receive", receive, create=True):
        worker.run()
    assert worker.termed is True
    assert worker.in_job is False
    assert signal.getsignal(number) is previous


def test_a_signal_leaves_what_else_is_due_for_the_next_server(layer: ChannelLayerWrapper) -> None:
    for number in range(3):
        DelayedMessage.objects.create(channel_name="test", content=json.dumps({"n": number}), delay=0)
    worker = Worker(layer)

    def note(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("Sending") and not worker.termed:
            os.kill(os.getpid(), signal.SIGTERM)
        return True

    delay_logger = logging.getLogger("django.channels")
    delay_logger.addFilter(note)
    delay_logger.setLevel("INFO")
    try:
        worker.run()
    finally:
        delay_logger.removeFilter(note)
        delay_logger.setLevel("NOTSET")
    assert layer.receive(["test"])[1] == {"n": 0}
    assert [content for _, content in stored()] == [{"n": 1}, {"n": 2}]


def test_only_what_was_sent_counts_as_sent(layer: ChannelLayerWrapper) -> None:
    message = DelayedMessage.objects.create(channel_name="test", content="{}", delay=0)
    same = DelayedMessage.objects.get()
    assert message.send(channel_layer=ChannelLayer(capacity=0), requeue_delay=0) is False
    assert same.send(channel_layer=layer) is True
    assert message.send(channel_layer=layer) is False


class DelayInATestCase(ChannelTestCase):
    """As projects test it: inside the transaction of a test case, whose connection must stay open."""

    def test_a_delayed_message_arrives(self) -> None:
        layer = channel_layers["default"]
        layer.send("asgi.delay", {"channel": "test", "delay": 0, "content": {"n": 1}})
        run(layer, rounds=2, database_sleep_duration=0)
        message = self.get_next_message("test", require=True)
        assert message is not None
        assert message.content == {"n": 1}


# rundelay


def test_rundelay_refuses_a_layer_that_lives_in_one_process(default_layer: ChannelLayerWrapper) -> None:
    with pytest.raises(CommandError, match="lives in one process"):
        call_command("rundelay")


def test_rundelay_refuses_an_unknown_layer() -> None:
    with pytest.raises(CommandError, match="no layer 'other'"):
        call_command("rundelay", layer="other")


def test_rundelay_says_what_is_missing_without_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = {label: config for label, config in apps.app_configs.items() if label != "channels_delay"}
    monkeypatch.setattr(apps, "app_configs", configs)
    with pytest.raises(CommandError, match=r"add 'channels_classic\.delay' to INSTALLED_APPS"):
        call_command("rundelay")


@pytest.mark.parametrize("sleep", ["0", "-1", "nan", "inf"])
def test_rundelay_refuses_a_time_that_makes_no_sense(sleep: str) -> None:
    with pytest.raises(CommandError, match=f"--sleep is {sleep}: expected a number above 0"):
        call_command("rundelay", "--sleep", sleep)


def test_rundelay_runs_until_it_is_told_to_stop(layer: ChannelLayerWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "local_only", lambda: False)
    seen: list[Worker] = []

    def run_once(worker: Worker) -> None:
        seen.append(worker)
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "run", run_once)
    call_command("rundelay", "--sleep", "2.5")
    (worker,) = seen
    assert (worker.channel_layer, worker.database_sleep_duration) == (layer, 2.5)


SITE = """
from tests.projects.site.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "channels_classic.delay"]
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}, "OPTIONS": {{"timeout": 0.2}}}},
}}
"""


@pytest.fixture
def site(redis_url: str, tmp_path: Path) -> Iterator[DelaySite]:
    site = DelaySite(redis_url, tmp_path)
    yield site
    site.layer.close()


class DelaySite:
    """A project with a delay server, a database in a file, and Redis."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.database = folder / "database"
        self.layer = RedisChannelLayer(hosts=[redis_url])
        (folder / "delaying.py").write_text(SITE.format(database=str(self.database)))
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "delaying",
            "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent.parent)]),
            "REDIS_URL": redis_url,
        }

    def server(self) -> Process:
        return Process([sys.executable, "-m", "django", "rundelay"], env=self._environment)

    def migrate(self) -> None:
        with Process([sys.executable, "-m", "django", "migrate"], env=self._environment) as migration:
            migration.wait_for_line(r"0002_adopt_old_table\.\.\. OK")
            assert migration.wait() == 0

    def send(self, count: int) -> None:
        for number in range(count):
            self.layer.send("asgi.delay", delayed(number))

    def received(self, count: int) -> list[int]:
        found: list[int] = []

        def all_there() -> bool:
            found.extend(numbers(self.layer))
            return len(found) >= count

        eventually(all_there, timeout=30)
        return sorted(found)

    @contextmanager
    def locked(self) -> Iterator[None]:
        connection = sqlite3.connect(self.database, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        connection = sqlite3.connect(self.database, isolation_level=None)
        connection.execute(
            "CREATE TRIGGER refusing BEFORE INSERT ON channels_delay_delayedmessage "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER refusing")
            connection.close()


def test_the_delay_server_runs_as_a_process_of_its_own_and_stops_when_told(site: DelaySite) -> None:
    site.migrate()
    with site.server() as server:
        server.wait_for_line("Listening on asgi.delay")
        site.layer.send("asgi.delay", {"channel": "test", "delay": 10, "content": {"test": "value"}})
        assert eventually(lambda: site.layer.receive(["test"])[1], 20) == {"test": "value"}
        assert server.stop() == 0


def test_signals_do_to_the_delay_server_what_they_do_to_a_worker(site: DelaySite) -> None:
    site.migrate()
    with site.server() as server:
        server.wait_for_line("Listening on asgi.delay")
        site.layer.send("asgi.delay", {"channel": "test", "delay": 10, "content": {"test": "value"}})
        assert eventually(lambda: site.layer.receive(["test"])[1], 20) == {"test": "value"}
        server.send_signal(signal.SIGUSR1)
        server.wait_for_line(r"1 delayed message\(s\) stored and 1 sent .* 0 wait .* lost messages: none")
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("SIGHUP: finishing")
        server.wait_for_line("Listening on asgi.delay", occurrences=2)
        server.send_signal(signal.SIGQUIT)
        assert server.wait() == 128 + signal.SIGQUIT
        assert "SIGQUIT: ending the process" in server.output


def test_messages_wait_on_the_channel_for_the_table(site: DelaySite) -> None:
    site.send(20)
    with site.server() as server:
        server.wait_for_line("database of delayed messages failed: no such table.*run `manage.py migrate`")
        site.migrate()
        assert site.received(20) == list(range(20))
        server.wait_for_line("The delay server works again")
        assert "Traceback" not in server.output
        assert server.output.count("failed") == 1
        assert server.stop() == 0


@pytest.mark.parametrize("trouble", ["locked", "refusing"])
def test_messages_wait_on_the_channel_for_a_database(site: DelaySite, trouble: str) -> None:
    site.migrate()
    with site.server() as server:
        server.wait_for_line("Listening on asgi.delay")
        with getattr(site, trouble)():
            site.send(20)
            server.wait_for_line("database of delayed messages failed")
        assert site.received(20) == list(range(20))
        assert "Traceback" not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_while_the_database_refuses_leaves_the_messages_on_the_channel(
    site: DelaySite, number: signal.Signals
) -> None:
    site.migrate()
    site.send(20)
    with site.refusing(), site.server() as server:
        server.wait_for_line("database of delayed messages failed")
        eventually(lambda: site.layer.channel_statistics("asgi.delay")["messages_pending"] == 20)
        server.stop(number)
    with site.server():
        assert site.received(20) == list(range(20))


# The app


@pytest.fixture
def migrated() -> Iterator[Callable[[str], None]]:
    def migrate(target: str) -> None:
        call_command("migrate", "channels_delay", target, verbosity=0)

    yield migrate
    migrate("0002")


def test_the_app_has_a_label_that_django_allows_and_no_migration_is_missing(db: None) -> None:
    assert apps.get_app_config("channels_delay").name == "channels_classic.delay"
    out = StringIO()
    call_command("makemigrations", "channels_delay", check=True, dry_run=True, stdout=out)
    assert "No changes" in out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_messages_left_by_channels_1_are_adopted_with_their_table(migrated: Callable[[str], None]) -> None:
    migrated("zero")
    name = connection.ops.quote_name(OLD_TABLE)
    due = timezone.now().replace(microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {name} (id integer PRIMARY KEY, due_date datetime NOT NULL, "
            "channel_name varchar(512) NOT NULL, content text NOT NULL)"
        )
        stamp = connection.ops.adapt_datetimefield_value(due)
        cursor.execute(f"INSERT INTO {name} VALUES (7, %s, 'test', '{{}}')", [stamp])
    migrated("0002")
    row = DelayedMessage.objects.get()
    assert (row.due_date, row.channel_name, row.content) == (due, "test", "{}")
    assert OLD_TABLE not in connection.introspection.table_names()


@pytest.mark.django_db(transaction=True)
def test_a_project_that_had_no_delay_app_just_gets_the_table(migrated: Callable[[str], None]) -> None:
    migrated("zero")
    assert DelayedMessage._meta.db_table not in connection.introspection.table_names()
    migrated("0002")
    assert not DelayedMessage.objects.exists()
