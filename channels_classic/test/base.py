"""Test cases with a memory layer of their own, a client that sends and consumes, and routes for a while.

In comes what a test sends; `Client.consume` does a worker's work for one message, in the test's own thread.
"""

from __future__ import annotations

import copy
import random
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from functools import wraps
from typing import Any, ClassVar, TypeVar

from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from channels_classic import DEFAULT_CHANNEL_LAYER
from channels_classic._isolation import MessageContexts
from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.channel import Group
from channels_classic.exceptions import ChannelSocketException
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message, pending_message_store
from channels_classic.routing import Consumer, Match, Router, include
from channels_classic.signals import consumer_finished, consumer_started

__all__ = ["ChannelTestCase", "ChannelTestCaseMixin", "Client", "TransactionChannelTestCase", "apply_routes"]

T = TypeVar("T")

Content = dict[str, Any]

CAPACITY = 10
"""Unread messages a channel holds in a test, as in Channels 1.1.8: tests of projects fill one to see what happens."""


class ChannelTestCaseMixin(SimpleTestCase):
    """Gives each test an empty memory layer in the place of those in `test_channel_aliases`, with their routing.

    Outside the tests, in `setUpClass` and `setUpTestData`, there is one for the class. The layers of the settings are
    not made; the default routes for views and sockets are not added.
    """

    # A base behind Django's classes, not in front of them: what they call first is `SimpleTestCase`, once the settings
    # that a class overrides are in force, and before fixtures are loaded or `setUpTestData` runs.

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
        """The next message of a channel, or `None`; with `require` the test fails instead.

        Process-local channels are read by what comes before their `!`, and the `!`.
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
    """Sends messages as a client of the site would, and consumes them as a worker would.

    `reply_channel` begins with what is given, or with the alias of the layer.
    """

    def __init__(self, alias: str = DEFAULT_CHANNEL_LAYER, reply_channel: str | None = None) -> None:
        self.alias = alias
        self.reply_channel = (reply_channel or alias) + "".join(random.choices(string.ascii_letters, k=5))

    @property
    def channel_layer(self) -> Any:
        """The layer of this moment."""
        return channel_layers[self.alias]

    def get_next_message(self, channel: str) -> Message | None:
        """The next message of a channel, or `None`."""
        return _next_message(channel, self.channel_layer)

    def get_consumer_by_channel(self, channel: str) -> Consumer | None:
        """The consumer that a message with an empty text would get, or `None`."""
        match: Match | None = self.channel_layer.router.match(Message({"text": ""}, channel, self.channel_layer))
        return None if match is None else match[0]

    def send(self, to: str, content: Content | None = None) -> None:
        """Send a deep copy of `content`, with the client's reply channel unless it names one, at once."""
        self.channel_layer.send(to, {"reply_channel": self.reply_channel, **copy.deepcopy(content or {})})

    def consume(self, channel: str, fail_on_none: bool = True) -> Any:
        """What the consumer of the next message returns; for a class-based consumer that is the instance.

        What the consumer sends is on its way when this returns, or raises what the consumer raised. Without a message
        or a consumer the test fails, or, with `fail_on_none` off, this returns `None`.
        """
        message = self.get_next_message(channel)
        if message is None:
            return _missed(f"There is no message on the channel {channel!r}.", fail_on_none)
        match: Match | None = self.channel_layer.router.match(message)
        if match is None:
            content = message.content
            return _missed(f"No route takes this message on the channel {channel!r}: {content!r}.", fail_on_none)
        with _connections_left_open():
            return MessageContexts().new().run(self._run, match, message)

    def _run(self, match: Match, message: Message) -> Any:
        consumer, kwargs = match
        try:
            consumer_started.send(sender=self.__class__)
            return consumer(message, **kwargs)
        except ChannelSocketException as error:
            return error.run(message)
        finally:
            # Not left to the signal, which keeps errors from a worker; here the test is told.
            try:
                pending_message_store.send_and_flush()
            finally:
                consumer_finished.send(sender=self.__class__)

    def send_and_consume(self, channel: str, content: Content | None = None, fail_on_none: bool = True) -> Any:
        """Send a message and consume the next one: see `send` and `consume`."""
        self.send(channel, content)
        return self.consume(channel, fail_on_none=fail_on_none)

    def receive(self) -> Any:
        """The content of the next message to the client, or `None`."""
        message = self.get_next_message(self.reply_channel)
        return None if message is None else message.content

    def join_group(self, group_name: str) -> None:
        """Add the client to a group."""
        Group(group_name, channel_layer=self.channel_layer).add(self.reply_channel)


class apply_routes(ContextDecorator):
    """Gives layers other routes for a while: as a context manager, a function decorator or a class decorator.

    `routes` is a route, a dict, the dotted path of a routing, or a list of routes and of such routings. On a class the
    routes are there from before `setUp` to before `tearDown`.
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
        """Put back what `enter` replaced."""
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
    """The routing that the settings of this moment give a layer. Raises `UnknownChannelLayer`."""
    entry = channel_layers.configs.get(alias, {})
    return entry["ROUTING"] if "ROUTING" in entry else channel_layers[alias].routing


def replaced_layer(alias: str, wrapper: ChannelLayerWrapper) -> Callable[[], None]:
    """Put a layer in the place of another; the result puts that one back."""
    made = alias in channel_layers.backends
    previous = channel_layers.set(alias, wrapper)

    def put_back() -> None:
        if made:
            channel_layers.set(alias, previous)
        else:
            channel_layers.backends.pop(alias, None)  # to be made when it is needed

    return put_back


def _replace_layers(test_case: Any) -> None:
    """Give the class or its next test empty layers. Those from before return after the class, whatever it ran."""
    for alias in test_case.test_channel_aliases:
        routing = routing_of_layer(alias)
        layer = ChannelLayer(capacity=CAPACITY)
        put_back = replaced_layer(alias, ChannelLayerWrapper(layer, alias, routing))
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
    """Keep database connections, which are inside the test's transaction, when a consumer or a view ends."""
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


def _routing_of(routes: Any) -> Any:
    if hasattr(routes, "match"):
        return [routes]
    if isinstance(routes, (list, tuple)):
        return [include(entry) if isinstance(entry, (list, tuple, dict, str)) else entry for entry in routes]
    return routes
