"""The test cases, the plain client and `apply_routes`, as projects use them: Django's own classes run these."""

from __future__ import annotations

import sys
import unittest
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import Group as UserGroup
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponse
from django.test import TestCase, override_settings
from django.urls import path

from channels_classic import Channel, Group, include, route
from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.exceptions import (
    ChannelFull,
    ConsumeLater,
    DenyConnection,
    InvalidChannelName,
    UnknownChannelLayer,
    WebsocketCloseException,
)
from channels_classic.handler import ViewConsumer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message, pending_message_store
from channels_classic.routing import Router
from channels_classic.signals import consumer_finished, consumer_started
from channels_classic.test import ChannelTestCase, Client, TransactionChannelTestCase, apply_routes
from channels_classic.test.base import ChannelTestCaseMixin

MEMORY = "channels_classic.layers.inmemory.ChannelLayer"


def echo(message: Message, **kwargs: Any) -> Any:
    message.reply_channel.send({"text": message["text"], **kwargs})  # type: ignore[union-attr]
    return "returned"


def raise_deny(message: Message) -> None:
    message.reply_channel.send({"text": "before"})  # type: ignore[union-attr]
    raise DenyConnection


def raise_later(message: Message) -> None:
    raise ConsumeLater


def raise_close(message: Message) -> None:
    raise WebsocketCloseException(3001)


def users(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{User.objects.count()} users")


urlpatterns = [path("users/", users)]
routing = [route("from.path", echo)]


def announce(sender: type[UserGroup], instance: UserGroup, **kwargs: Any) -> None:
    Channel("groups").send({"name": instance.name})


class OwnLayerTests(ChannelTestCase):
    def test_a_test_has_a_memory_layer_of_its_own(self) -> None:
        assert isinstance(channel_layers["default"].channel_layer, ChannelLayer)
        assert self.get_next_message("left.over") is None
        Channel("left.over").send({"text": "for nobody"})

    def test_and_what_another_test_sent_is_not_in_it(self) -> None:
        assert self.get_next_message("left.over") is None
        Channel("left.over").send({"text": "for nobody"})

    def test_get_next_message_gives_a_message_on_the_layer_of_the_test(self) -> None:
        Channel("some.channel").send({"text": "hello"})
        message = self.get_next_message("some.channel", require=True)
        assert message is not None
        assert (message.channel.name, message.content) == ("some.channel", {"text": "hello"})
        assert message.channel_layer is channel_layers["default"]

    def test_get_next_message_fails_the_test_when_a_message_is_required(self) -> None:
        with pytest.raises(AssertionError, match=r"'empty\.channel'"):
            self.get_next_message("empty.channel", require=True)

    def test_a_process_local_channel_is_read_by_its_prefix(self) -> None:
        Channel("process!client").send({"text": "hello"})
        with pytest.raises(TypeError, match="give its inbox, 'process!'"):
            self.get_next_message("process!client")
        message = self.get_next_message("process!", require=True)
        assert message is not None and message.channel.name == "process!client"

    def test_the_default_routes_are_not_there(self) -> None:
        assert Client().get_consumer_by_channel("http.request") is None

    def test_a_channel_holds_ten_unread_messages(self) -> None:
        for number in range(10):
            Channel("busy").send({"number": number})
        with pytest.raises(ChannelFull):
            Channel("busy").send({"number": 10})


layers_of_the_class: list[Any] = []


class LayerOfTheClassTests(ChannelTestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        layers_of_the_class[:] = [channel_layers["default"].channel_layer]
        Group("members").add("somebody")
        post_save.connect(announce, sender=UserGroup)
        UserGroup.objects.create(name="editors")
        post_save.disconnect(announce, sender=UserGroup)

    def test_what_set_up_test_data_sends_stays_in_a_memory_layer(self) -> None:
        assert isinstance(layers_of_the_class[0], ChannelLayer)
        assert layers_of_the_class[0].receive(["groups"])[1] == {"name": "editors"}

    def test_and_does_not_reach_the_tests(self) -> None:
        assert channel_layers["default"].channel_layer is not layers_of_the_class[0]
        assert channel_layers["default"].group_channels("members") == []


@override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "nowhere.Layer", "ROUTING": {"a.channel": echo}}})
class OverriddenSettingsTests(ChannelTestCase):
    def test_a_dict_routing_works_and_the_layer_of_the_settings_is_not_made(self) -> None:
        client = Client()
        client.send_and_consume("a.channel", {"text": "hello"})
        assert client.receive() == {"text": "hello"}


