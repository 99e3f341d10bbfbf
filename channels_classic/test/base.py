"""Test cases with a memory layer of their own, a client that sends and consumes, and routes for the time of a test.

`Client.consume` does for one message what a worker does, in the thread of the test.
"""

from __future__ import annotations

import copy
import logging
import random
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from functools import wraps
from typing import Any, ClassVar, TypeVar

from asgiref.sync import async_to_sync
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from channels_classic._isolation import MessageContexts
from channels_classic._transactions import open_transactions, roll_back
from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.channel import Group
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import ChannelSocketException
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message, pending_message_store
from channels_classic.routing import Consumer, Match, Router, include
from channels_classic.signals import consumer_finished, consumer_started
from channels_classic.worker.awaitables import is_async, refuse_unfinished

__all__ = ["ChannelTestCase", "ChannelTestCaseMixin", "Client", "TransactionChannelTestCase", "apply_routes"]

logger = logging.getLogger("channels_classic.worker")

T = TypeVar("T")

Content = dict[str, Any]

CAPACITY = 10
"""Unread messages that a channel of a test holds, as in Channels 1.1.8: projects test what happens when one is full."""


class ChannelTestCaseMixin(SimpleTestCase):
    """Replace the layers in `test_channel_aliases` by an empty memory layer for each test, with the same routing.

    `setUpClass` and `setUpTestData` have one for the class. The layers of the settings are not made, and the default
    routes for views and sockets are not added.
    """

    # A base after Django's classes, not before them. They call `SimpleTestCase` first, when the settings that a class
    # overrides are in force, but before fixtures are loaded and `setUpTestData` runs: that is when layers are replaced.

    test_channel_aliases: ClassVar[list[str]] = [DEFAULT_CHANNEL_LAYER]

    @classmethod
    def setUpClass(cls) -> None:
        """Replace the layers for the class."""
        super().setUpClass()
        _replace_layers(cls)

    @classmethod
    def _pre_setup(cls) -> None:
        super()._pre_setup()  # type: ignore[misc]  # private in Django, not in its stubs
        _replace_layers(cls)

    def get_next_message(
        self, channel: str, alias: str = DEFAULT_CHANNEL_LAYER, require: bool = False
    ) -> Message | None:
        """Return the next message of a channel, or `None`; with `require` the test fails instead.

        A process-local channel is read by its name up to and including the `!`.
        """
        message = _next_message(channel, channel_layers[alias])
        if message is None and require:
            self.fail(f"Expected a message on the channel {channel!r}, and there is none.")
        return message


class ChannelTestCase(TestCase, ChannelTestCaseMixin):
    """Django's `TestCase`, with memory layers: see `ChannelTestCaseMixin`."""


class TransactionChannelTestCase(TransactionTestCase, ChannelTestCaseMixin):
    """Django's `TransactionTestCase`, with memory layers: see `ChannelTestCaseMixin`."""


class Client:
    """Send messages as a client of the site would, and consume them as a worker would.

    The name in `reply_channel` begins with the argument, or with the alias of the layer.
    """

    def __init__(self, alias: str = DEFAULT_CHANNEL_LAYER, reply_channel: str | None = None) -> None:
        self.alias = alias
        self.reply_channel = (reply_channel or alias) + "".join(random.choices(string.ascii_letters, k=5))

    @property
    def channel_layer(self) -> Any:
        """The current layer of the alias."""
        return channel_layers[self.alias]

    def get_next_message(self, channel: str) -> Message | None:
        """Return the next message of a channel, or `None`."""
        return _next_message(channel, self.channel_layer)

    def get_consumer_by_channel(self, channel: str) -> Consumer | None:
        """Return the consumer of a message with an empty text, or `None`."""
        match: Match | None = self.channel_layer.router.match(Message({"text": ""}, channel, self.channel_layer))
        return None if match is None else match[0]

    def send(self, to: str, content: Content | None = None) -> None:
        """Send a deep copy of `content` at once, with the client's reply channel unless it has one."""
        self.channel_layer.send(to, {"reply_channel": self.reply_channel, **copy.deepcopy(content or {})})

    def consume(self, channel: str, fail_on_none: bool = True) -> Any:
        """Consume the next message; return the result of its consumer, which for a class-based one is the instance.

        Afterwards the messages that the consumer sent are on their channels, also when it raised; its error is raised
        here. Without a message or a consumer the test fails, or without `fail_on_none` the result is `None`.
        """
        message = self.get_next_message(channel)
        if message is None:
            return _missed(f"There is no message on the channel {channel!r}.", fail_on_none)
        match: Match | None = self.channel_layer.router.match(message)
        if match is None:
            content = message.content
            return _missed(f"No route takes this message on the channel {channel!r}: {content!r}.", fail_on_none)
        with _connections_left_open(), _transactions_ended():
            return MessageContexts().new().run(self._run, match, message)

    def _run(self, match: Match, message: Message) -> Any:
        try:
            consumer_started.send(sender=self.__class__)
            return self._call(match, message)
        except ChannelSocketException as error:
            return error.run(message)
        finally:
            # Not by the signal, whose receiver logs errors to save the worker: the test should see them.
            try:
                pending_message_store.send_and_flush()
            finally:
                consumer_finished.send(sender=self.__class__)

    @staticmethod
    def _call(match: Match, message: Message) -> Any:
        consumer, kwargs = match
        client = message.reply_channel if message.channel.name == "websocket.connect" else None
        trace = pending_message_store.watch(client.name) if client is not None else None
        result = (async_to_sync(consumer) if is_async(consumer) else consumer)(message, **kwargs)
        refuse_unfinished(consumer, result)
        if client is not None and trace is not None and trace.is_accepted:
            client.send({"accept": True})
        return result

    def send_and_consume(self, channel: str, content: Content | None = None, fail_on_none: bool = True) -> Any:
        """Send a message and consume the next one: see `send` and `consume`."""
        self.send(channel, content)
        return self.consume(channel, fail_on_none=fail_on_none)

    def receive(self) -> Any:
        """Return the content of the next message to the client, or `None`."""
        message = self.get_next_message(self.reply_channel)
        return None if message is None else message.content

    def join_group(self, group_name: str) -> None:
        """Add the client to a group."""
        Group(group_name, channel_layer=self.channel_layer).add(self.reply_channel)


