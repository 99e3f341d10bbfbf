"""System checks of a project that has Channels 2 or later beside, or had it: which library can use which layer.

`checks` calls them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from channels_classic.asgi import foreign_layer, shown_entry
from channels_classic.conf import CHANNEL_LAYERS, DEFAULT_CHANNEL_LAYER

Messages = Iterator[CheckMessage]


def check_shared_setting(configs: dict[str, Any]) -> Messages:
    """Warn of layers that consumers of Channels 2 or later would look up, and refuse for their routing."""
    version = other_channels()
    if CHANNEL_LAYERS.used_name != CHANNEL_LAYERS.name or not version:
        return
    ours = [alias for alias, entry in configs.items() if isinstance(entry, dict) and "ROUTING" in entry]
    if DEFAULT_CHANNEL_LAYER in ours:
        yield Warning(
            f"Channels {version} is installed beside, and refuses CHANNEL_LAYERS['default'] for its ROUTING: "
            "each handshake with a consumer of Channels would end in status 500.",
            hint="Rename the setting CHANNEL_LAYERS to CHANNELS_CLASSIC_LAYERS: the old name then belongs to Channels.",
            id="channels_classic.W007",
        )


def check_foreign_layer(alias: str, entry: dict[str, Any]) -> Messages:
    """Report a layer of Channels 2 or later where one of ours could be."""
    error = foreign_layer(alias, entry)
    if CHANNEL_LAYERS.used_name != CHANNEL_LAYERS.name or not _is_beside():
        is_left_over = hasattr(settings, "ASGI_APPLICATION") and not _is_beside()
        leftover = " Remove ASGI_APPLICATION, which belongs to it too." if is_left_over else ""
        yield Error(error.problem, hint=f"{error.hint}{leftover}", id="channels_classic.E008")
    elif alias == DEFAULT_CHANNEL_LAYER:
        yield Warning(
            f"{shown_entry(alias)} is a layer of Channels 2 or later: the programs of "
            "channels_classic, Channel and Group have none.",
            hint='Leave it as it is, and add CHANNELS_CLASSIC_LAYERS = {"default": {"ROUTING": '
            '"mysite.routing.channel_routing"}}.',
            id="channels_classic.W008",
        )


def check_timeouts() -> Messages:
    """Warn of layers of channels_redis whose reads fail after as many seconds as they wait for a message."""
    layers = getattr(settings, CHANNEL_LAYERS.name, None)
    if not isinstance(layers, dict) or not _is_beside() or _major("redis") < 8:
        return
    for alias, entry in layers.items():
        if isinstance(entry, dict) and str(entry.get("BACKEND")).startswith("channels_redis.core."):
            config = entry.get("CONFIG")
            hosts = config.get("hosts") if isinstance(config, dict) else None
            if not all(map(_has_timeout, hosts or ["redis://localhost:6379"])):
                yield Warning(
                    f"A host of CHANNEL_LAYERS[{alias!r}] has no socket_timeout: with redis 8, each socket of Channels "
                    "that uses this layer ends with an error when nothing is sent to it for 5 seconds.",
                    hint='Write each host as {"address": "redis://localhost:6379/0", "socket_timeout": None}.',
                    id="channels_classic.W009",
                )


def _has_timeout(host: Any) -> bool:
    """Return True if a host in a `CONFIG` of channels_redis says how long a read may take."""
    if isinstance(host, dict):
        return "socket_timeout" in host or _has_timeout(host.get("address"))
    return isinstance(host, str) and "socket_timeout=" in host


def other_channels() -> str:
    """Return the version of Channels 2 or later that is installed beside, or the empty text."""
    return _version("channels") if _major("channels") >= 2 else ""


def _is_beside() -> bool:
    return bool(other_channels()) or apps.is_installed("channels")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _major(package: str) -> int:
    """Return the first number of the version of a package, 0 if it is not installed."""
    return int(_version(package).partition(".")[0] or 0)
