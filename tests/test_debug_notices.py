"""While `DEBUG` is on, messages that nobody will ever see are warned of, once each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from channels_classic import Channel, Group, _debug_notices, include, route
from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.routing import connect_consumer, null_consumer
from tests.support.waiting import eventually
from tests.worker.harness import make_worker, running

if TYPE_CHECKING:
    from pytest_django import Settings

Lines = Callable[[], list[str]]


def consume(message: Message) -> None:
    """Consume a message."""


@pytest.fixture(autouse=True)
def debug(settings: Settings) -> Iterator[None]:
    """`DEBUG`, and a layer with one route."""
    settings.DEBUG = True
    _debug_notices._seen.clear()
    _debug_notices._joined.clear()
    layer = ChannelLayerWrapper(ChannelLayer(), "default", [route("thumbnails", consume)])
    previous = channel_layers.set("default", layer)
    yield
    channel_layers.set("default", previous)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_channel_without_a_route_is_warned_of_once_with_the_nearest(warnings: Lines) -> None:
    for _ in range(3):
        Channel("thumbnail").send({})
    (line,) = warnings()
    assert line == "No route of the layer 'default' consumes what is sent to 'thumbnail': did you mean 'thumbnails'?"


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_what_a_consumer_sends_to_nobody_is_named(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    def function(message: Message) -> None:
        Channel("thumbnail").send({})
        Channel("thumbnails-to-do").send({}, on_commit=True)
        Group("nobody").send({})

    async def coroutine(message: Message) -> None:
        function(message)

    caplog.set_level(logging.INFO)
    layer = channel_layers["default"].channel_layer
    with running(make_worker(layer, {"test": function if kind == "function" else coroutine})):
        layer.send("test", {})
        eventually(lambda: "The group 'nobody' has no members" in caplog.text)
    assert "what is sent to 'thumbnail': did you mean 'thumbnails'?" in caplog.text
    assert "what is sent to 'thumbnails-to-do': did you mean 'thumbnails'?" in caplog.text


def test_one_that_resembles_none_says_what_to_do(warnings: Lines) -> None:
    Channel("mail").send({})
    assert "add a route() for it" in warnings()[0]


@pytest.mark.parametrize("name", ["thumbnails", "http.response!abc", "reply?xyz", "asgi.delay", "websocket.receive"])
def test_channels_that_somebody_reads_are_not(warnings: Lines, name: str) -> None:
    Channel(name).send({})
    assert warnings() == []


def test_delayed_messages_of_a_project_without_the_app_for_them_are_warned_of_once(
    settings: Settings, warnings: Lines
) -> None:
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "channels_classic.delay"]
    for _ in range(2):
        Channel("asgi.delay").send({"channel": "thumbnails", "content": {}, "delay": 5})
    (line,) = warnings()
    assert line.startswith("Nothing delays what is sent to 'asgi.delay': add 'channels_classic.delay' to INSTALLED")


def test_without_debug_nothing_is_said(settings: Settings, warnings: Lines) -> None:
    settings.DEBUG = False
    Channel("thumbnail").send({})
    assert warnings() == []


def test_frames_that_no_route_takes_are_warned_of_once_for_each_path(warnings: Lines) -> None:
    layer = ChannelLayer()
    worker: Any = make_worker(layer, {"websocket.receive": null_consumer, "other": consume})
    for path in ("/chat", "/chat", "/elsewhere"):
        layer.send("websocket.receive", {"path": path, "reply_channel": "reply!x", "text": "hello"})
    with running(worker):
        eventually(lambda: len(warnings()) == 2)
    assert sorted(line.partition(": ")[0] for line in warnings()) == [
        "No route for websocket.receive matches sockets at '/chat'",
        "No route for websocket.receive matches sockets at '/elsewhere'",
    ]


@pytest.mark.parametrize("channel", ["websocket.connect", "websocket.receive"])
def test_a_socket_that_no_route_takes_is_warned_of_when_it_opens(warnings: Lines, channel: str) -> None:
    layer = ChannelLayerWrapper(ChannelLayer(), "default", [route(channel, consume, path="^/notify/$")])
    layer.router.check_default(consume)
    for path in ("/notify", "/notify", "/notify/"):
        message = Message({"path": path, "reply_channel": "reply!x", "order": 0}, "websocket.connect", layer)
        match = layer.router.match(message)
        assert match is not None
        match[0](message)
    (line,) = warnings()
    assert line.startswith("No route for websocket.connect matches sockets at '/notify': nothing answers them. ")
    assert ("'^/notify/$'" in line) is (channel == "websocket.connect")


def test_nothing_is_said_of_a_socket_whose_frames_a_route_may_take_by_their_text(warnings: Lines) -> None:
    routes = [include([route("websocket.receive", consume, text="^hello")], path="^/chat")]
    layer = ChannelLayerWrapper(ChannelLayer(), "default", routes)
    connect_consumer(Message({"path": "/chat", "reply_channel": "reply!x"}, "websocket.connect", layer))
    assert warnings() == []


def test_the_paths_of_the_routes_that_exist_are_named(warnings: Lines) -> None:
    inner = [
        route("websocket.receive", consume, path=r"(?P<room>\w+)/$"),
        route("websocket.connect", consume, path="x"),
    ]
    routing = [include(inner, path="^/chat/"), route("websocket.receive", consume, path="^/news/")]
    layer = ChannelLayerWrapper(ChannelLayer(), "default", routing)
    null_consumer(Message({"path": "/chat", "text": "hello"}, "websocket.receive", layer))
    (line,) = warnings()
    assert line.endswith(r"their frames are ignored. Its routes have the path '^/chat/(?P<room>\\w+)/$', '^/news/'.")


def test_a_group_that_nobody_is_in_is_reported_once_with_the_nearest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Group("chat-lobby").add("reply!x")
    for name in ("chat-lobby", "chat-loby", "chat-loby", "news"):
        Group(name).send({"text": "hello"})
    assert [record.getMessage() for record in caplog.records] == [
        "The group 'chat-loby' has no members: messages to it reach nobody. Did you mean 'chat-lobby'?",
        "The group 'news' has no members: messages to it reach nobody. Is it the name that is given to Group(…).add()?",
    ]


def test_without_debug_no_group_is_counted(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.DEBUG = False
    caplog.set_level(logging.INFO)
    Group("chat-loby").send({"text": "hello"})
    assert caplog.records == []


def test_paths_without_number_do_not_fill_the_memory(warnings: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_debug_notices, "_MOST", 3)
    for number in range(10):
        Channel(f"missing{number}").send({})
    assert len(warnings()) == 3
