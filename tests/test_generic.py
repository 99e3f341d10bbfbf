"""Generic consumers of WebSockets."""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import AnonymousUser, User

from channels_classic import route_class
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.generic import BaseConsumer
from channels_classic.generic.websockets import (
    JsonWebsocketConsumer,
    WebsocketConsumer,
    WebsocketMultiplexer,
)
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.sessions import enforce_ordering
from channels_classic.test import Client, WSClient, apply_routes
from tests.support.json_consumer import MarkingConsumer

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"

# The database fixture, because the end of a consumer checks connections that other tests have left open.
pytestmark = pytest.mark.usefixtures("default_layer", "db", "cached_sessions")


# BaseConsumer


class TwoChannels(BaseConsumer):
    method_mapping: ClassVar[dict[str, str]] = {"test.create": "create", "test.test": "test"}
    created = tested = False

    def create(self, message: Message, **kwargs: Any) -> str:
        self.created = True
        return "result"

    def test(self, message: Message, **kwargs: Any) -> None:
        self.tested = True


def test_a_consumer_class_calls_the_method_of_the_channel_and_is_returned() -> None:
    client = Client()
    with apply_routes([route_class(TwoChannels)]):
        assert client.get_consumer_by_channel("test.create") is TwoChannels
        created = client.send_and_consume("test.create")
        tested = client.send_and_consume("test.test")
    assert (created.created, created.tested) == (True, False)
    assert (tested.created, tested.tested) == (False, True)


def test_channels_without_a_method_do_not_match() -> None:
    client = Client()
    with apply_routes([route_class(TwoChannels)]):
        assert client.get_consumer_by_channel("test.wrong") is None
        assert client.get_consumer_by_channel("test") is None
    with pytest.raises(KeyError):
        TwoChannels(Message({}, "test.wrong", None))


def test_the_keyword_arguments_of_the_route_are_on_the_instance_and_passed_to_the_method() -> None:
    class Keeping(TwoChannels):
        def create(self, message: Message, **kwargs: Any) -> str:
            self.given = kwargs
            return ""

    client = Client()
    with apply_routes([route_class(Keeping, path=r"^/(?P<room>\w+)$")]):
        consumer = client.send_and_consume("test.create", {"path": "/lobby"})
    assert consumer.kwargs == consumer.given == {"room": "lobby"}


def test_dispatch_returns_the_result_of_the_method() -> None:
    message = Message({}, "test.create", None)
    assert TwoChannels(message).dispatch(message) == "result"


def test_a_route_with_attributes_has_a_subclass_as_its_consumer() -> None:
    class Unmapped(BaseConsumer):
        trigger = "old"

        def test(self, message: Message, **kwargs: Any) -> None:
            self.seen = self.trigger

    attributes = {"method_mapping": {"mychannel": "test"}, "trigger": "from as_route"}
    client = Client()
    with apply_routes([Unmapped.as_route(attributes, name="filter")]):
        assert client.send_and_consume("mychannel", {"name": "no"}, fail_on_none=False) is None
        consumer = client.send_and_consume("mychannel", {"name": "filter"})
    assert consumer.seen == "from as_route"
    assert type(consumer) is not Unmapped
    assert type(consumer).__name__ == "Unmapped"
    assert Unmapped.trigger == "old"


def test_a_route_without_attributes_has_the_class_as_its_consumer() -> None:
    with_attributes = WebsocketConsumer.as_route(attrs={"strict_ordering": True}, path="^/test$")
    without = WebsocketConsumer.as_route(path="^/test/2$")
    assert with_attributes.consumer is not WebsocketConsumer
    assert without.consumer is WebsocketConsumer
    assert WebsocketConsumer.as_route({}).consumer is WebsocketConsumer


def test_attributes_of_a_route_must_be_a_dict() -> None:
    with pytest.raises(AssertionError, match="dict of class attributes"):
        WebsocketConsumer.as_route("^/test$")  # type: ignore[arg-type]


@pytest.mark.parametrize("flag", ["channel_session", "channel_session_user"])
def test_the_flags_set_the_session_and_the_user_of_the_message(flag: str) -> None:
    consumer = type("Flagged", (TwoChannels,), {flag: True})
    client = Client()
    with apply_routes([route_class(consumer)]):
        message = client.send_and_consume("test.create").message
    assert message.channel_session is not None
    assert hasattr(message, "user") is (flag == "channel_session_user")


