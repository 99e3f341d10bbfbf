"""Routes, includes and the consumers that they find."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from channels_classic import include, route, route_class
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.handler import ViewConsumer
from channels_classic.message import Message
from channels_classic.routing import Include, Route, RouteClass, Router, connect_consumer, null_consumer


def consumer_1(message: Message) -> None: ...


def consumer_2(message: Message) -> None: ...


class ClassConsumer:
    @classmethod
    def channel_names(cls) -> set[str]:
        return {"class.one", "class.two"}


chat_routing = [
    route("websocket.connect", consumer_1, path=r"^/room/(?P<room>\d+)/$"),
    route("websocket.connect", consumer_2, path=r"^/$"),
]
dict_routing = {"http.request": consumer_1, "websocket.connect": "tests.test_routing.consumer_2"}


def message(channel: str = "http.request", **content: Any) -> Message:
    return Message(content, channel, "a layer")


def matched(routing: Any, *args: Any, **content: Any) -> Any:
    return Router(routing).match(message(*args, **content))


# Route


def test_a_route_matches_only_its_channels() -> None:
    routing = [route(["a", b"b"], consumer_1), route(b"c", consumer_2)]
    assert matched(routing, "a") == matched(routing, "b") == (consumer_1, {})
    assert matched(routing, "c") == (consumer_2, {})
    assert matched(routing, "d") is None


def test_keys_a_route_does_not_filter_do_not_matter() -> None:
    assert matched([route("a", consumer_1)], "a", more=1, path="/x") == (consumer_1, {})


def test_a_route_falls_through_when_a_key_is_missing_or_does_not_match() -> None:
    routing = [route("http.request", consumer_1, path="^/chat/"), route("http.request", consumer_2)]
    assert matched(routing, path="/chat/x") == (consumer_1, {})
    assert matched(routing, path="/other/") == (consumer_2, {})
    assert matched(routing) == (consumer_2, {})


def test_all_filters_must_match_and_give_their_groups_together() -> None:
    routing = [route("a", consumer_1, path=r"/(?P<slug>\w+)", method=r"(?P<method>GET|PUT)$")]
    assert matched(routing, "a", path="/x", method="GET") == (consumer_1, {"slug": "x", "method": "GET"})
    assert matched(routing, "a", path="/x", method="POST") is None


def test_a_later_filter_overwrites_a_group_of_the_same_name() -> None:
    routing = [route("a", consumer_1, path="/(?P<name>.*)", method="(?P<name>.*)")]
    assert matched(routing, "a", path="/x", method="GET") == (consumer_1, {"name": "GET"})


def test_a_filter_is_anchored_at_the_start_and_not_at_the_end() -> None:
    routing = [route("a", consumer_1, path="/chat")]
    assert matched(routing, "a", path="/chat/and/more") == (consumer_1, {})
    assert matched(routing, "a", path="/a/chat") is None


def test_a_group_that_took_no_part_is_none() -> None:
    assert matched([route("a", consumer_1, path="/(?P<n>x)?")], "a", path="/") == (consumer_1, {"n": None})


@pytest.mark.parametrize("value", [None, 5, ["/x"], b"\xff/x"])
def test_a_value_that_is_no_text_matches_no_filter(value: object) -> None:
    assert matched([route("a", consumer_1, text=".*")], "a", text=value) is None


@pytest.mark.parametrize(
    ("pattern", "value"), [(r"^/(?P<n>\d)", b"/1"), (rb"^/(?P<n>\d)", "/1"), (rb"^/(?P<n>\d)", b"/1")]
)
def test_bytes_and_text_match_one_another_and_give_text(pattern: Any, value: Any) -> None:
    assert matched([route("a", consumer_1, path=pattern)], "a", path=value) == (consumer_1, {"n": "1"})


def test_an_unnamed_group_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="unnamed group"):
        route("a", consumer_1, path=r"^/(\d+)/(?P<x>\d)")


def test_a_group_that_captures_nothing_is_allowed() -> None:
    assert matched([route("a", consumer_1, path=r"/(?:x|y)$")], "a", path="/x") == (consumer_1, {})


def test_an_invalid_expression_is_an_error_of_re() -> None:
    with pytest.raises(re.error):
        route("a", consumer_1, path="(")


def test_a_consumer_can_be_a_dotted_path() -> None:
    assert matched([route("a", "tests.test_routing.consumer_1")], "a") == (consumer_1, {})


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("consumer_1", "not a dotted path"),
        ("nowhere.consumer", "No module named 'nowhere'"),
        ("tests.test_routing.consumer_3", "Did you mean 'consumer_"),
    ],
)
def test_a_consumer_that_cannot_be_imported_is_a_configuration_error(path: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=sentence):
        route("a", path)


def test_the_lower_case_names_are_the_classes() -> None:
    assert (route, route_class, include) == (Route, RouteClass, Include)


def test_a_route_prints_channels_filters_and_consumer() -> None:
    assert str(route("a", consumer_1)) == "a -> tests.test_routing.consumer_1"
    assert str(route(["a", "b"], consumer_1, path="^/x")) == "a/b (path=^/x) -> tests.test_routing.consumer_1"


# route_class


def test_route_class_matches_the_channels_its_consumer_names_and_honours_filters() -> None:
    routing = [route_class(ClassConsumer, path="^/x/"), route_class("tests.test_routing.ClassConsumer", path="^/y/")]
    assert matched(routing, "class.one", path="/x/") == (ClassConsumer, {})
    assert matched(routing, "class.two", path="/y/") == (ClassConsumer, {})
    assert matched(routing, "class.one", path="/z/") is None
    assert matched(routing, "class.three", path="/x/") is None


def test_route_class_refuses_a_consumer_without_channel_names() -> None:
    with pytest.raises(ValueError, match="channel_names"):
        route_class(consumer_1)


# include


def test_include_takes_a_dotted_path_a_list_and_a_dict() -> None:
    assert matched([include("tests.test_routing.chat_routing")], "websocket.connect", path="/")[0] is consumer_2
    assert matched([include(chat_routing)], "websocket.connect", path="/")[0] is consumer_2
    assert matched([include(dict_routing)], "websocket.connect") == (consumer_2, {})
    assert matched([include("tests.test_routing.dict_routing")], "http.request") == (consumer_1, {})


@pytest.mark.parametrize("prefix", [r"/(?P<version>v\d)", r"^/(?P<version>v\d)", rb"^/(?P<version>v\d)"])
@pytest.mark.parametrize("inner", [r"/room/(?P<room>\d+)", r"^/room/(?P<room>\d+)"])
def test_a_prefix_is_taken_off_and_its_groups_merged(prefix: Any, inner: str) -> None:
    routing = [include([route("a", consumer_1, path=inner)], path=prefix)]
    assert matched(routing, "a", path="/v2/room/5") == (consumer_1, {"version": "v2", "room": "5"})
    assert matched(routing, "a", path="/room/5") is None
    assert matched(routing, "a") is None


def test_the_inner_group_wins_over_the_one_of_the_prefix() -> None:
    routing = [include([route("a", consumer_1, path="/(?P<n>.)")], path="/(?P<n>.)")]
    assert matched(routing, "a", path="/1/2") == (consumer_1, {"n": "2"})


def test_an_unnamed_group_in_a_prefix_is_ignored() -> None:
    assert matched([include([route("a", consumer_1)], path="/(x)")], "a", path="/x") == (consumer_1, {})


def test_the_consumer_gets_the_whole_path() -> None:
    original = message("a", path="/chat/x")
    assert Router([include([route("a", consumer_1, path="/x$")], path="/chat")]).match(original)
    assert original["path"] == "/chat/x"


def test_includes_nest() -> None:
    routing = [include([include([route("a", consumer_1, path="^/c$")], path="^/b")], path="^/a")]
    assert matched(routing, "a", path="/a/b/c") == (consumer_1, {})
    assert matched(routing, "a", path="/a/c") is None


def test_an_include_without_a_match_passes_on_to_the_next_entry() -> None:
    routing = [include([route("a", consumer_1, path="^/x$")], path="^/a"), route("a", consumer_2)]
    assert matched(routing, "a", path="/a/y") == (consumer_2, {})


def test_several_prefixes_must_all_match() -> None:
    routing = [include([route("a", consumer_1, path="^$")], path="^/x", method="GET")]
    assert matched(routing, "a", path="/x", method="GET") == (consumer_1, {})
    assert matched(routing, "a", path="/x", method="PUT") is None


class Spoiler:
    """A routing object of a user's that changes what it is shown."""

    def match(self, message: Message) -> Any:
        self.seen = message["path"]
        message["path"] = "spoilt"
        return consumer_1, {"seen": self.seen}

    def channel_names(self) -> set[str]:
        return {"a"}


