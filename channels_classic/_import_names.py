"""The import names of Channels 1.x and the modules of this package that stand for them."""

from __future__ import annotations

from collections.abc import Mapping

MODULES: Mapping[str, str] = {
    "asgi_ipc": "channels_classic.layers.local",
    "asgi_ipc.core": "channels_classic.layers.local",
    "asgi_redis": "channels_classic.layers.redis",
    "asgi_redis.core": "channels_classic.layers.redis",
    "asgi_redis.local": "channels_classic.layers.redis",
    "asgi_redis.sentinel": "channels_classic.layers.redis",
    "asgiref.inmemory": "channels_classic.layers.inmemory",
    "channels": "channels_classic",
    "channels.tests.base": "channels_classic.test.base",
    "channels.tests.http": "channels_classic.test.http",
}
"""Module of Channels 1.x → module here. Submodules of `channels` have the same names below `channels_classic`."""

NAMES: Mapping[str, Mapping[str, str]] = {"channels_classic.layers.local": {"IPCChannelLayer": "LocalChannelLayer"}}
"""Module here → old names in it → present names."""