def test_get_handler_can_apply_decorators() -> None:
    class Decorated(TwoChannels):
        def get_handler(self, message: Message, **kwargs: Any) -> Any:
            handler = super().get_handler(message, **kwargs)

            def decorated(message: Message, **kwargs: Any) -> Any:
                self.decorated = handler.__name__
                return handler(message, **kwargs)

            return decorated

    assert Decorated(Message({}, "test.create", None)).decorated == "create"


# WebsocketConsumer


class Keeping(WebsocketConsumer):
    """Records the arguments of its methods."""

    def connect(self, message: Message, **kwargs: Any) -> None:
        self.called = ("connect", message, kwargs)
        super().connect(message, **kwargs)

    def receive(self, text: Any = None, bytes: Any = None, **kwargs: Any) -> None:
        self.called = ("receive", text, bytes, kwargs)  # type: ignore[assignment]

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        self.called = ("disconnect", message, kwargs)


def test_each_method_is_called_with_the_keyword_arguments_of_the_route() -> None:
    client = Client()
    with apply_routes([route_class(Keeping, path=r"/path/(?P<id>\d+)")]):
        connected = client.send_and_consume(CONNECT, {"path": "/path/1"})
        received = client.send_and_consume(RECEIVE, {"path": "/path/2", "text": "hi"})
        disconnected = client.send_and_consume(DISCONNECT, {"path": "/path/3"})
    assert connected.called == ("connect", connected.message, {"id": "1"})
    assert received.called == ("receive", "hi", None, {"id": "2"})
    assert disconnected.called == ("disconnect", disconnected.message, {"id": "3"})
    assert [consumer.path for consumer in (connected, received, disconnected)] == ["/path/1", "/path/2", "/path/3"]


def test_a_message_without_a_path_raises_a_key_error() -> None:
    with pytest.raises(KeyError):
        WebsocketConsumer(Message({"reply_channel": "a"}, CONNECT, None))


def test_a_message_without_reply_channel_names_the_consumer() -> None:
    with pytest.raises(ValueError, match=r"WebsocketConsumer received a message .* without a reply_channel"):
        WebsocketConsumer(Message({"path": "/"}, CONNECT, None))


def test_the_default_connect_accepts() -> None:
    client = WSClient()
    with apply_routes([route_class(WebsocketConsumer)]):
        client.send_and_consume(CONNECT, path="/")
    assert client.receive() is None


def test_connect_may_accept_and_send() -> None:
    class Greeting(WebsocketConsumer):
        def connect(self, message: Message, **kwargs: Any) -> None:
            assert message.reply_channel is not None
            message.reply_channel.send({"accept": True})
            for text in (0, 1, "next"):
                self.send(text=text)  # type: ignore[arg-type]

    client = WSClient()
    with apply_routes([route_class(Greeting, path="/path")]):
        client.send_and_consume(CONNECT, path="/path")
    assert [client.receive(json=False) for _ in range(3)] == [0, 1, "next"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"text": "hi"}, ("hi", None)),
        ({"text": ""}, ("", None)),
        ({"bytes": b"hi"}, (None, b"hi")),
        ({"text": None, "bytes": b"hi"}, (None, b"hi")),
        ({"text": "hi", "bytes": None}, ("hi", None)),
    ],
)
def test_a_frame_is_text_or_bytes_depending_on_which_is_not_none(
    content: dict[str, Any], expected: tuple[Any, Any]
) -> None:
    client = Client()
    with apply_routes([route_class(Keeping)]):
        consumer = client.send_and_consume(RECEIVE, {"path": "/", **content})
    assert consumer.called == ("receive", *expected, {})


def test_receive_is_called_with_either_text_or_bytes() -> None:
    class OnlyText(WebsocketConsumer):
        def receive(self, text: str) -> None:  # type: ignore[override]
            self.send(text=text)

    client = WSClient()
    with apply_routes([route_class(OnlyText)]):
        client.send_and_consume(RECEIVE, text="hi")
    assert client.receive(json=False) == "hi"


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"text": "hi"}, {"text": "hi"}),
        ({"text": ""}, {"text": ""}),
        ({"bytes": b""}, {"bytes": b""}),
        ({"text": "hi", "bytes": b"hi"}, {"text": "hi"}),
        ({"text": "hi", "close": True}, {"text": "hi", "close": True}),
        ({"bytes": b"hi", "close": 3001}, {"bytes": b"hi", "close": 3001}),
    ],
)
def test_sending_puts_a_frame_on_the_reply_channel_or_the_group(
    arguments: dict[str, Any], sent: dict[str, Any]
) -> None:
    client = Client()
    client.join_group("group")
    with apply_routes([route_class(Keeping)]):
        consumer = client.send_and_consume(RECEIVE, {"path": "/"})
    consumer.send(**arguments)
    assert client.receive() == sent
    Keeping.group_send("group", **arguments)
    assert client.receive() == sent