def test_anything_that_matches_can_stand_in_a_routing_and_cannot_spoil_the_message() -> None:
    for routing, seen in (([Spoiler()], "/x/y"), ([include([Spoiler()], path="/x")], "/y")):
        original = message("a", path="/x/y")
        router = Router(routing)
        assert router.match(original) == (consumer_1, {"seen": seen})
        assert original["path"] == "/x/y"
        assert router.channels == {"a"}


@pytest.mark.parametrize("entry", [consumer_1, ("a", consumer_1), "a"])
def test_an_entry_that_cannot_match_is_refused(entry: object) -> None:
    with pytest.raises(ImproperlyConfigured, match="Entry 1"):
        Router([route("a", consumer_1), entry])


# Router


def test_a_dict_maps_channels_to_consumers() -> None:
    router = Router(dict_routing)
    assert router.match(message("http.request", path="/")) == (consumer_1, {})
    assert router.match(message("websocket.connect")) == (consumer_2, {})
    assert router.match(message("other")) is None


def test_the_channels_of_a_router_are_those_of_all_entries() -> None:
    router = Router([include("tests.test_routing.chat_routing"), route_class(ClassConsumer), route("a", consumer_1)])
    assert router.channels == {"websocket.connect", "class.one", "class.two", "a"}
    router.add_route(route("b", consumer_1))
    assert "b" in router.channels