@override_settings(
    CHANNEL_LAYERS={"default": {"ROUTING": []}, "other": {"ROUTING": f"{__name__}.routing"}},
)
class SeveralLayersTests(ChannelTestCase):
    test_channel_aliases: ClassVar[list[str]] = ["default", "other"]

    def test_each_alias_has_a_layer_of_its_own(self) -> None:
        Channel("here", alias="other").send({"text": "hello"})
        assert self.get_next_message("here") is None
        assert self.get_next_message("here", alias="other", require=True)

    def test_a_client_speaks_to_the_layer_of_its_alias(self) -> None:
        client = Client(alias="other")
        assert client.send_and_consume("from.path", {"text": "hello"}) == "returned"
        assert client.receive() == {"text": "hello"}
        assert client.reply_channel.startswith("other")

    def test_join_group_joins_on_the_layer_of_the_client(self) -> None:
        client = Client(alias="other")
        client.join_group("room")
        Group("room", alias="other").send({"text": "hello"})
        assert client.receive() == {"text": "hello"}

    def test_a_route_added_in_a_test_is_gone_in_the_next(self) -> None:
        router = channel_layers["other"].router
        assert router.channels == {"from.path"} and routing == router.root.routing
        router.add_route(route("another", echo))

    def test_which_may_be_either_of_the_two(self) -> None:
        self.test_a_route_added_in_a_test_is_gone_in_the_next()

    def test_apply_routes_honours_its_aliases(self) -> None:
        before = [channel_layers[alias].router for alias in ("default", "other")]
        with apply_routes(route("applied", echo), aliases=["other"]):
            assert channel_layers["default"].router is before[0]
            assert channel_layers["other"].router.channels == {"applied"}
        with apply_routes([route("applied", echo)], aliases=["default", "other"]):
            assert channel_layers["default"].router.channels == channel_layers["other"].router.channels == {"applied"}
        assert [channel_layers[alias].router for alias in ("default", "other")] == before