def test_a_send_without_a_frame_is_refused_even_when_it_closes() -> None:
    consumer = Keeping(Message({"path": "/", "reply_channel": "a"}, RECEIVE, None))
    with pytest.raises(ValueError, match="text or bytes"):
        consumer.send(close=True)
    with pytest.raises(ValueError, match="text or bytes"):
        Keeping.group_send("group")


def test_a_socket_is_closed_with_or_without_a_code() -> None:
    client = Client()
    with apply_routes([route_class(Keeping)]):
        consumer = client.send_and_consume(RECEIVE, {"path": "/"})
    consumer.close()
    consumer.close(3001)
    assert [client.receive(), client.receive()] == [{"close": True}, {"close": 3001}]


def test_a_socket_is_in_its_groups_while_it_is_connected(default_layer: ChannelLayerWrapper) -> None:
    class Grouped(WebsocketConsumer):
        def connection_groups(self, room: str = "", **kwargs: Any) -> list[str]:
            return ["all", f"room-{room}"]

    client = WSClient()
    with apply_routes([route_class(Grouped, path=r"^/(?P<room>\w+)$")]):
        client.send_and_consume(CONNECT, path="/lobby")
        assert default_layer.group_channels("all") == [client.reply_channel]
        assert default_layer.group_channels("room-lobby") == [client.reply_channel]
        client.send_and_consume(DISCONNECT, path="/lobby")
    assert default_layer.group_channels("all") == default_layer.group_channels("room-lobby") == []


def test_groups_are_a_class_attribute_and_on_the_layer_of_the_message() -> None:
    class Grouped(WebsocketConsumer):
        groups = ("all",)

    layer = ChannelLayer()
    Grouped(Message({"path": "/", "reply_channel": "a"}, CONNECT, layer))
    assert layer.group_channels("all") == ["a"]


