"""System checks of the routing of one layer: it can be imported, and workers can call its consumers.

`checks` runs them for each layer.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import django
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

import channels_classic
from channels_classic.asgi import shown_entry
from channels_classic.exceptions import ChannelsError, InvalidChannelName
from channels_classic.layers.names import check_receivable
from channels_classic.routing import Include, Route, RouteClass, Router
from channels_classic.utils import name_that_thing

SENT_BY_INTERFACE_SERVERS = (
    "http.disconnect",
    "http.request",
    "websocket.connect",
    "websocket.disconnect",
    "websocket.receive",
)

_LIBRARIES = tuple(os.path.join(*module.__path__, "") for module in (channels_classic, django, importlib))

_ROUTING_HINT = (
    "Name a list of route() and include(), or a dict of channel to consumer, such as "
    "'mysite.routing.channel_routing'; an empty list will do."
)
_ROUTING_HINTS: dict[type, str] = {InvalidChannelName: "Give that channel another name."}

Messages = Iterator[CheckMessage]


def check_routing(alias: str, routing: Any) -> Messages:
    """Yield what is wrong with the routing of a layer; importing it runs code of the project."""
    try:
        router = Router(routing)
        for channel in router.channels:
            check_receivable(channel)
    except Exception as error:  # importing the user's modules runs their code
        kind = "" if isinstance(error, (ImproperlyConfigured, ChannelsError)) else f"{type(error).__name__}: "
        yield Error(
            f"The ROUTING of {shown_entry(alias)} cannot be used: {kind}{error}",
            hint=place_of(error) or _ROUTING_HINTS.get(type(error), _ROUTING_HINT),
            id="channels_classic.E005",
        )
    else:
        yield from _check_consumers(router.root, frozenset())


def _check_consumers(include: Include, captured: frozenset[str]) -> Messages:
    """Check the consumers of all routes; `captured` are the groups of the includes around them."""
    for entry in include.routing:
        if type(entry) is Include:
            yield from _check_consumers(entry, captured | _groups(entry.prefixes))
        elif type(entry) in (Route, RouteClass):
            yield from _check_call(entry, captured | _groups(entry.filters))
            yield from _check_names(entry)
            yield from _check_order(entry)


def _check_call(route: Route, captured: frozenset[str]) -> Messages:
    """Warn when each call of the consumer will fail; an error would stop projects that never use the route."""
    consumer, name = route.consumer, name_that_thing(route.consumer)
    call = f"{name.rpartition('.')[2]}({', '.join(['message', *sorted(captured)])})"
    problem = f"it is of type {type(consumer).__name__}"
    hint = "Name a function, a class or the dotted path of one."
    if callable(consumer):
        try:
            # Not that of a function inside a decorator, which may well call it with other arguments.
            inspect.signature(consumer, follow_wrapped=False).bind(None, **dict.fromkeys(captured))
        except TypeError as error:
            code = getattr(consumer, "__code__", None)
            problem = f"{error}, and each message is passed as {call}"
            hint = f"Write def {call}." + (f" Look at {code.co_filename}, line {code.co_firstlineno}." if code else "")
        except ValueError:
            return  # some builtins have no signature
        else:
            return
    yield Warning(
        f"The consumer {name} of {'/'.join(route.channels)} cannot be called: {problem}.",
        hint=hint,
        id="channels_classic.W010",
    )


def _check_names(route: Route) -> Messages:
    """Warn about a channel that is almost, but not quite, one of the interface server."""
    for channel in route.channels:
        near = get_close_matches(channel, SENT_BY_INTERFACE_SERVERS, 1, 0.8)
        if channel not in SENT_BY_INTERFACE_SERVERS and near:
            yield Warning(
                f"The route for {channel!r} to {name_that_thing(route.consumer)} gets no messages of clients: "
                f"interface servers send to {near[0]!r}.",
                hint=f"Write {near[0]!r}; or silence this, if the project itself sends to that channel.",
                id="channels_classic.W012",
            )


def _check_order(route: Route) -> Messages:
    """Warn about a demultiplexer with several streams that enforce the order of the whole socket."""
    consumer = route.consumer
    ordered = (
        consumer._ordered_streams() if isinstance(consumer, type) and hasattr(consumer, "_ordered_streams") else []
    )
    if len(ordered) > 1:
        yield Warning(
            f"The consumers of the streams {', '.join(map(repr, ordered))} of {name_that_thing(consumer)} have "
            "strict_ordering. The order is that of the whole socket: frames of the others would wait forever.",
            hint="Set strict_ordering on the demultiplexer instead.",
            id="channels_classic.W011",
        )


def _groups(patterns: dict[str, re.Pattern[str]]) -> frozenset[str]:
    return frozenset(group for pattern in patterns.values() for group in pattern.groupindex)


def place_of(error: BaseException) -> str:
    """Return the line of the project's code in which the error arose; empty if there is none."""
    for raised in filter(None, (error.__cause__, error)):
        for frame in reversed(traceback.extract_tb(raised.__traceback__)):
            if not frame.filename.startswith((*_LIBRARIES, "<frozen ")):
                return f"Look at {frame.filename}, line {frame.lineno}."
    return ""
