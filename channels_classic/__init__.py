"""The worker model of Django Channels 1.x on today's Django.

The public names of the package root, as in Channels 1.1.8. They are looked up on first use: the layers and the
interface server import this package too, and need neither Django nor a project.

Module paths of Channels 1.1.8   apps asgi auth binding channel delay exceptions generic handler hacks log management
                                 message package_checks routing security sessions signals staticfiles test tests utils
                                 worker
Of this package                  checks  system checks           compat  the import names of Channels 1.x
                                 conf    settings                layers  channel layers
                                 migrate the command that moves projects from 1.x; no program imports it
                                 interface_server, worker        the programs: links to the folders at the root
                                 modules with an underscore      internal
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from channels_classic._version import __version__

if TYPE_CHECKING:
    from channels_classic.asgi import channel_layers as channel_layers
    from channels_classic.channel import Channel as Channel
    from channels_classic.channel import Group as Group
    from channels_classic.conf import DEFAULT_CHANNEL_LAYER as DEFAULT_CHANNEL_LAYER
    from channels_classic.routing import include as include
    from channels_classic.routing import route as route
    from channels_classic.routing import route_class as route_class


default_app_config = "channels_classic.apps.ChannelsConfig"  # Django finds it by itself; the name is that of 1.x

_HOMES = {
    "DEFAULT_CHANNEL_LAYER": "channels_classic.conf",
    "Channel": "channels_classic.channel",
    "Group": "channels_classic.channel",
    "channel_layers": "channels_classic.asgi",
    "include": "channels_classic.routing",
    "route": "channels_classic.routing",
    "route_class": "channels_classic.routing",
}

_MODULES = ("asgi", "channel", "exceptions", "message", "routing")
"""Modules that `import channels` made available as attributes in 1.x."""

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "Channel",
    "Group",
    "__version__",
    "channel_layers",
    "default_app_config",
    "include",
    "route",
    "route_class",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
