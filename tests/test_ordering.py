"""`enforce_ordering`: messages of a socket in order, by any number of workers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ChannelFull, ConsumeLater, DenyConnection, WebsocketCloseException
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message, pending_message_store
from channels_classic.sessions import (
    channel_session,
    enforce_ordering,
    requeue_messages,
    session_for_reply_channel,
    wait_channel_name,
)
from tests.support.waiting import eventually
from tests.worker.harness import Inbox, make_worker, running

WAIT = "__wait__.test-reply?b"
RECEIVE = "websocket.receive"

pytestmark = pytest.mark.usefixtures("cached_sessions")


@pytest.fixture
def layer() -> ChannelLayer:
    return ChannelLayer()


@pytest.fixture
def send(layer: ChannelLayer) -> Callable[..., Message]:
    def make(order: Any, **content: Any) -> Message:
        return Message({"reply_channel": "test-reply!b", "order": order, **content}, RECEIVE, layer)

    return make


class Orders:
    """A consumer that keeps the orders it saw, and answers with them."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.raising: BaseException | None = None

    def __call__(self, message: Message, **kwargs: Any) -> str:
        if self.raising is not None:
            raise self.raising
        self.seen.append(message["order"])
        assert message.reply_channel is not None
        message.reply_channel.send({"text": str(message["order"])})
        return "result"


@pytest.fixture
def orders() -> Orders:
    return Orders()


def orders_on(layer: ChannelLayer, channel: str) -> list[Any]:
    found = []
    while (content := layer.receive([channel])[1]) is not None:
        found.append(content["order"])
    return found


def next_order(reply_channel: str = "test-reply!b") -> int:
    order: int = session_for_reply_channel(reply_channel).get("__channels_next_order", 0)
    return order


# In order, and not


def test_messages_in_order_are_consumed_and_none_waits(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders
) -> None:
    consumer = enforce_ordering(orders)
    for order in range(3):
        consumer(send(order))
    assert orders.seen == [0, 1, 2]
    assert next_order() == 3
    assert orders_on(layer, WAIT) == []


def test_a_message_that_comes_too_early_waits_on_the_wait_channel(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders
) -> None:
    consumer = enforce_ordering(orders)
    consumer(send(0))
    consumer(send(2, text="x"))
    assert orders.seen == [0]
    _, content = layer.receive([WAIT])
    assert content == {"reply_channel": "test-reply!b", "order": 2, "text": "x", "original_channel": RECEIVE}


def test_waiting_messages_return_to_their_channel_when_the_order_advances(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders
) -> None:
    consumer = enforce_ordering(orders)
    consumer(send(2))
    consumer(send(1))
    consumer(send(0))
    assert layer.receive([RECEIVE])[1] == {"reply_channel": "test-reply!b", "order": 2}
    assert orders_on(layer, RECEIVE) == [1]
    assert orders_on(layer, WAIT) == []


def test_a_message_that_is_returned_too_early_waits_again(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders
) -> None:
    consumer = enforce_ordering(orders)
    for order in (3, 2, 1, 0):
        consumer(send(order))
    while (content := layer.receive([RECEIVE])[1]) is not None:
        consumer(Message(content, RECEIVE, layer))
    assert orders.seen == [0, 1, 2, 3]


def test_a_message_without_order_is_refused(send: Callable[..., Message], orders: Orders) -> None:
    message = send(0)
    del message.content["order"]
    with pytest.raises(ValueError, match=r"'websocket\.receive' has no 'order'"):
        enforce_ordering(orders)(message)


def test_a_message_without_reply_channel_is_refused(send: Callable[..., Message], orders: Orders) -> None:
    with pytest.raises(ValueError, match="no reply_channel"):
        enforce_ordering(orders)(send(0, reply_channel=None))


def test_the_order_may_be_given_as_text(send: Callable[..., Message], orders: Orders) -> None:
    enforce_ordering(orders)(send("0"))
    assert next_order() == 1


