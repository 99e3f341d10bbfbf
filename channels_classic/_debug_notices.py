"""Lines, while `DEBUG` is on, about messages that would otherwise vanish silently: one per name and process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from django.apps import apps
from django.conf import settings

from channels_classic.exceptions import ChannelsError
from channels_classic.layers.names import DELAY_CHANNEL

logger = logging.getLogger("django.channels")

_MOST = 1000
"""Names to warn of; paths come from clients."""

_seen: set[tuple[str, str]] = set()

_joined: set[str] = set()
"""Groups to which this process has added members."""


def warn_of_unrouted_channel(channel_layer: Any, name: str) -> None:
    """Warn when no route of the layer consumes what is sent to a channel."""
    router = getattr(channel_layer, "router", None)
    if not settings.DEBUG or router is None or {"!", "?"} & set(name) or name in router.channels or name in OTHERS:
        return
    if name == DELAY_CHANNEL:
        _warn_of_missing_delay()
        return
    near = get_close_matches(name, router.channels, 1)
    hint = f"did you mean {near[0]!r}?" if near else "add a route() for it, or correct the name."
    if _is_new("channel", name):
        alias = channel_layer.alias
        logger.warning("No route of the layer %r consumes what is sent to %r: %s", alias, name, hint)


def _warn_of_missing_delay() -> None:
    if "channels_delay" not in apps.app_configs and _is_new("channel", DELAY_CHANNEL):
        logger.warning(
            "Nothing delays what is sent to %r: add 'channels_classic.delay' to INSTALLED_APPS, migrate, and run "
            "manage.py rundelay.",
            DELAY_CHANNEL,
        )


OTHERS = frozenset(
    {"http.disconnect", "http.request", "websocket.connect", "websocket.disconnect", "websocket.receive"}
)
"""Channels that a program listens on without a route of the project."""


def warn_of_ignored_frame(message: Any) -> None:
    """Warn when the null consumer, which replaces missing routes, gets a frame; once for each path."""
    path = str(message.get("path", ""))
    if not settings.DEBUG or message.channel.name != "websocket.receive" or not _is_new("socket", path):
        return
    router = getattr(message.channel_layer, "router", None)
    hint = _known_paths(router, "websocket.receive")
    logger.warning("No route for websocket.receive matches sockets at %r: their frames are ignored. %s", path, hint)


def warn_of_unrouted_socket(message: Any, null_consumer: Any) -> None:
    """Warn when the default consumer accepts a socket that no route for frames takes either; once for each path."""
    path = str(message.get("path", ""))
    router = getattr(message.channel_layer, "router", None)
    if not settings.DEBUG or router is None or message.channel.name != "websocket.connect":
        return
    try:
        match = router.root.match(type(message)(message.content, "websocket.receive", message.channel_layer))
    except Exception:  # a routing of the project that looks at more than a handshake holds
        return
    looks_at_frames = any("text" in filters or "bytes" in filters for filters in _filters(router.root.routing))
    if (match is None or match[0] is null_consumer) and not looks_at_frames and _is_new("socket", path):
        hint = _known_paths(router, "websocket.connect")
        logger.warning("No route for websocket.connect matches sockets at %r: nothing answers them. %s", path, hint)


def _filters(entries: Iterable[Any]) -> Iterator[Any]:
    """Yield the filters of all routes, also of those that are included."""
    for entry in entries:
        yield getattr(entry, "filters", {})
        yield from _filters(getattr(entry, "routing", ()))


def _known_paths(router: Any, channel: str) -> str:
    known = dict.fromkeys(_paths(router.root.routing, channel)) if router is not None else {}
    if not known:
        return "There is no such route: add one."
    return f"Its routes have the path {', '.join(map(repr, [*known][:5]))}."


def _paths(entries: Iterable[Any], channel: str, prefix: str = "") -> Iterator[str]:
    """Yield the path filters of the routes for a channel; routes of an include with its prefix."""
    for entry in entries:
        if hasattr(entry, "prefixes"):
            pattern = entry.prefixes.get("path")
            yield from _paths(entry.routing, channel, prefix + (pattern.pattern if pattern else ""))
        elif channel in entry.channel_names() and "path" in getattr(entry, "filters", {}):
            yield prefix + entry.filters["path"].pattern


def remember_group(name: str) -> None:
    """Remember a name that members are added to: it is right, and can be suggested for one that resembles it."""
    if settings.DEBUG and len(_joined) < _MOST:
        _joined.add(name)


def report_empty_group(channel_layer: Any, name: str) -> None:
    """Log that a group has no members, if this process has added none: its name may be misspelt."""
    if not settings.DEBUG or name in _joined or not _is_new("group", name):
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        _report_if_empty(channel_layer, name)
    else:  # in a coroutine, which must not wait for the layer
        loop.run_in_executor(None, _report_if_empty, channel_layer, name)


def _report_if_empty(channel_layer: Any, name: str) -> None:
    try:
        if channel_layer.group_count(name):
            return
    except (AttributeError, ChannelsError):  # a layer of another package; or the send itself will raise
        return
    near = get_close_matches(name, _joined, 1)
    hint = f"Did you mean {near[0]!r}?" if near else "Is it the name that is given to Group(…).add()?"
    level = logging.WARNING if near else logging.INFO
    logger.log(level, "The group %r has no members: messages to it reach nobody. %s", name, hint)


def _is_new(kind: str, name: str) -> bool:
    if (kind, name) in _seen or len(_seen) >= _MOST:
        return False
    _seen.add((kind, name))
    return True
