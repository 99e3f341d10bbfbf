"""Sends that wait for a transaction: nothing leaves when it is rolled back, and readers of the row find it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings

from channels_classic import Channel, Group, route
from channels_classic.asgi import ChannelLayerManager, ChannelLayerWrapper, channel_layers
from channels_classic.exceptions import InvalidChannelLayerError, InvalidChannelName, InvalidMessage
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.test import ChannelTestCase, Client, apply_routes
from tests.inventory.models import Item
from tests.worker.harness import drain, make_worker, running

Send = Callable[..., None]


@pytest.fixture(params=["channel", "group"])
def send(request: pytest.FixtureRequest, default_layer: ChannelLayerWrapper) -> Send:
    """Sends to the channel `seen`, directly or by a group."""
    if request.param == "channel":
        return Channel("seen").send
    Group("everybody").add("seen")
    return Group("everybody").send


def seen(layer: Any) -> list[Any]:
    found = []
    while (received := layer.receive(["seen"]))[0] is not None:
        found.append(received[1]["n"])
    return found


@pytest.mark.django_db(transaction=True)
def test_a_message_leaves_when_the_transaction_is_committed(send: Send, default_layer: ChannelLayerWrapper) -> None:
    with transaction.atomic():
        message = {"n": 1}
        send(message, on_commit=True)
        message["n"] = 2
        assert seen(default_layer) == []
    assert seen(default_layer) == [1]


@pytest.mark.django_db(transaction=True)
def test_nothing_leaves_when_it_is_rolled_back(send: Send, default_layer: ChannelLayerWrapper) -> None:
    with rolled_back():
        send({"n": 1}, on_commit=True)
    assert seen(default_layer) == []


@pytest.mark.django_db(transaction=True)
def test_of_nested_transactions_only_what_was_kept_leaves(send: Send, default_layer: ChannelLayerWrapper) -> None:
    with transaction.atomic():
        send({"n": 1}, on_commit=True)
        with rolled_back():
            send({"n": 2}, on_commit=True)
        with transaction.atomic():
            send({"n": 3}, on_commit=True)
        assert seen(default_layer) == []
    assert seen(default_layer) == [1, 3]


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_it_leaves_at_once_and_errors_are_raised(default_layer: ChannelLayerWrapper) -> None:
    Channel("seen").send({"n": 1}, on_commit=True)
    assert seen(default_layer) == [1]
    with pytest.raises(InvalidChannelName):
        Channel("a b").send({"n": 1}, on_commit=True)


def test_without_a_database_no_connection_is_made(default_layer: ChannelLayerWrapper) -> None:
    """This test may not use the database: pytest-django would raise."""
    connections["default"].close()
    Channel("seen").send({"n": 1}, on_commit=True)
    assert seen(default_layer) == [1]


@pytest.mark.django_db(transaction=True)
def test_each_database_has_transactions_of_its_own(default_layer: ChannelLayerWrapper, other_database: str) -> None:
    with transaction.atomic():
        Channel("seen").send({"n": 1}, on_commit=True, using=other_database)
        assert seen(default_layer) == [1], "no transaction is open there"
        with transaction.atomic(using=other_database):
            Channel("seen").send({"n": 2}, on_commit=True, using=other_database)
            assert seen(default_layer) == []
        assert seen(default_layer) == [2]


@pytest.fixture
def other_database(settings: Any, tmp_path: Any, django_db_blocker: Any) -> Iterator[str]:
    database = {**connections.settings["default"], "NAME": str(tmp_path / "other.sqlite3")}
    connections.settings["other"] = database
    with django_db_blocker.unblock():
        yield "other"
        connections["other"].close()
    del connections["other"], connections.settings["other"]


@pytest.mark.django_db(transaction=True)
def test_a_message_that_cannot_be_sent_after_the_commit_is_logged_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller goes on: what it did is committed."""
    layer = ChannelLayer(capacity=1)
    layer.send("full", {})
    with caplog.at_level(logging.ERROR, "django.channels"), transaction.atomic():
        Channel("full", channel_layer=layer).send({}, on_commit=True)
        Channel("seen", channel_layer=layer).send({"n": object()}, on_commit=True)
        Channel("seen", channel_layer=layer).send({"n": 3}, on_commit=True)
    assert seen(layer) == [3]
    assert layer.losses.as_dict() == {"full": 1, "invalid": 1}
    assert [record.getMessage().partition(",")[0] for record in caplog.records if record.name == "django.channels"] == [
        "Lost a message for full",
        "Lost a message for seen",
    ]


def test_arguments_that_mean_nothing_are_refused(default_layer: ChannelLayerWrapper) -> None:
    with pytest.raises(TypeError, match="on_commit is 'yes'"):
        Group("g").send({}, on_commit="yes")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="give on_commit=True"):
        Channel("c").send({}, using="default")
    with pytest.raises(InvalidMessage):
        Channel("c").send([], on_commit=True)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(Exception, match="nowhere"):
        Channel("c").send({}, on_commit=True, using="nowhere")
    with pytest.raises(InvalidChannelName):
        Group("g").send({}, but="no channel")
    with pytest.raises(TypeError, match="unexpected"):
        Channel("c").send({}, but="c")  # type: ignore[call-arg]  # that is the point


@contextmanager
def rolled_back() -> Iterator[None]:
    """Run the block in a transaction, or in a savepoint, that is rolled back."""
    with suppress(ZeroDivisionError), transaction.atomic():
        yield
        raise ZeroDivisionError