class apply_routes(ContextDecorator):
    """Give layers other routes: as a context manager, a function decorator or a class decorator.

    `routes` is a route, a dict, the dotted path of a routing, or a list of routes and of such routings. On a class the
    routes apply from before `setUp` to before `tearDown`.
    """

    def __init__(self, routes: Any, aliases: Sequence[str] = (DEFAULT_CHANNEL_LAYER,)) -> None:
        self._routes = routes
        self._aliases = [aliases] if isinstance(aliases, str) else list(aliases)
        self._replaced: list[list[tuple[ChannelLayerWrapper, Any, Router]]] = []

    def enter(self) -> None:
        """Replace the routes."""
        replaced = []
        for wrapper in [channel_layers[alias] for alias in self._aliases]:
            routing = _routing_of(self._routes)
            router = Router(routing)
            replaced.append((wrapper, wrapper.routing, wrapper.router))
            wrapper.routing, wrapper.router = routing, router
        self._replaced.append(replaced)

    def exit(self) -> None:
        """Restore what `enter` replaced."""
        for wrapper, routing, router in self._replaced.pop():
            wrapper.routing, wrapper.router = routing, router

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *exc_info: object) -> None:
        self.exit()

    def __call__(self, decorated: Any) -> Any:
        return self._around_tests(decorated) if isinstance(decorated, type) else super().__call__(decorated)

    def _around_tests(self, test_case: Any) -> Any:
        set_up, tear_down = test_case.setUp, test_case.tearDown

        @wraps(set_up)
        def setUp(test: Any) -> None:
            self.enter()
            try:
                set_up(test)
            except BaseException:
                self.exit()  # `tearDown` is not called then
                raise

        @wraps(tear_down)
        def tearDown(test: Any) -> None:
            self.exit()
            tear_down(test)

        test_case.setUp, test_case.tearDown = setUp, tearDown
        return test_case


def routing_of_layer(alias: str) -> Any:
    """Return the routing of a layer in the current settings. Raises `UnknownChannelLayer`."""
    entry = channel_layers.configs.get(alias, {})
    return entry["ROUTING"] if "ROUTING" in entry else channel_layers[alias].routing


def replaced_layer(alias: str, wrapper: ChannelLayerWrapper) -> Callable[[], None]:
    """Replace a layer by another; return a function that restores it."""
    made = alias in channel_layers.backends
    previous = channel_layers.set(alias, wrapper)

    def put_back() -> None:
        if made:
            channel_layers.set(alias, previous)
        else:
            channel_layers.backends.pop(alias, None)  # it is made when it is needed

    return put_back


def _replace_layers(test_case: Any) -> None:
    """Give the class or its next test empty layers. After the class the layers from before it are restored."""
    for alias in test_case.test_channel_aliases:
        routing = routing_of_layer(alias)
        layer = ChannelLayer(capacity=CAPACITY)
        on_commit = channel_layers.configs.get(alias, {}).get("ON_COMMIT", False)
        put_back = replaced_layer(alias, ChannelLayerWrapper(layer, alias, routing, on_commit))
        if "_layers_replaced" not in test_case.__dict__:
            test_case.addClassCleanup(put_back)
    if "_layers_replaced" not in test_case.__dict__:
        test_case._layers_replaced = True
        test_case.addClassCleanup(delattr, test_case, "_layers_replaced")


def _next_message(channel: str, layer: ChannelLayerWrapper) -> Message | None:
    name, content = layer.receive([channel])
    return None if name is None else Message(content, name, layer)


def _missed(sentence: str, fail: bool) -> None:
    if fail:
        raise AssertionError(sentence)


@contextmanager
def _connections_left_open() -> Iterator[None]:
    """Keep database connections open when a consumer or a view ends: they are inside the transaction of the test."""
    signals = [
        signal
        for signal in (consumer_finished, request_started, request_finished)
        if signal.disconnect(close_old_connections)
    ]
    try:
        yield
    finally:
        for signal in signals:
            signal.connect(close_old_connections)


@contextmanager
def _transactions_ended() -> Iterator[None]:
    """Roll back what a consumer left open, as a worker does, but not the transaction of the test around it."""
    around = open_transactions()
    depths = {alias: len(connections[alias].atomic_blocks) for alias in around}
    try:
        yield
    finally:
        ended = roll_back(around)
        for alias, depth in depths.items():
            left = connections[alias].atomic_blocks[depth:]
            for block in reversed(left):
                block.__exit__(RuntimeError, RuntimeError("left open"), None)
            ended += [alias] if left else []
        for alias in ended:
            logger.error("A consumer left a transaction of the database %r open: it was rolled back.", alias)


def _routing_of(routes: Any) -> Any:
    if hasattr(routes, "match"):
        return [routes]
    if isinstance(routes, (list, tuple)):
        return [include(entry) if isinstance(entry, (list, tuple, dict, str)) else entry for entry in routes]
    return routes
