"""Routing: find the consumer of a message, and the keyword arguments to call it with.

The worker asks a `Router` for each message, and once for the channels to listen on. Any object with
`match(message)` and `channel_names()` may stand in a routing list. As in Channels 1.1.8, a consumer that cannot be
called, or a routing that is not one, fails when it is used; `manage.py check` reports it before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from channels_classic._debug_notices import warn_of_ignored_frame, warn_of_unrouted_socket
from channels_classic.utils import name_that_thing

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

VIEW_CONSUMER = "channels_classic.handler.ViewConsumer"
HANDSHAKE_GUARD = "channels_classic.security.websockets.guarded"


class RoutedMessage(Protocol):
    """The part of a `Message` that routing reads."""

    content: dict[str, Any]

    @property
    def channel(self) -> Any:
        """The channel it came from, with its `name`."""

    @property
    def reply_channel(self) -> Any:
        """The channel to answer on, or `None`."""

    def with_values(self, **values: Any) -> Any:
        """Return a message whose content has other values."""


class RoutingEntry(Protocol):
    """An object that may stand in a routing list."""

    def match(self, message: Any) -> Match | None:
        """Return the consumer for `message` and its keyword arguments, or `None`."""

    def channel_names(self) -> set[str]:
        """Return the channels whose messages may match."""


class Route:
    """A consumer for one or more channels, for messages that pass all filters.

    `consumer` is a callable or the dotted path of one, which is imported at once. Each filter names a key of the
    message and gives a regular expression that its value must begin with; named groups become keyword arguments of the
    consumer. Raises `ImproperlyConfigured` for a consumer that cannot be imported, `ValueError` for a filter with
    unnamed groups.
    """

    def __init__(self, channels: str | bytes | Iterable[str | bytes], consumer: Consumer | str, **filters: Any) -> None:
        self.channels = _names(channels, consumer)
        self.consumer: Consumer = _imported(consumer, "consumer") if isinstance(consumer, str) else consumer
        self.filters = {key: _compiled(value) for key, value in filters.items()}
        for key, pattern in self.filters.items():
            if pattern.groups != len(pattern.groupindex):
                raise ValueError(
                    f"The filter {key}={pattern.pattern!r} of {self} has an unnamed group: use (?P<name>…), "
                    "whose value is passed to the consumer, or (?:…)."
                )

    def match(self, message: RoutedMessage) -> Match | None:
        """Return the consumer and its keyword arguments, or `None`. A value that is not text matches no filter."""
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
        """Return the channels of this route."""
        return set(self.channels)

    def __str__(self) -> str:
        return f"{'/'.join(map(str, self.channels))} {_in_brackets(self.filters)}-> {name_that_thing(self.consumer)}"


class RouteClass(Route):
    """A route for all channels that a class-based consumer names in `channel_names()`, which is called once, now.

    Raises `ValueError` when the consumer has no such method.
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

    `routing` is a list, a dict or the dotted path of one. Each prefix names a key of the message and gives a regular
    expression that its value must begin with. Inner routes see the value without that beginning, the consumer sees all
    of it; named groups become keyword arguments.

    The entries are in `routing`, a list that may be changed at any time.
    """

    def __init__(self, routing: Any, **prefixes: Any) -> None:
        resolved = Router.resolve_routing(routing)
        is_copied = isinstance(resolved, Iterable) and not isinstance(resolved, list | set | frozenset)
        self.routing: Any = list(resolved) if is_copied else resolved
        self.prefixes = {key: _compiled(value) for key, value in prefixes.items()}
        self._name = f" {routing!r}" if isinstance(routing, str) else ""
        self._indexed: Any = ()
        self._by_channel: dict[str, list[RoutingEntry]] = {}
        self._for_others: list[RoutingEntry] = []

    def match(self, message: RoutedMessage) -> Match | None:
        """Return the first match among the entries, with the keyword arguments of the prefixes, or `None`."""
        entries = self._entries_for(message.channel.name)
        if not entries:
            return None
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
        for entry in entries:
            # A routing object of the project may change the message it is shown; the consumer must not see that.
            shown = message if type(entry) in _READ_ONLY else message.with_values()
            result = entry.match(shown)
            if result is not None:
                consumer, inner = result
                return consumer, {**kwargs, **inner} if kwargs else inner
        return None

    def channel_names(self) -> set[str]:
        """Return the channels of all entries. Raises `ImproperlyConfigured` for what is not a routing."""
        return set().union(*(entry.channel_names() for entry in self._checked()))

    def _entries_for(self, channel: str) -> list[RoutingEntry]:
        """Return the entries that may match a message of `channel`: routes for other channels take no time then."""
        # Comparing the list with the one that was indexed takes less time than asking each of its routes.
        if self.routing != self._indexed:
            self._index()
        return self._by_channel.get(channel, self._for_others)

    def _index(self) -> None:
        entries = self._checked()
        names = {name for entry in entries if type(entry) in _INDEXED for name in entry.channel_names()}
        # An include may be changed too, and a routing object of the project decides for itself.
        self._for_others = [entry for entry in entries if type(entry) not in _INDEXED]
        self._by_channel = {
            name: [entry for entry in entries if type(entry) not in _INDEXED or name in entry.channel_names()]
            for name in names
        }
        self._indexed = entries  # last: another thread that compares meanwhile makes an index of its own

    def _checked(self) -> list[RoutingEntry]:
        """Return a copy of the list of entries, each of which has the methods of one."""
        if isinstance(self.routing, set | frozenset):
            raise ImproperlyConfigured(
                f"The routing{self._name} is a set, which has no order: expected a list, because the first route that "
                "matches a message is used."
            )
        try:
            entries = list(self.routing)
        except TypeError as error:
            raise ImproperlyConfigured(
                f"{self.routing!r} is not a routing{self._name and f' (at{self._name})'}: expected a list of route() "
                "and include(), a dict of channel to consumer, or the dotted path of one."
            ) from error
        for position, entry in enumerate(entries):
            if not hasattr(entry, "match") or not hasattr(entry, "channel_names"):
                raise ImproperlyConfigured(
                    f"Entry {position} of the routing{self._name} is {entry!r}: expected route(…), route_class(…) or "
                    "include(…)."
                )
        return entries

    def __str__(self) -> str:
        return f"include {_in_brackets(self.prefixes)}-> {len(self._checked())} routes"


_INDEXED = frozenset({Route, RouteClass})
_READ_ONLY = _INDEXED | {Include}


class Router:
    """The routing of one layer. `root` holds the entries, `channels` the names to listen on.

    Raises `ImproperlyConfigured` for what is not a routing.
    """

    def __init__(self, routing: Any) -> None:
        self.root = Include(routing)
        if isinstance(self.root.routing, list):
            # A list of its own: adding a route must not change a list in a module of the project.
            self.root.routing = [*self.root.routing]
        self.channels = self.root.channel_names()

    def add_route(self, route: RoutingEntry) -> None:
        """Add an entry after all others."""
        self.root.routing.append(route)
        self.channels = self.root.channel_names()

    def match(self, message: RoutedMessage) -> Match | None:
        """Return the consumer for `message` and its keyword arguments, or `None` if no route matches.

        A handshake from a page of a foreign site gets a consumer that denies it.
        """
        match = self.root.match(message)
        if match is not None and message.channel.name == "websocket.connect":
            # By its path: it reads the messages that routing must not depend on, and django.http is imported only here.
            match = import_string(HANDSHAKE_GUARD)(message, match)
        return match

    def check_default(self, http_consumer: Consumer | None = None) -> None:
        """Add the default consumers, after all routes of the project: `runworker` and `runserver` call it, as in 1.x.

        Requests go to `http_consumer` or Django's views; sockets are accepted, their frames ignored.
        """
        if http_consumer is None:
            # By its path: Django's handlers are imported in processes that run views only.
            http_consumer = import_string(VIEW_CONSUMER)()
        self.add_route(Route("http.request", http_consumer))
        self.add_route(Route("websocket.connect", connect_consumer))
        self.add_route(Route("websocket.receive", null_consumer))
        self.add_route(Route("websocket.disconnect", null_consumer))

    @classmethod
    def resolve_routing(cls, routing: Any) -> Any:
        """Return the routing at a dotted path, the routes of a dict `{channel: consumer}`, or `routing` itself."""
        if isinstance(routing, str):
            routing = _imported(routing, "routing")
        if isinstance(routing, dict):
            return [Route(channel, consumer) for channel, consumer in routing.items()]
        return routing

    @classmethod
    def normalise_re_arg(cls, value: Any) -> Any:
        """Return ASCII bytes as text, anything else unchanged."""
        return _text(value)


def null_consumer(*args: Any, **kwargs: Any) -> None:
    """Do nothing with the message."""
    if args and hasattr(args[0], "channel"):  # tests call it with anything
        warn_of_ignored_frame(args[0])


def connect_consumer(message: RoutedMessage, *args: Any, **kwargs: Any) -> None:
    """Accept the WebSocket."""
    if message.reply_channel is not None:
        message.reply_channel.send({"accept": True})
    if hasattr(message, "channel"):
        warn_of_unrouted_socket(message, null_consumer)


route = Route
route_class = RouteClass
include = Include


def _text(value: Any) -> Any:
    return value.decode("ascii") if isinstance(value, bytes) else value


def _compiled(pattern: Any) -> re.Pattern[str]:
    return re.compile(_text(pattern))


def _match_all(patterns: dict[str, re.Pattern[str]], content: dict[str, Any]) -> dict[str, re.Match[str]] | None:
    """Return the match of each pattern with the beginning of its value, or `None` if one fails."""
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
    """Return the object at a dotted path."""
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise ImproperlyConfigured(
            f"The {kind} {path!r} is not a dotted path: expected 'module.name', such as 'mysite.routing.{kind}'."
        )
    try:
        module = import_module(module_path)
    except SystemExit as error:
        # Otherwise it would end the program silently, with the exit status of a success.
        raise ImproperlyConfigured(
            f"The {kind} {path!r} cannot be imported: a module that it needs called sys.exit({error.code!r}) while it "
            "was imported."
        ) from error
    except ImportError as error:
        raise ImproperlyConfigured(
            f"The {kind} {path!r} cannot be imported: {error}. Check the ROUTING in CHANNEL_LAYERS, "
            "or the route() or include(), that names it."
        ) from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        near = get_close_matches(name, dir(module), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        where = getattr(module, "__file__", None) or "a folder without __init__.py"
        raise ImproperlyConfigured(
            f"The {kind} {path!r} cannot be imported: {module_path!r} ({where}) has no {name!r}.{hint}"
        ) from error


def _names(channels: Any, consumer: object) -> list[str]:
    """Return the channels of a route as a list; their names are checked where they are used."""
    if isinstance(channels, (str, bytes)):
        return [_text(channels)]
    try:
        return [_text(name) for name in channels]
    except TypeError as error:
        target = consumer if isinstance(consumer, str) else name_that_thing(consumer)
        raise ImproperlyConfigured(
            f"The route to {target} is for the channel {channels!r}: expected the name of a channel, such as "
            "'websocket.connect', or a list of names."
        ) from error


def _in_brackets(patterns: dict[str, re.Pattern[str]]) -> str:
    if not patterns:
        return ""
    return "(" + ", ".join(f"{key}={pattern.pattern}" for key, pattern in patterns.items()) + ") "
