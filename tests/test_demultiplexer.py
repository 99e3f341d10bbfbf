"""The demultiplexer of generic consumers: streams in one socket."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from channels_classic import Group, checks, route, route_class
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ConsumeLater, SendNotAvailableOnDemultiplexer
from channels_classic.generic.websockets import (
    WebsocketConsumer,
    WebsocketDemultiplexer,
    WebsocketMultiplexer,
)
from channels_classic.message import Message
from channels_classic.sessions import enforce_ordering
from channels_classic.test import Client, WSClient, apply_routes
from tests.support.json_consumer import MarkingConsumer

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"

# The database fixture, because the end of a consumer checks connections that other tests have left open.
pytestmark = pytest.mark.usefixtures("default_layer", "db", "cached_sessions")


class Stream(WebsocketConsumer):
    """Sends the arguments of its methods on its stream."""

    def connect(self, message: Message, multiplexer: Any = None, **kwargs: Any) -> None:
        multiplexer.send({"connect": kwargs})

    def receive(self, text: Any = None, multiplexer: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
        multiplexer.send({"receive": kwargs, "text": json.loads(text)})

    def disconnect(self, message: Message, multiplexer: Any = None, **kwargs: Any) -> None:
        multiplexer.send({"disconnect": kwargs})


class Sending(Stream):
    """Sends on the socket, which is not allowed on a stream."""

    on = RECEIVE

    def connect(self, message: Message, multiplexer: Any = None, **kwargs: Any) -> None:
        self.act()

    def receive(self, text: Any = None, multiplexer: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
        self.act()

    def disconnect(self, message: Message, multiplexer: Any = None, **kwargs: Any) -> None:
        self.act()

    def act(self) -> None:
        if self.message.channel.name == self.on:
            self.send("text", close=True)


def function(message: Message, multiplexer: Any, **kwargs: Any) -> None:
    multiplexer.send({"function": message.channel.name})


class Demultiplexer(WebsocketDemultiplexer):
    consumers: ClassVar[dict[str, Any]] = {"mystream": Stream, "function": function}


def replies(client: WSClient) -> list[Any]:
    found = []
    while (reply := client.receive()) is not None:
        found.append(reply)
    return found


def test_a_demultiplexer_forwards_everything_with_the_keyword_arguments_of_the_route() -> None:
    client = WSClient()
    with apply_routes([route_class(Demultiplexer, path=r"/path/(?P<id>\d+)")]):
        client.send_and_consume(CONNECT, path="/path/1")
        client.send(RECEIVE, text={"stream": "mystream", "payload": {"test": "mystream"}}, path="/path/1")
        client.consume(RECEIVE)
        client.send_and_consume(DISCONNECT, path="/path/1")
    assert replies(client) == [
        {"stream": "mystream", "payload": {"connect": {"id": "1"}}},
        {"stream": "function", "payload": {"function": CONNECT}},
        {"stream": "mystream", "payload": {"receive": {"id": "1"}, "text": {"test": "mystream"}}},
        {"stream": "mystream", "payload": {"disconnect": {"id": "1"}}},
        {"stream": "function", "payload": {"function": DISCONNECT}},
    ]


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (["list"], "expected"),
        ({"payload": {}}, "expected"),
        ({"stream": "mystream"}, "expected"),
        (
            {"stream": "other", "payload": {}},
            r"Demultiplexer has no stream 'other'; its streams: 'mystream', 'function'",
        ),
        ({"stream": ["mystream"], "payload": {}}, r"no stream \['mystream'\]"),
        ({"stream": "mystream", "payload": "text"}, "a payload of type str on stream 'mystream': expected a dict"),
    ],
)
def test_a_frame_without_a_known_stream_is_refused(frame: Any, problem: str) -> None:
    client = WSClient()
    with apply_routes([route_class(Demultiplexer)]), pytest.raises(ValueError, match=problem):
        client.send_and_consume(RECEIVE, text=frame)


@pytest.mark.parametrize(
    "frame", [{"login": "a password"}, ["a password"], {"stream": "mystream", "payload": "a password"}]
)
def test_the_error_about_a_frame_shows_no_value(frame: Any) -> None:
    with apply_routes([route_class(Demultiplexer)]), pytest.raises(ValueError, match="expected") as raised:
        WSClient().send_and_consume(RECEIVE, text=frame)
    assert "password" not in str(raised.value)


def test_the_error_about_a_frame_shows_its_beginning_only() -> None:
    client = WSClient()
    frames: list[Any] = [
        ["x" * 10_000] * 100,
        {"stream": "x" * 10_000, "payload": {}},
        {"stream": "mystream", "payload": "x" * 10_000},
    ]
    for frame in frames:
        with apply_routes([route_class(Demultiplexer)]), pytest.raises(ValueError, match="Demultiplexer") as caught:
            client.send_and_consume(RECEIVE, text=frame)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("channel", [CONNECT, RECEIVE, DISCONNECT])
def test_a_stream_cannot_send_on_the_socket(channel: str) -> None:
    consumer = type("Sending", (Sending,), {"on": channel})
    demultiplexer = type("Demultiplexer", (WebsocketDemultiplexer,), {"consumers": {"mystream": consumer}})
    client = WSClient()
    with apply_routes([route_class(demultiplexer)]), pytest.raises(SendNotAvailableOnDemultiplexer, match="Sending"):
        client.send_and_consume(channel, text={"stream": "mystream", "payload": {}})


def test_a_demultiplexer_does_not_modify_the_classes_of_its_streams() -> None:
    demultiplexer = type("Demultiplexer", (WebsocketDemultiplexer,), {"consumers": {"mystream": Sending}})
    client = WSClient()
    with apply_routes([route_class(demultiplexer, path="^/all$"), route_class(Sending, path="^/one$")]):
        with pytest.raises(SendNotAvailableOnDemultiplexer):
            client.send_and_consume(RECEIVE, text={"stream": "mystream", "payload": {}}, path="/all")
        client.send_and_consume(RECEIVE, text="hi", path="/one")
    assert Client.receive(client) == {"text": "text", "close": True}
    assert Sending.send is WebsocketConsumer.send


def test_a_demultiplexer_itself_cannot_send() -> None:
    client = WSClient()
    with apply_routes([route_class(Demultiplexer)]):
        demultiplexer = client.send_and_consume(RECEIVE, text={"stream": "mystream", "payload": {}})
    with pytest.raises(SendNotAvailableOnDemultiplexer):
        demultiplexer.send({"x": 1}, close=True)
    with pytest.raises(SendNotAvailableOnDemultiplexer, match=r"WebsocketMultiplexer\.group_send"):
        Demultiplexer.group_send("group", {"x": 1})


def test_streams_are_encoded_by_the_multiplexer_class_and_decoded_by_the_demultiplexer() -> None:
    class Multiplexer(WebsocketMultiplexer):
        @classmethod
        def encode_json(cls, content: Any) -> str:
            return json.dumps({**content, "multiplexed": True})

    class Custom(WebsocketDemultiplexer):
        multiplexer_class = Multiplexer
        consumers: ClassVar[dict[str, Any]] = {"mystream": MarkingConsumer}

    client = WSClient()
    with apply_routes([route_class(Custom)]):
        client.send_and_consume(RECEIVE, text={"stream": "mystream", "payload": {"key": "value"}})
    assert client.receive() == {
        "stream": "mystream",
        "payload": {"key": "value", "decoded": True},
        "multiplexed": True,
    }


def test_connection_groups_of_a_stream_receives_the_multiplexer(default_layer: ChannelLayerWrapper) -> None:
    class Grouped(Stream):
        def connection_groups(self, multiplexer: Any = None, **kwargs: Any) -> list[str]:
            return [f"group-{multiplexer.stream}"]

    demultiplexer = type("Demultiplexer", (WebsocketDemultiplexer,), {"consumers": {"mystream": Grouped}})
    client = WSClient()
    with apply_routes([route_class(demultiplexer)]):
        client.send_and_consume(CONNECT)
    client.receive()
    Group("group-mystream").send({"text": "1"})
    assert client.receive() == 1


def test_streams_share_the_session_and_user_of_the_demultiplexer() -> None:
    class Shared(Stream):
        channel_session = True

        def receive(self, text: Any = None, multiplexer: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
            session = self.message.channel_session
            session["frames"] = session.get("frames", 0) + 1
            multiplexer.send({"user": self.message.user.username, "frames": session["frames"]})

    class Users(WebsocketDemultiplexer):
        http_user = True
        consumers: ClassVar[dict[str, Any]] = {"a": Shared, "b": Shared}

    client = WSClient()
    client.force_login(User.objects.create_user("bob"))
    with apply_routes([route_class(Users)]):
        client.send_and_consume(CONNECT)
        replies(client)
        for stream in ("a", "b"):
            client.send_and_consume(RECEIVE, text={"stream": stream, "payload": {}})
    assert [reply["payload"] for reply in replies(client)] == [
        {"user": "bob", "frames": 1},
        {"user": "bob", "frames": 2},
    ]


def test_a_frame_that_is_put_back_keeps_its_stream() -> None:
    def later(message: Message, **kwargs: Any) -> None:
        assert message["text"] == '{"x": 1}'
        raise ConsumeLater

    demultiplexer = type("Demultiplexer", (WebsocketDemultiplexer,), {"consumers": {"mystream": later}})
    content = {"path": "/", "reply_channel": "a", "text": '{"stream": "mystream", "payload": {"x": 1}}'}
    message = Message(content.copy(), RECEIVE, None)
    with pytest.raises(ConsumeLater):
        demultiplexer(message)
    assert message.content == content


def test_the_order_of_a_socket_is_set_on_its_demultiplexer() -> None:
    class Ordered(Stream):
        strict_ordering = True

    @enforce_ordering
    def ordered(message: Message, **kwargs: Any) -> None:
        """Consume in order."""

    for consumers in ({"a": Ordered, "b": Ordered}, {"a": Ordered, "b": ordered}):
        wrong = type("Wrong", (WebsocketDemultiplexer,), {"consumers": consumers})
        with override_settings(CHANNEL_LAYERS={"default": {"ROUTING": [route_class(wrong)]}}):
            (message,) = checks.check_channel_layers()
        assert message.id == "channels_classic.W011"
        assert re.search(r"streams 'a', 'b' of .*Wrong have strict_ordering", message.msg)

    class Right(WebsocketDemultiplexer):
        strict_ordering = True
        consumers: ClassVar[dict[str, Any]] = {"a": Stream, "b": Stream}

    client = WSClient(ordered=True)
    with apply_routes([route_class(Right)]):
        client.order = 1
        client.send(RECEIVE, text={"stream": "a", "payload": {"early": True}})
        client.consume(RECEIVE)
        assert replies(client) == []
        client.order = 0
        client.send_and_consume(CONNECT)
        client.consume(RECEIVE)
    assert replies(client)[-1] == {"stream": "a", "payload": {"receive": {}, "text": {"early": True}}}


def test_one_stream_can_be_ordered() -> None:
    class Ordered(Stream):
        strict_ordering = True

    demultiplexer = type("One", (WebsocketDemultiplexer,), {"consumers": {"a": Ordered, "b": function}})
    client = WSClient(ordered=True)
    with apply_routes([route_class(demultiplexer)]):
        client.send_and_consume(CONNECT)
        replies(client)
        client.send_and_consume(RECEIVE, text={"stream": "a", "payload": {}})
    assert replies(client) == [{"stream": "a", "payload": {"receive": {}, "text": {}}}]


def test_a_demultiplexer_can_be_routed_like_any_consumer() -> None:
    assert Demultiplexer.as_route(path="^/$").channel_names() == {CONNECT, RECEIVE, DISCONNECT}
    assert route([CONNECT, RECEIVE], Demultiplexer).consumer is Demultiplexer