def test_an_order_that_advances_while_a_message_is_parked_puts_all_back(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = enforce_ordering(orders)
    consumer(send(0))
    consumer(send(3))
    store = type(session_for_reply_channel("test-reply!b"))
    loaded = iter([{"__channels_next_order": 1}, {"__channels_next_order": 2}])
    monkeypatch.setattr(store, "load", lambda self: next(loaded))
    consumer(send(2))
    assert orders_on(layer, RECEIVE) == [3, 2]
    assert orders_on(layer, WAIT) == []


def test_a_message_whose_order_has_passed_is_dropped(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = enforce_ordering(orders)
    consumer(send(0))
    consumer(send(0))
    assert orders.seen == [0]
    assert orders_on(layer, WAIT) == orders_on(layer, RECEIVE) == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_full_wait_channel_is_reported_in_a_sentence(send: Callable[..., Message], orders: Orders) -> None:
    layer = ChannelLayer(capacity=1)
    consumer = enforce_ordering(orders)
    consumer(Message(send(1).content, RECEIVE, layer))
    with pytest.raises(ChannelFull, match="with order 2 is lost"):
        consumer(Message(send(2).content, RECEIVE, layer))


def test_a_full_channel_refuses_what_waited(send: Callable[..., Message]) -> None:
    layer = ChannelLayer(channel_capacity={RECEIVE: 1})
    for order in (2, 3):
        layer.send(WAIT, {"order": order, "original_channel": RECEIVE})
    with pytest.raises(ChannelFull, match=r"'websocket\.receive' is full"):
        requeue_messages(Message(send(1).content, RECEIVE, layer))
    assert orders_on(layer, RECEIVE) == [2]


def test_the_wait_channel_is_named_after_the_reply_channel_and_can_be_received_from() -> None:
    assert wait_channel_name("test-reply!b") == WAIT
    assert wait_channel_name("plain") == "__wait__.plain"


def test_layers_that_are_left_out_are_the_default_one(default_layer: ChannelLayerWrapper, orders: Orders) -> None:
    enforce_ordering(orders)(Message({"reply_channel": "test-reply!b", "order": 1}, RECEIVE, None))
    assert default_layer.receive([WAIT])[0] == WAIT


# The decorator


def test_it_decorates_bare_and_called(send: Callable[..., Message], orders: Orders) -> None:
    enforce_ordering()(orders)(send(0))
    enforce_ordering(orders)(send(1))
    assert orders.seen == [0, 1]


def test_it_keeps_the_name_of_a_function_and_drops_its_result(send: Callable[..., Message]) -> None:
    @enforce_ordering
    def consumer(message: Message) -> str:
        """Call it."""
        return "result"

    assert (consumer.__name__, consumer.__doc__) == ("consumer", "Call it.")
    assert consumer(send(0)) is None


def test_methods_are_decorated_too(send: Callable[..., Message]) -> None:
    class Consumer:
        order = None

        @enforce_ordering
        def receive(self, message: Message, room: str) -> None:
            self.order = (message["order"], room)

    consumer = Consumer()
    consumer.receive(send(0), room="lobby")
    assert consumer.order == (0, "lobby")


def test_slight_ordering_is_refused_at_once(orders: Orders) -> None:
    with pytest.raises(ValueError, match="slight"):
        enforce_ordering(orders, slight=True)
    with pytest.raises(ValueError, match="slight"):
        enforce_ordering(slight=True)


def test_the_consumer_shares_the_channel_session(send: Callable[..., Message]) -> None:
    @channel_session
    @enforce_ordering
    @channel_session
    def consumer(message: Message) -> None:
        message.channel_session["seen"] = message["order"]

    consumer(send(0))
    consumer(send(1))
    session = session_for_reply_channel("test-reply!b")
    assert (session["seen"], session["__channels_next_order"]) == (1, 2)


def test_a_session_flushed_by_the_consumer_keeps_the_order(send: Callable[..., Message]) -> None:
    @enforce_ordering
    def consumer(message: Message) -> None:
        message.channel_session.flush()

    consumer(send(0))
    assert next_order() == 1


# Consumers that raise


def test_a_consumer_that_raises_leaves_its_socket_stuck(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders
) -> None:
    consumer = enforce_ordering(orders)
    orders.raising = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        consumer(send(0))
    orders.raising = None
    consumer(send(1))
    assert orders.seen == []
    assert orders_on(layer, WAIT) == [1]


def test_a_socket_goes_on_after_an_error_with_advance_on_error(
    layer: ChannelLayer, send: Callable[..., Message], orders: Orders
) -> None:
    consumer = enforce_ordering(advance_on_error=True)(orders)
    consumer(send(1))
    orders.raising = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        consumer(send(0))
    assert next_order() == 1
    assert orders_on(layer, RECEIVE) == [1]


@pytest.mark.parametrize("raised", [DenyConnection(), WebsocketCloseException(3001)])
def test_denying_and_closing_are_not_failures(send: Callable[..., Message], orders: Orders, raised: Exception) -> None:
    orders.raising = raised
    with pytest.raises(type(raised)):
        enforce_ordering(orders)(send(0))
    assert next_order() == 1


@pytest.mark.parametrize("advance", [False, True])
def test_a_message_that_is_put_back_keeps_its_turn(send: Callable[..., Message], orders: Orders, advance: bool) -> None:
    consumer = enforce_ordering(orders, advance_on_error=advance)
    orders.raising = ConsumeLater()
    with pytest.raises(ConsumeLater):
        consumer(send(0))
    assert next_order() == 0
    orders.raising = None
    consumer(send(0))
    assert orders.seen == [0]


# Inside a worker


def test_inside_a_consumer_waiting_messages_return_after_the_replies(
    send: Callable[..., Message], orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = ChannelLayer()
    sent: list[str] = []
    sending = layer.send

    def noted(channel: str, message: dict[str, Any]) -> None:
        sent.append(channel)
        sending(channel, message)

    monkeypatch.setattr(layer, "send", noted)
    consumer = enforce_ordering(orders)
    consumer(Message(send(1).content, RECEIVE, layer))
    pending_message_store.prepare()
    consumer(Message(send(0).content, RECEIVE, layer))
    assert sent == [WAIT]
    pending_message_store.send_and_flush()
    assert sent == [WAIT, "test-reply!b", RECEIVE]


def test_messages_that_arrive_in_any_order_are_answered_in_order(layer: ChannelLayer, orders: Orders) -> None:
    inbox = Inbox(layer)
    workers = [make_worker(layer, {RECEIVE: enforce_ordering(orders)}, message_retries=1000) for _ in range(2)]
    for order in (4, 0, 3, 1, 2):
        inbox.post(RECEIVE, {"order": order}, token=None)
    with running(*workers):
        seen = inbox.wait(5)
    assert [message["text"] for _, message in seen] == ["0", "1", "2", "3", "4"]
    assert orders.seen == [0, 1, 2, 3, 4]


class Gated:
    """A socket of our interface server: the next message is posted when the one before is reported."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.inbox = Inbox(layer)

    def post(self, order: int) -> None:
        before = len(self.inbox.reports())
        self.inbox.post(RECEIVE, {"order": order}, token=str(order))
        while len(self.inbox.reports()) == before:
            self.inbox.wait(len(self.inbox.seen) + 1)


def test_a_message_that_came_in_its_turn_passes_though_one_before_it_failed_or_was_lost(
    layer: ChannelLayer, orders: Orders
) -> None:
    socket = Gated(layer)
    with running(make_worker(layer, {RECEIVE: enforce_ordering(orders)})):
        socket.post(0)
        orders.raising = ZeroDivisionError()
        socket.post(1)
        orders.raising = None
        socket.post(2)
        socket.post(4)
    assert orders.seen == [0, 2, 4]
    assert next_order(socket.inbox.client()) == 5


def test_a_disconnect_that_overtook_a_failing_consumer_is_consumed_behind_it(
    layer: ChannelLayer, orders: Orders
) -> None:
    socket = Gated(layer)
    gone: list[int] = []
    disconnected = enforce_ordering(lambda message: gone.append(message["order"]))
    orders.raising = ZeroDivisionError()
    disconnected(Message({"reply_channel": socket.inbox.client(), "order": 1}, "websocket.disconnect", layer))
    assert gone == []
    with running(make_worker(layer, {RECEIVE: enforce_ordering(orders), "websocket.disconnect": disconnected})):
        socket.post(0)
        assert eventually(lambda: gone) == [1]