def test_adding_a_route_leaves_the_users_list_alone() -> None:
    routing = [route("a", consumer_1)]
    router = Router(routing)
    router.add_route(route("a", consumer_2))
    assert len(routing) == 1
    assert router.match(message("a")) == (consumer_1, {})
    assert Router("tests.test_routing.chat_routing").root.routing is not chat_routing


def test_the_root_of_a_router_stays_the_same_object_and_its_list_may_be_changed() -> None:
    router = Router([route("a", consumer_1)])
    root, routing = router.root, router.root.routing
    router.add_route(route("b", consumer_1))
    assert (router.root, router.root.routing) == (root, routing)
    assert router.root is root and router.root.routing is routing
    routing.insert(0, route("a", consumer_2))
    assert router.match(message("a")) == (consumer_2, {})
    routing[0] = route("c", consumer_2)
    assert router.match(message("a")) == (consumer_1, {})
    assert router.match(message("c")) == (consumer_2, {})
    del routing[:]
    assert router.match(message("b")) is None
    root.routing = [route("d", consumer_1)]
    assert router.match(message("d")) == (consumer_1, {})


def test_a_list_that_is_included_is_the_very_list_and_may_be_changed_too() -> None:
    inner: list[Any] = []
    middle = [include(inner, path="^/b")]
    router = Router([include(middle, path="^/a"), route("a", consumer_2)])
    assert router.root.routing[0].routing is middle
    assert router.match(message("a", path="/a/b/c")) == (consumer_2, {})
    inner.append(route(["a", "new"], consumer_1, path="^/c$"))
    assert router.match(message("a", path="/a/b/c")) == (consumer_1, {})
    assert router.match(message("new", path="/a/b/c")) == (consumer_1, {})
    middle.clear()
    assert router.match(message("new", path="/a/b/c")) is None


def test_a_tuple_is_a_routing_too() -> None:
    router = Router((route("a", consumer_1),))
    router.add_route(route("b", consumer_2))
    assert router.match(message("b")) == (consumer_2, {})


@pytest.mark.parametrize("routing", ["nodots", "nowhere.routing", "tests.test_routing.no_routing", None, 5])
def test_a_routing_that_is_none_is_a_configuration_error(routing: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="routing"):
        Router(routing)


def test_resolving_leaves_lists_as_they_are_and_normalises_ascii() -> None:
    assert Router.resolve_routing(chat_routing) is chat_routing
    assert Router.resolve_routing("tests.test_routing.chat_routing") is chat_routing
    assert Router.normalise_re_arg(b"^/x") == Router.normalise_re_arg("^/x") == "^/x"


# Defaults


def test_default_consumers_come_last() -> None:
    router = Router([route("websocket.connect", consumer_1, path="^/chat/")])
    router.check_default()
    assert router.match(message("websocket.connect", path="/chat/")) == (consumer_1, {})
    assert router.match(message("websocket.connect", path="/other/")) == (connect_consumer, {})
    assert router.match(message("websocket.receive")) == (null_consumer, {})
    assert router.match(message("websocket.disconnect")) == (null_consumer, {})
    found = router.match(message("http.request"))
    assert found is not None
    assert isinstance(found[0], ViewConsumer)


def test_an_empty_routing_begins_with_the_http_consumer_that_was_given() -> None:
    router = Router([])
    router.check_default(http_consumer=consumer_1)
    first = router.root.routing[0]
    assert isinstance(first, Route)
    assert (first.channels, first.consumer) == (["http.request"], consumer_1)
    assert len(router.root.routing) == 4


def test_the_connect_consumer_accepts_and_the_null_consumer_does_nothing(default_layer: ChannelLayerWrapper) -> None:
    opened = Message({"reply_channel": "reply!x"}, "websocket.connect", default_layer)
    connect_consumer(opened, slug="ignored")
    null_consumer(opened, slug="ignored")
    null_consumer(None)
    assert default_layer.receive(["reply!"]) == ("reply!x", {"accept": True})
    assert default_layer.receive(["reply!"]) == (None, None)
