"""`Message`, and the sends that wait for the end of a consumer."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from channels_classic import Channel, Group
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ChannelFull, InvalidChannelName
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message, PendingMessageStore, pending_message_store
from channels_classic.signals import consumer_finished, consumer_started


@pytest.fixture(autouse=True)
def _outside_a_consumer(db: None) -> None:
    """With the database, because the end of a consumer looks at connections that other tests have left open."""
    assert not pending_message_store.active


def received(layer: Any, channel: str) -> list[dict[str, Any]]:
    messages = []
    while (message := layer.receive([channel])[1]) is not None:
        messages.append(message)
    return messages


# Message


def test_a_message_gives_its_very_content_and_its_channels() -> None:
    content = {"reply_channel": "reply!x", "text": "hi"}
    layer = ChannelLayer()
    message = Message(content, "websocket.receive", layer)
    assert message.content is content
    assert message.channel.name == "websocket.receive"
    assert message.channel_layer is message.channel.channel_layer is layer
    assert message.reply_channel is not None
    assert message.reply_channel.name == "reply!x"
    assert message.reply_channel.channel_layer is layer


@pytest.mark.parametrize("content", [{}, {"reply_channel": None}, {"reply_channel": ""}])
def test_a_message_that_names_no_reply_channel_has_none(content: dict[str, Any]) -> None:
    assert Message(content, "test", ChannelLayer()).reply_channel is None


def test_a_message_without_a_layer_is_bound_to_the_default_one(default_layer: ChannelLayerWrapper) -> None:
    message = Message({}, "test", None)
    assert message.channel_layer is None
    assert message.channel.channel_layer is default_layer


def test_a_message_takes_any_object_for_a_layer_and_none_for_a_channel_name() -> None:
    message = Message({}, None, "a layer")
    assert message.channel.name is None
    assert message.channel_layer == message.channel.channel_layer == "a layer"


def test_a_message_reads_like_a_dict() -> None:
    message = Message({"a": 1}, "test", "a layer")
    message["b"] = 2
    assert message["a"] == 1
    assert "b" in message
    assert message.get("c") is None
    assert message.get("c", 3) == 3
    assert list(message) == list(message.keys()) == ["a", "b"]
    assert list(message.values()) == [1, 2]
    assert dict(message.items()) == {"a": 1, "b": 2}
    with pytest.raises(KeyError):
        message["c"]


def test_an_empty_message_is_true() -> None:
    assert Message({}, "test", "a layer")


def test_a_copy_is_deep_keeps_the_class_and_leaves_attributes_behind() -> None:
    class Special(Message):
        pass

    message = Special({"nested": [1]}, "test", "a layer")
    message.user = "someone"
    copy = message.copy()
    copy["nested"].append(2)
    assert message["nested"] == [1]
    assert type(copy) is Special
    assert (copy.channel.name, copy.channel_layer) == ("test", "a layer")
    assert not hasattr(copy, "user")


# Pending sends


def test_a_consumer_starts_with_nothing_pending(default_layer: ChannelLayerWrapper) -> None:
    consumer_started.send(sender=None)
    Channel("a").send({"n": 1})
    consumer_started.send(sender=None)
    consumer_finished.send(sender=None)
    assert received(default_layer, "a") == []


def test_a_consumer_that_finished_without_starting_is_no_error() -> None:
    consumer_finished.send(sender=None)
    pending_message_store.send_and_flush()


def test_sends_of_another_thread_are_not_held(default_layer: ChannelLayerWrapper) -> None:
    pending_message_store.prepare()
    thread = threading.Thread(target=lambda: Channel("a").send({"n": 1}))
    thread.start()
    thread.join()
    assert received(default_layer, "a") == [{"n": 1}]
    pending_message_store.send_and_flush()


def test_sends_of_an_async_view_are_held(default_layer: ChannelLayerWrapper) -> None:
    async def view() -> None:
        Channel("a").send({"n": 1})

    pending_message_store.prepare()
    async_to_sync(view)()
    assert received(default_layer, "a") == []
    pending_message_store.send_and_flush()
    assert received(default_layer, "a") == [{"n": 1}]


def test_sends_of_what_outlives_its_consumer_are_not_held(default_layer: ChannelLayerWrapper) -> None:
    async def late(started: asyncio.Event) -> None:
        await started.wait()
        Channel("a").send({"n": 1})

    async def consume() -> None:
        pending_message_store.prepare()
        started = asyncio.Event()
        spawned = asyncio.create_task(late(started))
        pending_message_store.send_and_flush()
        started.set()
        await spawned

    asyncio.run(consume())
    assert received(default_layer, "a") == [{"n": 1}]


def test_two_consumers_of_one_event_loop_hold_their_own_sends(default_layer: ChannelLayerWrapper) -> None:
    async def consume(name: str, mine: asyncio.Event, other: asyncio.Event) -> None:
        pending_message_store.prepare()
        Channel(name).send({})
        mine.set()
        await other.wait()
        if name == "a":
            pending_message_store.send_and_flush()
            assert received(default_layer, "a") == [{}]
            assert received(default_layer, "b") == []

    async def both() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        await asyncio.gather(consume("a", first, second), consume("b", second, first))

    asyncio.run(both())


def test_prepended_messages_go_first_and_keep_their_order(default_layer: ChannelLayerWrapper) -> None:
    channel = Channel("a")
    pending_message_store.prepare()
    channel.send({"n": 3})
    pending_message_store.prepend(channel, {"n": 1})
    pending_message_store.prepend(channel, {"n": 2})
    channel.send({"n": 4})
    pending_message_store.send_and_flush()
    assert [message["n"] for message in received(default_layer, "a")] == [1, 2, 3, 4]


def test_nothing_can_be_held_outside_a_consumer(default_layer: ChannelLayerWrapper) -> None:
    for hold in (pending_message_store.append, pending_message_store.prepend):
        with pytest.raises(RuntimeError, match="prepare"):
            hold(Channel("a"), {})


def test_a_full_channel_is_tried_again_until_there_is_room() -> None:
    layer = ChannelLayer(capacity=1)
    channel = Channel("a", channel_layer=layer)
    channel.send({"n": 1})
    pending_message_store.prepare()
    channel.send({"n": 2})
    reader = threading.Timer(0.1, lambda: layer.receive(["a"]))
    reader.start()
    pending_message_store.send_and_flush()
    reader.join()
    assert received(layer, "a") == [{"n": 2}]


class ImpatientStore(PendingMessageStore):
    retry_time = 0.02
    retry_interval = 0.01


def test_a_failed_flush_sends_the_rest_clears_the_list_and_tells_a_direct_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ChannelLayer(capacity=1)
    store = ImpatientStore()
    Channel("full", channel_layer=layer).send({})
    pending_message_store.prepare()
    for name in ("full", "not a name", "free"):
        Channel(name, channel_layer=layer).send({})
    with pytest.raises(RuntimeError, match="'full'") as caught:
        store.send_and_flush()
    assert isinstance(caught.value.__cause__, ChannelFull)
    assert received(layer, "free") == [{}]
    assert not pending_message_store.active
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "2 of the 3" in caplog.text


def test_a_direct_caller_gets_the_first_error_of_the_layer(default_layer: ChannelLayerWrapper) -> None:
    pending_message_store.prepare()
    Channel("not a name").send({})
    with pytest.raises(InvalidChannelName):
        pending_message_store.send_and_flush()


def test_a_failed_flush_spares_the_worker(default_layer: ChannelLayerWrapper, caplog: pytest.LogCaptureFixture) -> None:
    consumer_started.send(sender=None)
    Channel("not a name").send({})
    Channel("a").send({})
    consumer_finished.send(sender=None)
    assert received(default_layer, "a") == [{}]
    assert len(caplog.records) == 1
    Channel("a").send({})
    assert received(default_layer, "a") == [{}]


# Delivery by the worker


def test_a_worker_is_handed_all_pairs_of_a_consumer_at_once(default_layer: ChannelLayerWrapper) -> None:
    deliveries: list[Any] = []
    channel, group = Channel("a"), Group("b")
    with pending_message_store.deliver_with(deliveries.append):
        consumer_started.send(sender=None)
        channel.send({"n": 1})
        group.send({"n": 2})
        consumer_finished.send(sender=None)
        consumer_started.send(sender=None)
        consumer_finished.send(sender=None)
    assert deliveries == [[(channel, {"n": 1}), (group, {"n": 2})], []]
    assert received(default_layer, "a") == []
    consumer_started.send(sender=None)
    channel.send({"n": 3})
    consumer_finished.send(sender=None)
    assert received(default_layer, "a") == [{"n": 3}]


def test_a_failed_delivery_clears_the_list_and_is_logged_once(
    default_layer: ChannelLayerWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    def deliver(pairs: Any) -> None:
        raise ConnectionError("gone")

    with pending_message_store.deliver_with(deliver):
        consumer_started.send(sender=None)
        Channel("a").send({})
        consumer_finished.send(sender=None)
        assert not pending_message_store.active
        assert len(caplog.records) == 1
        pending_message_store.prepare()
        with pytest.raises(ConnectionError):
            pending_message_store.send_and_flush()


# What became of the reply channel

REPLY = "interface.v1.abc!client"


@pytest.mark.parametrize(
    ("send", "answered", "delegated"),
    [
        (lambda: None, False, False),
        (lambda: Channel(REPLY).send({"text": "x"}), True, False),
        (lambda: Channel(REPLY).send({"text": "x"}, immediately=True), True, False),
        (lambda: pending_message_store.prepend(Channel(REPLY), {}), True, False),
        (lambda: Channel("other").send({"text": "x"}), False, False),
        (lambda: Channel("other").send({"reply_channel": REPLY}), False, True),
        (lambda: Channel("other").send({"reply_channel": REPLY}, immediately=True), False, True),
        (lambda: Channel("other").send({"deep": [{"in": ("it", REPLY)}]}), False, True),
        (lambda: Channel("other").send({"json": f'{{"to": "{REPLY}"}}'}), False, True),
        (lambda: Channel("other").send({"bytes": b"\x00" + REPLY.encode()}), False, True),
        (lambda: Group("chat").send({"to": REPLY}), False, True),
        (lambda: Group("chat").send({"to": 5}), False, False),
        (lambda: Group("chat").add(REPLY), False, True),
        (lambda: Group("chat").add(Channel(REPLY)), False, True),
        (lambda: Group("chat").add("somebody.else"), False, False),
    ],
)
def test_the_worker_sees_whether_the_reply_channel_was_answered_or_delegated(
    default_layer: ChannelLayerWrapper, send: Any, answered: bool, delegated: bool
) -> None:
    pending_message_store.prepare()
    trace = pending_message_store.watch(REPLY)
    send()
    pending_message_store.send_and_flush()
    assert (trace.answered, trace.delegated) == (answered, delegated)


def test_a_trace_ends_with_its_consumer(default_layer: ChannelLayerWrapper) -> None:
    pending_message_store.prepare()
    trace = pending_message_store.watch(REPLY)
    pending_message_store.send_and_flush()
    Channel(REPLY).send({})
    assert not trace.answered