class ConsumeTests(ChannelTestCase):
    def setUp(self) -> None:
        self.client = client = Client()  # type: ignore[assignment]
        self.channels_client = client
        self.signals: list[Any] = []

    def consume(self, consumer: Any, *, client: Client | None = None, **options: Any) -> Any:
        with apply_routes(route("a.channel", consumer)):
            return (client or self.channels_client).send_and_consume("a.channel", {"text": "hello"}, **options)

    def test_consume_returns_what_the_consumer_returns_once_its_sends_are_delivered(self) -> None:
        assert self.consume(echo) == "returned"
        assert self.channels_client.receive() == {"text": "hello"}
        assert self.channels_client.receive() is None

    def test_a_message_that_names_a_reply_channel_keeps_it(self) -> None:
        self.channels_client.send("a.channel", {"reply_channel": "another"})
        message = self.channels_client.get_next_message("a.channel")
        assert message is not None and message.content == {"reply_channel": "another"}

    def test_send_copies_what_it_is_given(self) -> None:
        content: dict[str, Any] = {"nested": []}
        self.channels_client.send("a.channel", content)
        content["nested"].append("later")
        assert content == {"nested": ["later"]}
        message = self.channels_client.get_next_message("a.channel")
        assert message is not None and message["nested"] == []

    def test_a_reply_channel_may_have_a_prefix_of_its_own(self) -> None:
        client = Client(reply_channel="daphne.response.1")
        assert client.reply_channel.startswith("daphne.response.1")
        self.consume(echo, client=client)
        assert client.receive() == {"text": "hello"}

    def test_an_async_consumer_is_run_to_its_end_with_the_database_of_the_test(self) -> None:
        User.objects.create(username="alice")

        async def consumer(message: Message) -> int:
            message.reply_channel.send({"users": [user.username async for user in User.objects.all()]})  # type: ignore[union-attr]
            return len([user async for user in User.objects.all()])

        with apply_routes([route("async", consumer)]):
            client = Client()
            assert client.send_and_consume("async") == 1
            assert client.receive() == {"users": ["alice"]}

    def test_a_consumer_that_returns_a_coroutine_fails_as_in_a_worker(self) -> None:
        async def inner() -> None:
            raise AssertionError("it is not awaited")

        with (
            apply_routes([route("async", lambda message: inner())]),
            pytest.raises(TypeError, match="returned a coroutine, which is not awaited"),
        ):
            Client().send_and_consume("async")

    def test_a_consumer_that_is_a_generator_fails_as_in_a_worker(self) -> None:
        def generator(message: Message) -> Iterator[None]:
            yield

        async def async_generator(message: Message) -> AsyncIterator[None]:
            yield

        for consumer in (generator, async_generator):
            with (
                apply_routes([route("generator", consumer)]),
                pytest.raises(TypeError, match="it returned a generator, whose code has not run"),
            ):
                Client().send_and_consume("generator")

    def test_without_a_message_consume_fails_the_test(self) -> None:
        with pytest.raises(AssertionError, match=r"no message on the channel 'a\.channel'"):
            self.channels_client.consume("a.channel")
        assert self.channels_client.consume("a.channel", fail_on_none=False) is None

    def test_without_a_route_consume_fails_the_test(self) -> None:
        with apply_routes([]), pytest.raises(AssertionError, match=r"No route takes .*hello"):
            self.channels_client.send_and_consume("a.channel", {"text": "hello"})
        with apply_routes([]):
            assert self.channels_client.send_and_consume("a.channel", fail_on_none=False) is None

    def test_deny_connection_reaches_the_test_and_sends_are_delivered(self) -> None:
        with pytest.raises(DenyConnection):
            self.consume(raise_deny)
        assert self.channels_client.receive() == {"text": "before"}

    def test_consume_later_reaches_the_test(self) -> None:
        with pytest.raises(ConsumeLater):
            self.consume(raise_later)
        assert self.channels_client.get_next_message("a.channel") is None

    def test_a_channel_socket_exception_is_run(self) -> None:
        assert self.consume(raise_close) is None
        assert self.channels_client.receive() == {"close": 3001}

    def test_the_consumer_signals_are_sent_by_the_class_of_the_client(self) -> None:
        def started(sender: Any, **kwargs: Any) -> None:
            self.signals.append(("started", sender))

        def finished(sender: Any, **kwargs: Any) -> None:
            self.signals.append(("finished", sender))

        consumer_started.connect(started)
        consumer_finished.connect(finished)
        try:
            with pytest.raises(ConsumeLater):
                self.consume(raise_later)
        finally:
            consumer_started.disconnect(started)
            consumer_finished.disconnect(finished)
        assert self.signals == [("started", Client), ("finished", Client)]

    def test_the_transaction_of_the_test_survives_a_consumer(self) -> None:
        User.objects.create_user("horse")
        self.consume(echo)
        assert not connection.needs_rollback
        assert User.objects.get().username == "horse"

    @override_settings(ROOT_URLCONF=__name__)
    def test_the_transaction_of_the_test_survives_a_view(self) -> None:
        User.objects.create_user("horse")
        with apply_routes({"http.request": ViewConsumer()}):
            self.channels_client.send_and_consume("http.request", {"method": "GET", "path": "/users/"})
        reply = self.channels_client.receive()
        assert (reply["status"], reply["content"]) == (200, b"1 users")
        assert User.objects.count() == 1

    def test_a_send_that_fails_is_told_to_the_test(self) -> None:
        def send_nowhere(message: Message) -> None:
            Channel("no such name").send({})
            Channel("a.name").send({"text": "later"})

        with pytest.raises(InvalidChannelName):
            self.consume(send_nowhere)
        assert not pending_message_store.active
        assert self.get_next_message("a.name", require=True)

    def test_get_consumer_by_channel_ignores_what_a_route_filters(self) -> None:
        with apply_routes([route("a.channel", echo), route("filtered", echo, path="^/")]):
            assert self.channels_client.get_consumer_by_channel("a.channel") is echo
            assert self.channels_client.get_consumer_by_channel("filtered") is None
            assert self.channels_client.get_consumer_by_channel("nowhere") is None

    def test_a_group_delivers_to_clients_that_joined_it(self) -> None:
        joined, other = Client(), Client()
        joined.join_group("room")
        Group("room").send({"text": "hello"}, immediately=True)
        assert joined.receive() == {"text": "hello"}
        assert other.receive() is None


