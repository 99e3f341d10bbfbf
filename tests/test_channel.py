"""`Channel` and `Group`, as consumers and views use them."""

from __future__ import annotations

import pytest

from channels_classic import Channel, Group
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ChannelFull, InvalidChannelName, InvalidMessage
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import pending_message_store
from channels_classic.signals import consumer_finished, consumer_started

pytestmark = pytest.mark.django_db  # the end of a consumer looks at connections that other tests have left open


def test_a_name_given_as_bytes_becomes_text(default_layer: ChannelLayerWrapper) -> None:
    assert Channel(b"http.request").name == "http.request"
    assert Group(b"chat").name == "chat"


def test_a_channel_and_a_group_print_as_their_name(default_layer: ChannelLayerWrapper) -> None:
    assert str(Channel("http.request")) == "http.request"
    assert str(Group("chat")) == "chat"


def test_two_channels_of_one_name_are_not_equal(default_layer: ChannelLayerWrapper) -> None:
    assert Channel("a") != Channel("a")


def test_a_channel_keeps_the_layer_of_the_moment_it_was_made(default_layer: ChannelLayerWrapper) -> None:
    assert Channel("a").channel_layer is default_layer


def test_a_layer_that_is_given_is_used_wrapped_or_not(default_layer: ChannelLayerWrapper) -> None:
    layer = ChannelLayer()
    Channel("a", channel_layer=layer).send({"n": 1})
    Channel("a", channel_layer=ChannelLayerWrapper(layer, "other", [])).send({"n": 2})
    assert [layer.receive(["a"])[1], layer.receive(["a"])[1]] == [{"n": 1}, {"n": 2}]
    assert default_layer.receive(["a"]) == (None, None)


def test_a_send_outside_a_consumer_is_immediate(default_layer: ChannelLayerWrapper) -> None:
    Channel("a").send({"n": 1})
    assert default_layer.receive(["a"]) == ("a", {"n": 1})


def test_what_the_layer_raises_reaches_a_sender_outside_a_consumer() -> None:
    layer = ChannelLayer(capacity=1)
    Channel("a", channel_layer=layer).send({})
    with pytest.raises(ChannelFull):
        Channel("a", channel_layer=layer).send({})
    with pytest.raises(InvalidChannelName):
        Channel("a b", channel_layer=layer).send({})


@pytest.mark.parametrize("content", [None, "text", [("text", "x")], b""])
def test_a_channel_refuses_to_send_what_is_no_dict(default_layer: ChannelLayerWrapper, content: object) -> None:
    with pytest.raises(TypeError, match="'a'") as caught:
        Channel("a").send(content)  # type: ignore[arg-type]
    assert isinstance(caught.value, InvalidMessage)


def test_a_group_refuses_to_send_what_is_no_dict_with_a_value_error(default_layer: ChannelLayerWrapper) -> None:
    with pytest.raises(ValueError, match="type str"):
        Group("a").send("text")  # type: ignore[arg-type]


def test_a_group_reaches_members_given_as_channel_or_name(default_layer: ChannelLayerWrapper) -> None:
    Group("chat").add(Channel("a"))
    Group("chat").add("b")
    Group("chat").send({"n": 1})
    assert default_layer.receive(["a"]) == ("a", {"n": 1})
    assert default_layer.receive(["b"]) == ("b", {"n": 1})


def test_a_discarded_member_gets_nothing_and_discarding_again_is_no_error(default_layer: ChannelLayerWrapper) -> None:
    group = Group("chat")
    group.add("a")
    group.discard(Channel("a"))
    group.discard("a")
    group.send({"n": 1})
    assert default_layer.receive(["a"]) == (None, None)


def test_a_group_send_passes_full_members_by() -> None:
    layer = ChannelLayer(capacity=1)
    group = Group("chat", channel_layer=layer)
    group.add("a")
    group.send({"n": 1})
    group.send({"n": 2})
    assert layer.receive(["a"]) == ("a", {"n": 1})


@pytest.fixture
def consumer(default_layer: ChannelLayerWrapper) -> ChannelLayerWrapper:
    consumer_started.send(sender=None)
    assert pending_message_store.active
    return default_layer


def test_sends_inside_a_consumer_wait_until_it_returns_and_keep_their_order(consumer: ChannelLayerWrapper) -> None:
    Group("chat").add("a")
    Channel("a").send({"n": 1})
    Group("chat").send({"n": 2})
    Channel("a").send({"n": 3})
    assert consumer.receive(["a"]) == (None, None)
    consumer_finished.send(sender=None)
    assert [consumer.receive(["a"])[1]["n"] for _ in range(3)] == [1, 2, 3]


def test_an_immediate_send_inside_a_consumer_does_not_wait(consumer: ChannelLayerWrapper) -> None:
    Group("chat").add("b")
    Channel("a").send({"n": 1}, immediately=True)
    Group("chat").send({"n": 2}, immediately=True)
    assert consumer.receive(["a"]) == ("a", {"n": 1})
    assert consumer.receive(["b"]) == ("b", {"n": 2})
    consumer_finished.send(sender=None)


def test_a_member_discarded_in_the_same_consumer_misses_the_send_before(consumer: ChannelLayerWrapper) -> None:
    Group("chat").add("a")
    Group("chat").send({"n": 1})
    Group("chat").discard("a")
    consumer_finished.send(sender=None)
    assert consumer.receive(["a"]) == (None, None)


def test_a_message_may_be_changed_and_sent_again_while_the_first_waits(consumer: ChannelLayerWrapper) -> None:
    content = {"n": 1}
    Channel("a").send(content)
    content["n"] = 2
    Channel("a").send(content)
    consumer_finished.send(sender=None)
    assert [consumer.receive(["a"])[1]["n"] for _ in range(2)] == [1, 2]
