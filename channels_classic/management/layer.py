"""The layer a command works on, or a sentence that says what is wrong with the settings."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from channels_classic.asgi import ChannelLayerWrapper, channel_layers, too_old_layer
from channels_classic.conf import CHANNEL_LAYERS
from channels_classic.exceptions import ChannelsError

MISSING = """There is no channel layer {alias!r}, because the setting {setting} is missing or empty.
Add to your settings:

{setting} = {{
    "{alias}": {{"ROUTING": "mysite.routing.channel_routing"}},
}}
"""


def missing_layers(alias: str) -> CommandError:
    """Return the error for a project without layers; it says what to write."""
    return CommandError(MISSING.format(alias=alias, setting=CHANNEL_LAYERS.used_name))


def layer_of(alias: str) -> ChannelLayerWrapper:
    """The layer `alias` with its routing. Raises `CommandError` when the settings give none that can be made."""
    try:
        if not channel_layers.configs and alias not in channel_layers.backends:
            raise missing_layers(alias)
        layer: ChannelLayerWrapper = channel_layers[alias]
    except (ChannelsError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from error
    return layer


def program_layer_of(alias: str) -> ChannelLayerWrapper:
    """`layer_of` for a program that carries the steps of a layer itself. Raises `CommandError` if it cannot."""
    layer = layer_of(alias)
    _refuse_too_old(alias, layer.channel_layer)
    return layer


def _refuse_too_old(alias: str, layer: Any) -> None:
    error = too_old_layer(alias, type(layer))
    if error is not None:
        raise CommandError(str(error))


def bare_layer_of(alias: str) -> Any:
    """The layer `alias` without its routing, so that nothing of the project is imported but its settings.

    Raises `CommandError` when the settings give none that can be made, or one that other processes cannot reach.
    """
    try:
        if not channel_layers.configs:
            raise missing_layers(alias)
        layer = channel_layers.make_layer(alias)
    except (ChannelsError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from error
    _refuse_too_old(alias, layer)
    if "inmemory" in type(layer).__module__:
        raise CommandError(
            f"The layer {alias!r} lives in one process: no worker in another would get a message from this one. Leave "
            "BACKEND out of CHANNEL_LAYERS for the local layer, or name the Redis layer; with the memory layer, "
            "runserver serves and works in one process."
        )
    return layer
