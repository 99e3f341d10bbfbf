"""Routing: from a message to the consumer that takes it, and the keyword arguments it is called with.

The worker asks a ``Router`` for each message, and once for the channels to listen on. Anything with
``match(message)`` and ``channel_names()`` can stand in a routing list.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from channels_classic.utils import name_that_thing

if TYPE_CHECKING:
    from channels_classic.message import Message

__all__ = [
    "Include",
    "Route",
    "RouteClass",
    "Router",
    "connect_consumer",
    "include",
    "null_consumer",
    "route",
    "route_class",
]

Consumer = Callable[..., Any]
Match = tuple[Consumer, dict[str, Any]]


class RoutingEntry(Protocol):
    """What can stand in a routing list."""

    def match(self, message: Message) -> Match | None:
        """The consumer for ``message`` and its keyword arguments, or ``None``."""

    def channel_names(self) -> set[str]:
        """The channels that messages could come from."""


class Route:
    """A consumer for one or more channels, for messages that pass all filters.

    ``consumer`` is a callable or the dotted path of one, imported at once. Each filter names a key of the message and
    gives a regular expression that its value must begin with; named groups become keyword arguments of the consumer.
    Raises ``ImproperlyConfigured`` for channels that are no text and for a consumer that cannot be imported, called, or
    given a message, ``ValueError`` for a filter with unnamed groups.
    """

    def __init__(self, channels: str | bytes | Iterable[str | bytes], consumer: Consumer | str, **filters: Any) -> None:
        self.channels = _names(channels, consumer)
        self.consumer: Consumer = _imported(consumer, "consumer") if isinstance(consumer, str) else consumer
        _check_consumer(self.consumer, self.channels)
        self.filters = {key: _compiled(value) for key, value in filters.items()}
        for key, pattern in self.filters.items():
            if pattern.groups != len(pattern.groupindex):
                raise ValueError(
                    f"The filter {key}={pattern.pattern!r} of {self} has an unnamed group: use (?P<name>…), "
                    "whose value the consumer is given, or (?:…)."
                )

    def match(self, message: Message) -> Match | None:
        """The consumer and its keyword arguments, or ``None``; a value that is no text matches no filter."""
        if message.channel.name not in self.channels:
            return None
        found = _match_all(self.filters, message.content)
        if found is None:
            return None
        kwargs: dict[str, Any] = {}
        for match in found.values():
            kwargs.update(match.groupdict())
        return self.consumer, kwargs

    def channel_names(self) -> set[str]:
        """The channels of this route."""
        return set(self.channels)

    def __str__(self) -> str:
        return f"{'/'.join(self.channels)} {_in_brackets(self.filters)}-> {name_that_thing(self.consumer)}"


class RouteClass(Route):
    """A route for all channels that a class-based consumer names in ``channel_names()``, asked once, now.

    Raises ``ValueError`` when the consumer has no such method.
    """

    def __init__(self, consumer: Any, **filters: Any) -> None:
        if isinstance(consumer, str):
            consumer = _imported(consumer, "consumer")
        if not callable(getattr(consumer, "channel_names", None)):
            raise ValueError(
                f"{name_that_thing(consumer)} has no channel_names() method: route_class takes class-based consumers, "
                "route takes functions."
            )
        super().__init__(consumer.channel_names(), consumer, **filters)


class Include:
    """The routes of another routing, for messages that pass all prefixes.

    ``routing`` is a list, a dict or the dotted path of one. Each prefix names a key of the message and gives a regular
    expression that its value must begin with. Inner routes see the value without that beginning, the consumer sees it
    whole; named groups become keyword arguments.
    """

    def __init__(self, routing: Any, **prefixes: Any) -> None:
        # A list of our own: adding a route must not change a list in the user's module.
        self.routing = _entries(Router.resolve_routing(routing), routing)
        self.prefixes = {key: _compiled(value) for key, value in prefixes.items()}
        # Those for other channels cost a message nothing. What a user's own entry matches is its own business.
        self._by_channel = {
            name: [entry for entry in self.routing if type(entry) not in _READ_ONLY or name in entry.channel_names()]
            for name in self.channel_names()
        }

    def match(self, message: Message) -> Match | None:
        """The first match among the entries, with the keyword arguments of the prefixes, or ``None``."""
        kwargs: dict[str, Any] = {}
        if self.prefixes:
            found = _match_all(self.prefixes, message.content)
            if found is None:
                return None
            remainders = {}
            for key, match in found.items():
                kwargs.update(match.groupdict())
                remainders[key] = match.string[match.end() :]
            message = message.with_values(**remainders)
        for entry in self._by_channel.get(message.channel.name, self.routing):
            # A routing object of the user's may change the message it is shown; the consumer must not see that.
            shown = message if type(entry) in _READ_ONLY else message.with_values()
            result = entry.match(shown)
            if result is not None:
                consumer, inner = result
                return consumer, {**kwargs, **inner} if kwargs else inner
        return None

    def channel_names(self) -> set[str]:
        """The channels of all entries."""
        return set().union(*(entry.channel_names() for entry in self.routing))

    def __str__(self) -> str:
        return f"include {_in_brackets(self.prefixes)}-> {len(self.routing)} routes"


_READ_ONLY = frozenset({Route, RouteClass, Include})


class Router:
    """The routing of one layer. ``root`` holds the entries, ``channels`` the names to listen on."""

    def __init__(self, routing: Any) -> None:
        self.root = Include(routing)
        self.channels = self.root.channel_names()

    def add_route(self, route: RoutingEntry) -> None:
        """Add an entry behind all others."""
        self.root = Include([*self.root.routing, route])
        self.channels = self.root.channel_names()

    def match(self, message: Message) -> Match | None:
        """Return the consumer for ``message`` and its keyword arguments, or ``None`` if no route takes it.

        For a handshake from a page of a foreign site that is a consumer which denies it.
        """
        match = self.root.match(message)
        if match is not None and message.channel.name == "websocket.connect":
            # Imported here because processes that only send have routing too, and need nothing of django.http.
            from channels_classic.security.websockets import deny_foreign_origin, may_connect

            if not may_connect(message, match[0]):
                return deny_foreign_origin, {}
        return match

    def check_default(self, http_consumer: Consumer | None = None) -> None:
        """Add the default consumers, behind all routes of the user.

        Requests go to ``http_consumer`` or Django's views; sockets are accepted, their frames ignored.
        """
        if http_consumer is None:
            # Importing Django's handlers is for processes that run views.
            from channels_classic.handler import ViewConsumer

            http_consumer = ViewConsumer()
        self.add_route(Route("http.request", http_consumer))
        self.add_route(Route("websocket.connect", connect_consumer))
        self.add_route(Route("websocket.receive", null_consumer))
        self.add_route(Route("websocket.disconnect", null_consumer))

    @classmethod
    def resolve_routing(cls, routing: Any) -> Any:
        """The routing at a dotted path; a dict ``{channel: consumer}`` as a list of routes; anything else as it is."""
        if isinstance(routing, str):
            routing = _imported(routing, "routing")
        if isinstance(routing, dict):
            return [Route(channel, consumer) for channel, consumer in routing.items()]
        return routing

    @classmethod
    def normalise_re_arg(cls, value: Any) -> Any:
        """ASCII bytes as text, anything else as it is."""
        return _text(value)


def null_consumer(*args: Any, **kwargs: Any) -> None:
    """Do nothing with the message."""


def connect_consumer(message: Message, *args: Any, **kwargs: Any) -> None:
    """Accept the WebSocket."""
    if message.reply_channel is not None:
        message.reply_channel.send({"accept": True})


route = Route
route_class = RouteClass
include = Include


def _text(value: Any) -> Any:
    return value.decode("ascii") if isinstance(value, bytes) else value


def _compiled(pattern: Any) -> re.Pattern[str]:
    return re.compile(_text(pattern))


def _match_all(patterns: dict[str, re.Pattern[str]], content: dict[str, Any]) -> dict[str, re.Match[str]] | None:
    """The match of each pattern with the beginning of its value, or ``None`` if one fails."""
    found = {}
    for key, pattern in patterns.items():
        value = content.get(key)
        if isinstance(value, bytes):
            try:
                value = value.decode("ascii")
            except UnicodeDecodeError:
                return None
        if not isinstance(value, str):
            return None
        match = pattern.match(value)
        if match is None:
            return None
        found[key] = match
    return found


def _imported(path: str, kind: str) -> Any:
    """The object at a dotted path."""
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise ImproperlyConfigured(
            f"The {kind} {path!r} is no dotted path: expected 'module.name', such as 'mysite.routing.{kind}'."
        )
    try:
        module = import_module(module_path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"The {kind} {path!r} cannot be imported: {error}. Look at the ROUTING in CHANNEL_LAYERS, "
            "or the route() or include(), that names it."
        ) from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        near = get_close_matches(name, dir(module), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ImproperlyConfigured(
            f"The {kind} {path!r} cannot be imported: {module_path!r} ({module.__file__}) has no {name!r}.{hint}"
        ) from error


def _names(channels: Any, consumer: object) -> list[str]:
    """The channels of a route as a list of text."""
    single = isinstance(channels, (str, bytes)) or not isinstance(channels, Iterable)
    names = [_text(name) for name in ([channels] if single else channels)]
    for name in names:
        if not isinstance(name, str):
            raise ImproperlyConfigured(
                f"The route to {_shown(consumer)} is for the channel {name!r}: expected the name of a channel, such as "
                "'websocket.connect', or a list of names."
            )
    return names


def _check_consumer(consumer: object, channels: list[str]) -> None:
    """Find out now what would otherwise fail with each message."""
    place = f"The consumer {_shown(consumer)} of {'/'.join(channels)}"
    if not callable(consumer):
        raise ImproperlyConfigured(f"{place} cannot be called: expected a function, a class or the dotted path of one.")
    if isinstance(consumer, type):
        return  # tests route classes that only name their channels
    try:
        # What a decorator wraps is its own business: it may well call that without the message.
        signature = inspect.signature(consumer, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some builtins have none
    try:
        signature.bind_partial(None)
    except TypeError as error:
        raise ImproperlyConfigured(
            f"{place} takes no argument, but is called with the message: write def {_shown(consumer, short=True)}"
            "(message), and behind it an argument for each named group of the route."
        ) from error


def _shown(consumer: object, *, short: bool = False) -> str:
    name = consumer if isinstance(consumer, str) else name_that_thing(consumer)
    return name.rpartition(".")[2] if short else name


def _entries(resolved: Any, routing: Any) -> list[RoutingEntry]:
    """The entries of a routing, each of which can be asked for a match; `routing` is what was given for it."""
    name = f" {routing!r}" if isinstance(routing, str) else ""
    try:
        entries = list(resolved)
    except TypeError as error:
        raise ImproperlyConfigured(
            f"{resolved!r} is no routing{name and f' (at{name})'}: expected a list of route() and include(), a dict of "
            "channel to consumer, or the dotted path of one."
        ) from error
    for position, entry in enumerate(entries):
        if not hasattr(entry, "match") or not hasattr(entry, "channel_names"):
            raise ImproperlyConfigured(
                f"Entry {position} of the routing{name} is {entry!r}: expected route(…), route_class(…) or include(…)."
            )
    return entries


def _in_brackets(patterns: dict[str, re.Pattern[str]]) -> str:
    if not patterns:
        return ""
    return "(" + ", ".join(f"{key}={pattern.pattern}" for key, pattern in patterns.items()) + ") "
