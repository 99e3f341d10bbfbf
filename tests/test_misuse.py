"""Mistakes in the code of a project: each is answered with a sentence that names the culprit."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from channels_classic import Channel, Group, checks, include, route, route_class
from channels_classic.asgi import ChannelLayerManager, channel_layers, get_channel_layer
from channels_classic.exceptions import DenyConnection, UnknownChannelLayer
from channels_classic.generic.websockets import JsonWebsocketConsumer, WebsocketDemultiplexer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.routing import Router
from channels_classic.security.websockets import allowed_hosts_only
from channels_classic.test import apply_routes
from tests.interface_server.live import TIMEOUT, live
from tests.support.waiting import eventually
from tests.worker.harness import make_worker, running

Lines = Callable[[], str]
Consumed = Callable[[Any, str, dict[str, Any]], str]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Lines:
    """Gives everything that was logged so far, with tracebacks."""
    caplog.set_level(logging.INFO)
    formatter = logging.Formatter()
    return lambda: "\n".join(formatter.format(record) for record in caplog.records)


@pytest.fixture
def consumed(log: Lines) -> Consumed:
    """Let a worker consume a message; gives what it logs about that."""
    layer = ChannelLayer()

    def consume(routing: Any, channel: str, content: dict[str, Any]) -> str:
        layer.send(channel, content)
        with running(make_worker(layer, routing)):
            eventually(lambda: f"of {channel} failed" in log())
        return log()

    return consume


def without_arguments() -> None:
    """A consumer that forgot the message."""


def with_keywords_only(**kwargs: Any) -> None:
    """Another one."""


def decorated(func: Callable[[], None]) -> Callable[[Message], None]:
    """Call a function without the message it was given, as a project may."""

    @functools.wraps(func)
    def inner(message: Message) -> None:
        func()

    return inner


def passing_on(func: Callable[..., None]) -> Callable[..., None]:
    """Call a function with all arguments, as most decorators do."""

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> None:
        func(*args, **kwargs)

    return inner


tuples = [("websocket.connect", without_arguments)]
number = 5


# Routing


def unfit(routing: Any) -> list[CheckMessage]:
    """Return the messages of `manage.py check` about a routing."""
    with override_settings(CHANNEL_LAYERS={"default": {"ROUTING": routing}}):
        return list(checks.check_channel_layers())


@pytest.mark.parametrize("consumer", [without_arguments, with_keywords_only, "tests.test_misuse.without_arguments"])
def test_a_consumer_that_takes_no_argument_is_accepted_and_reported_by_a_check(consumer: Any) -> None:
    name = "with_keywords_only" if consumer is with_keywords_only else "without_arguments"
    for routing in ([route("websocket.connect", consumer)], {"websocket.connect": consumer}):
        assert "websocket.connect" in Router(routing).channels
        (message,) = unfit(routing)
        assert message.id == "channels_classic.W010"
        assert f"The consumer tests.test_misuse.{name} of websocket.connect cannot be called: " in message.msg
        assert f"Write def {name}(message). Look at {__file__}, line " in str(message.hint)


def test_such_a_consumer_fails_when_it_is_called(consumed: Consumed) -> None:
    said = consumed([route("websocket.receive", without_arguments)], "websocket.receive", {"reply_channel": "someone"})
    assert "The consumer tests.test_misuse.without_arguments of websocket.receive failed" in said
    assert "takes 0 positional arguments but 1 was given" in said


def test_a_consumer_that_does_not_take_what_its_route_and_the_includes_around_it_capture_is_reported() -> None:
    def say(message: Message, room: str) -> None: ...

    routing = [route("websocket.connect", say, path="^/(?P<room>.*)$")]
    assert unfit(routing) == unfit([include(routing, path="^/chat")]) == []
    (message,) = unfit([include([include(routing, path="^/(?P<lang>..)")])])
    assert "got an unexpected keyword argument 'lang', and each message is passed as say(message, lang, room)" in (
        message.msg
    )
    (message,) = unfit([route(["a", "b"], say)])
    assert "say of a/b cannot be called: missing a required argument: 'room'" in message.msg


def test_a_class_that_takes_no_message_is_reported() -> None:
    class Named:
        @classmethod
        def channel_names(cls) -> set[str]:
            return {"a"}

    (message,) = unfit([route_class(Named)])
    assert "Named of a cannot be called: too many positional arguments" in message.msg
    assert unfit([JsonWebsocketConsumer.as_route(path="^/(?P<room>.*)")]) == []


def test_what_a_decorator_hides_is_not_reported() -> None:
    assert unfit([route("websocket.connect", decorated(without_arguments)), route("a", print)]) == []
    assert unfit([route("a", functools.partial(decorated(without_arguments))), route("a", mock.Mock())]) == []


def test_a_consumer_behind_a_decorator_that_takes_no_argument_is_named_when_it_is_called(consumed: Consumed) -> None:
    routing = [route("websocket.receive", passing_on(without_arguments))]
    said = consumed(routing, "websocket.receive", {"reply_channel": "someone"})
    assert "The consumer tests.test_misuse.without_arguments of websocket.receive failed" in said
    assert "takes 0 positional arguments but 1 was given" in said


def test_a_consumer_that_does_not_take_what_its_route_captures_is_named(consumed: Consumed) -> None:
    def say(message: Message) -> None:
        pass

    said = consumed([route("websocket.receive", say, path="^/(?P<room>.*)$")], "websocket.receive", {"path": "/a"})
    assert "say of websocket.receive failed" in said and "unexpected keyword argument 'room'" in said


@pytest.mark.parametrize("consumer", [None, 5, {"a": 1}, object()])
def test_a_consumer_that_cannot_be_called_is_accepted_and_reported_by_a_check(consumer: Any) -> None:
    (message,) = unfit([route(["websocket.connect", "websocket.receive"], consumer)])
    assert message.id == "channels_classic.W010"
    assert f"websocket.receive cannot be called: it is of type {type(consumer).__name__}." in message.msg


@pytest.mark.parametrize("channels", [None, 5, without_arguments])
def test_a_channel_of_the_wrong_type_is_named_with_the_consumer(channels: Any) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        route(channels, "mysite.consumers.ws_connect")
    assert f"The route to mysite.consumers.ws_connect is for the channel {channels!r}" in str(caught.value)


@pytest.mark.parametrize("channel", [None, 5, without_arguments, "not a name"])
def test_a_channel_that_cannot_be_one_is_accepted_and_reported_by_a_check(channel: Any) -> None:
    (message,) = unfit([route(["websocket.connect", channel], print)])
    assert message.id == "channels_classic.E005"
    assert f"{channel!r} is not a valid channel name" in message.msg


@pytest.mark.parametrize("entry", [("websocket.connect", print), "mysite.routing", print, None, {"a": print}])
def test_a_routing_entry_of_the_wrong_type_is_named_with_its_position(entry: Any) -> None:
    good = route("websocket.connect", print)
    for routing in ([good, entry], [include([good, entry])]):
        with pytest.raises(ImproperlyConfigured) as caught:
            Router(routing)
        assert f"Entry 1 of the routing is {entry!r}: expected route(…)" in str(caught.value)


@pytest.mark.parametrize("routing", [{"mysite.routing.channel_routing"}, frozenset({route("a", print)})])
def test_a_routing_that_is_a_set_has_no_order(routing: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"The routing is a set, which has no order: expected a list"):
        Router(routing)


def test_a_routing_whose_import_ends_the_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving_routing.py").write_text("import sys\n\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImproperlyConfigured, match=r"a module that it needs called sys\.exit\(0\) while it"):
        Router("leaving_routing.channel_routing")


@pytest.mark.parametrize("routing", [include({"a": print}), [print], 5, None, print])
def test_an_include_that_nothing_uses_is_accepted_whatever_it_includes(routing: Any) -> None:
    unused = include(routing)
    with pytest.raises(ImproperlyConfigured):
        Router([unused])
    (message,) = unfit([unused])
    assert message.id == "channels_classic.E005"


def test_a_class_that_was_not_put_into_route_class_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"Entry 0 of the routing is <class .*JsonWebsocketConsumer'>"):
        Router([JsonWebsocketConsumer])


def test_a_function_that_was_put_into_route_class_is_named() -> None:
    with pytest.raises(ValueError, match=r"tests\.test_misuse\.without_arguments has no channel_names\(\) method"):
        route_class(without_arguments)


def test_the_path_of_a_routing_with_a_mistake_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"Entry 0 of the routing 'tests\.test_misuse\.tuples' is \("):
        Router([include("tests.test_misuse.tuples", path="^/chat")])
    with pytest.raises(ImproperlyConfigured, match=r"5 is not a routing \(at 'tests\.test_misuse\.number'\)"):
        Router("tests.test_misuse.number")


# Layers


@pytest.mark.parametrize("use", [Channel, Group])
def test_an_unknown_layer_is_named_with_the_nearest(use: Any) -> None:
    with pytest.raises(UnknownChannelLayer, match=r"no layer 'defualt'\. Did you mean 'default'"):
        use("room", alias="defualt")


@override_settings(CHANNEL_LAYERS={5: {"ROUTING": []}})
def test_an_alias_that_is_no_text_hides_no_mistake() -> None:
    with pytest.raises(UnknownChannelLayer, match=r"defines no layer 'default'\. Expected one of: 5"):
        ChannelLayerManager()["default"]


def test_a_routing_in_a_folder_that_is_no_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare_site").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImproperlyConfigured, match=r"'bare_site' \(a folder without __init__.py\) has no 'routing'"):
        Router("bare_site.routing")


def test_an_unknown_layer_is_named_wherever_one_is_asked_for() -> None:
    for ask in (channel_layers.__getitem__, channel_layers.make_test_backend, get_channel_layer):
        with pytest.raises(UnknownChannelLayer, match="'nowhere'"):
            ask("nowhere")
    with pytest.raises(UnknownChannelLayer, match="'nowhere'"):
        apply_routes([], aliases=["nowhere"]).enter()


# WebSockets


@pytest.mark.parametrize(("text", "kind"), [(5, "int"), ({"a": 1}, "dict"), (["a"], "list"), (b"a", "bytes")])
def test_text_that_is_no_text_is_named_with_its_type_and_the_socket(text: Any, kind: str, log: Lines) -> None:
    with live() as server, server.websocket("/chat/lobby/") as client:
        client.send("anything")
        server.consume("websocket.receive", {"text": text}, {"text": "the next one"})
        assert client.recv(timeout=TIMEOUT) == "the next one"
    complaint = f"'text' is {text!r} of type {kind}, expected text"
    assert f"message for the WebSocket /chat/lobby/ was ignored: {complaint}" in log()


class Chat(JsonWebsocketConsumer):
    pass


class Streams(WebsocketDemultiplexer):
    consumers: ClassVar[dict[str, Any]] = {"chat": Chat}


@pytest.mark.parametrize("consumer", [Chat, Streams])
def test_a_frame_that_is_no_json_is_named_with_the_consumer(consumer: Any, consumed: Consumed) -> None:
    content = {"reply_channel": "someone", "path": "/chat/", "text": "{no json"}
    said = consumed([route_class(consumer)], "websocket.receive", content)
    name = f"tests.test_misuse.{consumer.__name__}"
    assert f"The consumer {name} of websocket.receive failed" in said
    assert f"{name} received a text that is not JSON" in said


def test_a_frame_for_an_unknown_stream_is_named_with_the_demultiplexer(consumed: Consumed) -> None:
    content = {"reply_channel": "someone", "path": "/", "text": '{"stream": "caht", "payload": {}}'}
    said = consumed([route_class(Streams)], "websocket.receive", content)
    assert "The consumer tests.test_misuse.Streams of websocket.receive failed" in said and "'caht'" in said


@override_settings(ALLOWED_HOSTS=["example.com"])
def test_an_origin_that_is_not_allowed_is_named(log: Lines) -> None:
    content = {"path": "/chat/lobby/", "headers": [[b"origin", b"http://evil.example"]]}
    with pytest.raises(DenyConnection, match=r"'http://evil\.example' is not allowed: the WebSocket of '/chat/lobby/'"):
        allowed_hosts_only(print)(Message(content, "websocket.connect", ChannelLayer()))
    assert "'http://evil.example' is not allowed: the WebSocket of '/chat/lobby/' is denied" in log()


@override_settings(ALLOWED_HOSTS=["example.com"])
def test_denying_what_is_no_handshake_names_the_consumer_and_its_channel(consumed: Consumed) -> None:
    content = {"path": "/", "headers": [[b"origin", b"http://evil.example"]], "reply_channel": "someone"}
    said = consumed([route("websocket.receive", allowed_hosts_only(without_arguments))], "websocket.receive", content)
    assert "without_arguments of websocket.receive failed" in said
    assert "DenyConnection was raised for a message of 'websocket.receive'" in said
