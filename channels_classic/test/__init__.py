"""Test tools for projects and authors of channel layers. Each is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from channels_classic.test.base import ChannelTestCase as ChannelTestCase
    from channels_classic.test.base import Client as Client
    from channels_classic.test.base import TransactionChannelTestCase as TransactionChannelTestCase
    from channels_classic.test.base import apply_routes as apply_routes
    from channels_classic.test.liveserver import ChannelLiveServerTestCase as ChannelLiveServerTestCase
    from channels_classic.test.websocket import WSClient as HttpClient
    from channels_classic.test.websocket import WSClient as WSClient

_HOMES = {
    "ChannelLiveServerTestCase": "liveserver",
    "ChannelTestCase": "base",
    "Client": "base",
    "HttpClient": "http",
    "TransactionChannelTestCase": "base",
    "WSClient": "websocket",
    "apply_routes": "base",
}

__all__ = [
    "ChannelLiveServerTestCase",
    "ChannelTestCase",
    "Client",
    "HttpClient",
    "TransactionChannelTestCase",
    "WSClient",
    "apply_routes",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