def test_a_socket_stays_in_its_groups_when_connect_raises(default_layer: ChannelLayerWrapper) -> None:
    class Broken(WebsocketConsumer):
        groups = ("all",)

        def connect(self, message: Message, **kwargs: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken(Message({"path": "/", "reply_channel": "a"}, CONNECT, None))
    assert default_layer.group_channels("all") == ["a"]


def test_a_string_for_groups_is_refused() -> None:
    class Misspelt(WebsocketConsumer):
        groups = "all"

    with pytest.raises(TypeError, match="Misspelt are the string 'all': expected a list"):
        Misspelt(Message({"path": "/", "reply_channel": "a"}, CONNECT, None))


@pytest.mark.parametrize("flag", [{"strict_ordering": True}, {"get_handler": None}])
def test_strict_ordering_consumes_messages_in_order(flag: dict[str, Any]) -> None:
    class Ordered(WebsocketConsumer):
        def connect(self, message: Message, **kwargs: Any) -> None:
            self.order = message["order"]

    class Decorated(Ordered):
        def get_handler(self, message: Message, **kwargs: Any) -> Any:
            return enforce_ordering(super().get_handler(message, **kwargs))

    routed = Decorated.as_route() if "get_handler" in flag else Ordered.as_route(flag)
    client = Client()
    with apply_routes(routed):
        client.send(CONNECT, {"path": "/", "order": 1})
        client.send(CONNECT, {"path": "/", "order": 0})
        waiting = client.consume(CONNECT)
        first = client.consume(CONNECT)
        second = client.consume(CONNECT)
    assert not hasattr(waiting, "order")
    assert (first.order, second.order) == (0, 1)


def test_slight_ordering_is_refused() -> None:
    class Slight(WebsocketConsumer):
        slight_ordering = True

    with pytest.raises(ValueError, match="Slight has slight_ordering"):
        Slight(Message({"path": "/"}, CONNECT, None))


class Seeing(WebsocketConsumer):
    """Records the attributes that decorators set on the message."""

    def connect(self, message: Message, **kwargs: Any) -> None:
        self.see()
        super().connect(message, **kwargs)

    def receive(self, text: Any = None, bytes: Any = None, **kwargs: Any) -> None:
        self.see()

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        self.see()

    def see(self) -> None:
        self.user = getattr(self.message, "user", None)
        session = getattr(self.message, "http_session", None)
        self.key = session.session_key if session is not None else None


def life_of_a_socket(user: Any, **attributes: Any) -> tuple[list[Seeing], str]:
    client = WSClient()
    client.force_login(user)
    with apply_routes([Seeing.as_route(attributes)]):
        seen = [client.send_and_consume(channel, path="/path") for channel in (CONNECT, RECEIVE, DISCONNECT)]
    return seen, client.session.session_key


def test_http_user_and_session_gives_every_message_the_user_and_the_browsers_session() -> None:
    user = User.objects.create_user("bob")
    seen, key = life_of_a_socket(user, http_user_and_session=True)
    assert [consumer.key for consumer in seen] == [key] * 3
    assert [consumer.user for consumer in seen] == [user] * 3


def test_http_user_sets_the_user_on_every_message_and_the_session_on_the_first() -> None:
    user = User.objects.create_user("bob")
    seen, key = life_of_a_socket(user, http_user=True)
    assert [consumer.key for consumer in seen] == [key, None, None]
    assert [consumer.user for consumer in seen] == [user] * 3


def test_http_user_is_anonymous_without_a_login() -> None:
    client = WSClient()
    with apply_routes([Seeing.as_route({"http_user": True})]):
        assert isinstance(client.send_and_consume(CONNECT).user, AnonymousUser)


# JsonWebsocketConsumer


class Echo(JsonWebsocketConsumer):
    def receive(self, content: Any, **kwargs: Any) -> None:  # type: ignore[override]  # as its base class does
        self.send({"content": content, **kwargs})


def test_json_frames_are_decoded_and_encoded() -> None:
    client = WSClient()
    client.join_group("group")
    with apply_routes([route_class(Echo, path=r"^/(?P<id>\d)")]):
        client.send_and_consume(RECEIVE, text=["one", 2], path="/1")
    assert client.receive() == {"content": ["one", 2], "id": "1"}
    Echo.group_send("group", {"x": 1}, close=True)
    assert Client.receive(client) == {"text": '{"x": 1}', "close": True}


def test_a_frame_that_is_not_json_names_the_consumer() -> None:
    client = WSClient()
    with apply_routes([route_class(Echo)]):
        with pytest.raises(json.JSONDecodeError, match=r"test_generic\.Echo received a text that is not JSON"):
            client.send_and_consume(RECEIVE, text="{")
        with pytest.raises(ValueError, match=r"test_generic\.Echo received a frame without text"):
            client.send_and_consume(RECEIVE, {"bytes": b"{}"})


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "9" * 5000])
def test_json_that_python_cannot_represent_is_refused_like_invalid_json(text: str) -> None:
    client = Client()
    with apply_routes([route_class(Echo)]), pytest.raises(json.JSONDecodeError, match=r"Echo received a text"):
        client.send_and_consume(RECEIVE, {"path": "/", "text": text})


def test_json_consumers_do_not_encode_dates() -> None:
    with pytest.raises(TypeError, match="date is not JSON serializable"):
        Echo.group_send("group", {"date": datetime.date(2017, 1, 1)})


def test_json_encoding_and_decoding_can_be_overridden() -> None:
    client = WSClient()
    client.join_group("group")
    with apply_routes([route_class(MarkingConsumer)]):
        client.send_and_consume(RECEIVE, text={"key": "value"})
    assert client.receive() == {"key": "value", "decoded": True, "encoded": True}
    MarkingConsumer.group_send("group", {"test": "data"})
    assert client.receive() == {"test": "data", "encoded": True}


# WebsocketMultiplexer


def test_a_multiplexer_sends_frames_that_name_the_stream() -> None:
    client = WSClient()
    client.join_group("group")
    key = uuid.UUID(int=1)
    reply_channel = Message({"reply_channel": client.reply_channel}, RECEIVE, None).reply_channel
    assert reply_channel is not None
    multiplexer = WebsocketMultiplexer("stream", reply_channel)
    multiplexer.send({"id": key, "date": datetime.date(2017, 1, 1)})
    assert client.receive() == {"stream": "stream", "payload": {"id": str(key), "date": "2017-01-01"}}
    WebsocketMultiplexer.group_send("group", "stream", {"x": 1})
    assert client.receive() == {"stream": "stream", "payload": {"x": 1}}
    WebsocketMultiplexer.group_send("group", "stream", {"x": 1}, close=True)
    assert Client.receive(client)["close"] is True