# Inside a consumer


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("make_consumer", "expected"), [(lambda body: body, [1, 3, 0]), (transaction.atomic, [3, 0, 1])]
)
def test_a_consumer_sends_after_the_commit_and_at_its_end(
    make_consumer: Callable[[Any], Any], expected: list[int]
) -> None:
    layer = ChannelLayer()

    def body(message: Message) -> None:
        seen_channel = Channel("seen", channel_layer=message.channel_layer)
        with transaction.atomic():
            seen_channel.send({"n": 1}, on_commit=True)
            with rolled_back():
                seen_channel.send({"n": 2}, on_commit=True)
        seen_channel.send({"n": 3})
        seen_channel.send({"n": layer.channel_statistics("seen")["messages_pending"]})

    layer.send("test", {})
    with running(make_worker(layer, {"test": make_consumer(body)})):
        assert [message["n"] for message in drain(layer, "seen", 3)] == expected


@pytest.mark.django_db(transaction=True)
def test_a_consumer_whose_transaction_is_rolled_back_sends_nothing_of_it() -> None:
    layer = ChannelLayer()

    @transaction.atomic
    def consumer(message: Message) -> None:
        Channel("seen", channel_layer=message.channel_layer).send({"n": 1}, on_commit=True)
        Channel("seen", channel_layer=message.channel_layer).send({"n": 2})
        raise ZeroDivisionError

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        assert [message["n"] for message in drain(layer, "seen", 1)] == [2]
    assert layer.receive(["seen"]) == (None, None)


@pytest.mark.django_db(transaction=True)
def test_with_immediately_it_leaves_with_the_commit() -> None:
    layer = ChannelLayer()
    at_commit: list[Any] = []

    def consumer(message: Message) -> None:
        with transaction.atomic():
            Channel("seen", channel_layer=message.channel_layer).send({"n": 1}, immediately=True, on_commit=True)
            at_commit.append(seen(layer))
        at_commit.append(seen(layer))
        Channel("end", channel_layer=message.channel_layer).send({})

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        drain(layer, "end", 1)
    assert at_commit == [[], [1]]


@pytest.mark.django_db(transaction=True)
def test_coroutines_have_no_transaction_to_wait_for() -> None:
    layer = ChannelLayer()

    async def consumer(message: Message) -> None:
        Channel("seen", channel_layer=message.channel_layer).send({"n": 1}, on_commit=True)

    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        assert [message["n"] for message in drain(layer, "seen", 1)] == [1]


# For a whole project


@pytest.fixture
def waiting_layer() -> Iterator[ChannelLayerWrapper]:
    wrapper = ChannelLayerWrapper(ChannelLayer(), "default", [], on_commit=True)
    previous = channel_layers.set("default", wrapper)
    yield wrapper
    channel_layers.set("default", previous)


@pytest.mark.django_db(transaction=True)
def test_a_layer_may_wait_unless_the_sender_says_otherwise(waiting_layer: ChannelLayerWrapper) -> None:
    with rolled_back():
        Channel("seen").send({"n": 1})
        Channel("seen").send({"n": 2}, immediately=True)
        Channel("seen").send({"n": 3}, on_commit=False)
    assert seen(waiting_layer) == [2, 3]
    with transaction.atomic():
        Channel("seen").send({"n": 4})
        Channel("seen").send({"n": 5}, using="default")
        assert seen(waiting_layer) == []
    assert seen(waiting_layer) == [4, 5]


def test_the_key_of_the_settings_reaches_the_layer() -> None:
    entry = {"BACKEND": "channels_classic.layers.inmemory.ChannelLayer", "ROUTING": []}
    with override_settings(CHANNEL_LAYERS={"default": {**entry, "ON_COMMIT": True}}):
        assert ChannelLayerManager().make_backend("default").on_commit is True
    with override_settings(CHANNEL_LAYERS={"default": entry}):
        assert ChannelLayerManager().make_backend("default").on_commit is False
    with (
        override_settings(CHANNEL_LAYERS={"default": {**entry, "ON_COMMIT": "yes"}}),
        pytest.raises(InvalidChannelLayerError, match="ON_COMMIT of CHANNEL_LAYERS\\['default'\\] is 'yes'"),
    ):
        ChannelLayerManager().make_backend("default")


# In tests of projects


class TestInATestCase(ChannelTestCase):
    def test_what_waits_is_sent_by_django_s_own_means(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            Item.objects.create(name="tea")
            Channel("seen").send({"n": 1}, on_commit=True)
            assert self.get_next_message("seen") is None
        assert len(callbacks) == 1
        assert seen(channel_layers["default"]) == [1]

    def test_so_are_the_sends_of_a_consumer(self) -> None:
        def consumer(message: Message) -> None:
            with transaction.atomic():
                Item.objects.create(name="tea")
                Channel("seen").send({"n": 1}, on_commit=True)

        client = Client()
        with apply_routes([route("test", consumer)]), self.captureOnCommitCallbacks(execute=True):
            client.send_and_consume("test")
            assert self.get_next_message("seen") is None
        assert seen(channel_layers["default"]) == [1]

    def test_the_layers_of_a_test_case_have_the_key_of_the_settings(self) -> None:
        assert not channel_layers["default"].on_commit


_WAITING = {"BACKEND": "channels_classic.layers.inmemory.ChannelLayer", "ROUTING": [], "ON_COMMIT": True}


@override_settings(CHANNEL_LAYERS={"default": _WAITING})
class TestInATestCaseOfAProjectThatWaits(ChannelTestCase):
    def test_the_layers_of_a_test_case_have_the_key_of_the_settings(self) -> None:
        Channel("seen").send({"n": 1})
        assert connection.in_atomic_block
        assert self.get_next_message("seen") is None