FORMS: list[Any] = [
    route("a.channel", echo),
    [route("a.channel", echo)],
    (route("a.channel", echo),),
    [[route("a.channel", echo)], [route("another", echo)]],
    [route("another", echo), [route("a.channel", echo)]],
    include([route("a.channel", echo)]),
    {"a.channel": echo},
    [{"a.channel": echo}],
]


class ApplyRoutesTests(ChannelTestCase):
    def test_routes_come_in_any_form_that_include_takes(self) -> None:
        for form in FORMS:
            with apply_routes(form):
                assert Client().get_consumer_by_channel("a.channel") is echo, form
        for form in (f"{__name__}.routing", [f"{__name__}.routing"]):
            with apply_routes(form):
                assert Client().get_consumer_by_channel("from.path") is echo, form

    def test_they_replace_all_others_and_go_again(self) -> None:
        wrapper = channel_layers["default"]
        before = wrapper.routing, wrapper.router
        with apply_routes(route("outer", echo)):
            with apply_routes(route("inner", echo)):
                assert wrapper.router.channels == {"inner"}
            assert wrapper.router.channels == {"outer"}
            assert wrapper.routing == wrapper.router.root.routing
        assert (wrapper.routing, wrapper.router) == before

    def test_they_go_also_when_something_is_raised(self) -> None:
        wrapper = channel_layers["default"]
        before = wrapper.router
        with pytest.raises(ZeroDivisionError), apply_routes([]):
            raise ZeroDivisionError
        assert wrapper.router is before

    @apply_routes(route("decorated", echo))
    def test_they_decorate_a_function(self) -> None:
        assert channel_layers["default"].router.channels == {"decorated"}

    def test_they_can_be_entered_and_left_by_hand(self) -> None:
        routes = apply_routes(route("by.hand", echo))
        routes.enter()
        assert channel_layers["default"].router.channels == {"by.hand"}
        routes.exit()
        assert "by.hand" not in channel_layers["default"].router.channels

    def test_an_alias_that_does_not_exist_is_named(self) -> None:
        with pytest.raises(UnknownChannelLayer, match="'nowhere'"), apply_routes([], aliases=["nowhere"]):
            pass


@apply_routes([route("decorated", echo)])
class DecoratedClassTests(ChannelTestCase):
    @property
    def routed(self) -> bool:
        router: Router = channel_layers["default"].router
        return router.channels == {"decorated"}

    def setUp(self) -> None:
        assert self.routed

    def tearDown(self) -> None:
        assert not self.routed

    def test_routes_are_there_from_before_set_up_to_before_tear_down(self) -> None:
        assert self.routed

    def test_also_in_a_second_test(self) -> None:
        assert self.routed

    @unittest.skip("Nothing is left behind by a test that does not run.")
    def test_not_in_one_that_is_skipped(self) -> None:
        raise AssertionError


class TransactionTests(TransactionChannelTestCase):
    def test_a_transaction_test_case_has_a_layer_of_its_own(self) -> None:
        assert isinstance(channel_layers["default"].channel_layer, ChannelLayer)
        assert self.get_next_message("left.over") is None
        Channel("left.over").send({"text": "for nobody"})

    def test_in_every_test(self) -> None:
        self.test_a_transaction_test_case_has_a_layer_of_its_own()

    def test_and_real_transactions(self) -> None:
        assert not connection.in_atomic_block
        User.objects.create_user("horse")
        with apply_routes(route("a.channel", echo)):
            assert Client().send_and_consume("a.channel", {"text": "hello"}) == "returned"
        assert User.objects.count() == 1


def _leave_a_transaction(message: Message) -> None:
    left.append(transaction.atomic())
    left[-1].__enter__()
    User.objects.create_user("horse")


left: list[Any] = []


