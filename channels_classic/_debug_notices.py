"""Warnings, while `DEBUG` is on, about messages that would otherwise vanish silently: one per name and process."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import Any

from django.conf import settings

logger = logging.getLogger("django.channels")

_MOST = 1000
"""Names to warn of; paths come from clients."""

_seen: set[tuple[str, str]] = set()


def warn_of_unrouted_channel(channel_layer: Any, name: str) -> None:
    """Warn when no route of the layer consumes what is sent to a channel."""
    router = getattr(channel_layer, "router", None)
    if not settings.DEBUG or router is None or {"!", "?"} & set(name) or name in router.channels or name in OTHERS:
        return
    near = get_close_matches(name, router.channels, 1)
    hint = f"did you mean {near[0]!r}?" if near else "add a route() for it, or correct the name."
    _warn("channel", name, "No route of the layer %r consumes what is sent to %r: %s", channel_layer.alias, name, hint)


OTHERS = frozenset(
    {"asgi.delay", "http.disconnect", "http.request", "websocket.connect", "websocket.disconnect", "websocket.receive"}
)
"""Channels that a program listens on without a route of the project."""


def warn_of_ignored_frame(message: Any) -> None:
    """Warn when the null consumer, which stands for the routes that are missing, gets a frame; once for each path."""
    if settings.DEBUG and message.channel.name == "websocket.receive":
        path = str(message.get("path", ""))
        text = "No consumer but the null consumer takes the frames of sockets at %r: they are ignored. Add a route."
        _warn("socket", path, text, path)


def _warn(kind: str, name: str, text: str, *args: Any) -> None:
    if (kind, name) not in _seen and len(_seen) < _MOST:
        _seen.add((kind, name))
        logger.warning(text, *args)