class LeftOpenTests(ChannelTestCase):
    def test_what_a_consumer_leaves_open_is_rolled_back_as_in_a_worker(self) -> None:
        depth = len(connection.atomic_blocks)
        User.objects.create_user("mule")
        with apply_routes(route("leave", _leave_a_transaction)), self.assertLogs("channels_classic.worker") as logs:
            Client().send_and_consume("leave")
        assert "A consumer left a transaction of the database 'default' open" in logs.output[0]
        assert len(connection.atomic_blocks) == depth
        assert [user.username for user in User.objects.all()] == ["mule"]


class LeftOpenTransactionTests(TransactionChannelTestCase):
    def test_a_consumer_that_leaves_autocommit_off_leaves_it_on_for_the_next(self) -> None:
        routes = route("leave", lambda message: transaction.set_autocommit(False))
        with apply_routes(routes), self.assertLogs("channels_classic.worker"):
            Client().send_and_consume("leave")
        User.objects.create_user("horse")
        assert transaction.get_autocommit()

    def test_what_a_consumer_leaves_open_is_rolled_back_as_in_a_worker(self) -> None:
        with apply_routes(route("leave", _leave_a_transaction)), self.assertLogs("channels_classic.worker"):
            Client().send_and_consume("leave")
        assert not connection.in_atomic_block
        assert not User.objects.exists()


class MixedInTests(ChannelTestCaseMixin, TestCase):
    def test_the_mixin_may_stand_in_front_of_a_django_class(self) -> None:
        assert isinstance(channel_layers["default"].channel_layer, ChannelLayer)


class _SkippedFirst(TransactionChannelTestCase):
    __test__ = False  # for a test below to run
    layers: ClassVar[list[object]] = []

    @unittest.skip("It is the first.")
    def test_1(self) -> None:
        raise AssertionError

    def test_2(self) -> None:
        self.layers.append(channel_layers["default"].channel_layer)

    def test_3(self) -> None:
        self.layers.append(channel_layers["default"].channel_layer)


@pytest.mark.django_db(transaction=True)
def test_the_layers_from_before_return_after_the_class_also_when_its_first_test_is_skipped(
    default_layer: ChannelLayerWrapper,
) -> None:
    _SkippedFirst.layers.clear()
    result = run(_SkippedFirst)
    assert result.wasSuccessful() and len(result.skipped) == 1, result
    assert len(set(map(id, [*_SkippedFirst.layers, default_layer.channel_layer]))) == 3
    assert channel_layers["default"] is default_layer


class _Failing(ChannelTestCase):
    __test__ = False

    @classmethod
    def setUpTestData(cls) -> None:
        raise ZeroDivisionError

    def test(self) -> None:
        """Never runs."""


@pytest.mark.django_db(transaction=True)
def test_the_layers_from_before_return_also_when_the_class_cannot_be_set_up(default_layer: ChannelLayerWrapper) -> None:
    assert len(run(_Failing).errors) == 1
    assert channel_layers["default"] is default_layer


@pytest.mark.django_db(transaction=True)
def test_a_layer_that_was_not_made_before_is_not_made_by_a_test(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY, "ROUTING": []}}
    made = channel_layers.backends.pop("default", None)
    try:
        assert run(_SkippedFirst).wasSuccessful()
        assert "default" not in channel_layers.backends
    finally:
        if made is not None:
            channel_layers.set("default", made)


def run(test_case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(test_case).run(result)
    return result


def test_importing_the_test_package_warns_of_nothing_until_http_client_is_asked_for() -> None:
    import channels_classic.test as package
    from channels_classic.test import WSClient

    for name in package.__all__:
        if name != "HttpClient":
            assert getattr(package, name).__name__ == name
    with pytest.warns(DeprecationWarning, match="WSClient"):
        assert package.HttpClient is WSClient
    with pytest.warns(DeprecationWarning, match="WSClient"):
        from channels_classic.test.http import HttpClient
    assert HttpClient is WSClient


def test_the_old_package_of_tests_warns_and_has_the_same_names() -> None:
    import channels_classic.test as package

    sys.modules.pop("channels_classic.tests", None)
    with pytest.warns(DeprecationWarning, match=r"channels_classic\.tests"):
        import channels_classic.tests as old
    assert old.__all__ == package.__all__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in package.__all__:
            assert getattr(old, name) is getattr(package, name)
