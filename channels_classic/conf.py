"""The settings of this package: each with its type, its default and its help, in one table.

They are read from the settings of the Django project on each use, so that `override_settings` works. The page
`docs/reference/settings.md` and the system check of their types are made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Any

from django.conf import settings

DEFAULT_CHANNEL_LAYER = "default"
"""The alias of the layer that is used unless another one is named."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting; `type` lists the types of its values.

    `same_as` names the setting of Django whose value it has by default, `instead` one of ours that is read in its
    place where the project sets it.
    """

    name: str
    type: tuple[type, ...]
    default: Any
    help: str
    same_as: str = ""
    instead: str = ""

    @property
    def used_name(self) -> str:
        """The name under which the project gives the value."""
        return self.instead if self.instead and hasattr(settings, self.instead) else self.name

    def get(self) -> Any:
        """Return the value in the settings of the project, or the default."""
        default = getattr(settings, self.same_as) if self.same_as else self.default
        return getattr(settings, self.used_name, default)

    def is_valid(self) -> bool:
        """Return whether the value is of one of the types."""
        return isinstance(self.get(), self.type)


CHANNEL_LAYERS = Setting(
    "CHANNEL_LAYERS",
    (dict,),
    {},
    "Alias → layer. Without it the project is plain Django, and the programs report what to add.",
    instead="CHANNELS_CLASSIC_LAYERS",
)
CHANNELS_CLASSIC_LAYERS = Setting(
    "CHANNELS_CLASSIC_LAYERS",
    (dict, NoneType),
    None,
    "Read instead of `CHANNEL_LAYERS` where it is set, for a project in which Channels 2 or later reads that one: see "
    "[beside Channels 4](../channels-4.md).",
)
CHANNEL_SESSION_ENGINE = Setting(
    "CHANNEL_SESSION_ENGINE",
    (str,),
    None,
    "The engine of the sessions of sockets: any session engine but signed cookies.",
    same_as="SESSION_ENGINE",
)
CHANNELS_IMPLICIT_ACCEPT = Setting(
    "CHANNELS_IMPLICIT_ACCEPT",
    (bool,),
    False,
    "Accept a WebSocket whose `websocket.connect` consumer returns without having sent anything to it, as in "
    "Channels 0.x. A consumer that raises still refuses it.",
)
CHANNELS_TRUSTED_ORIGINS = Setting(
    "CHANNELS_TRUSTED_ORIGINS",
    (list, tuple),
    [],
    "Origins whose pages may open WebSockets here, in addition to those of the host asked for and of `ALLOWED_HOSTS`: "
    "see [origins](../security.md#origins).",
)
CHANNELS_WS_PROTOCOLS = Setting(
    "CHANNELS_WS_PROTOCOLS",
    (list, tuple, NoneType),
    None,
    "Subprotocols that may be agreed with WebSocket clients, for `runserver`, and for `runinterface` without "
    "`--ws-protocol`.",
)

SETTINGS = (
    CHANNEL_LAYERS,
    CHANNELS_CLASSIC_LAYERS,
    CHANNEL_SESSION_ENGINE,
    CHANNELS_IMPLICIT_ACCEPT,
    CHANNELS_TRUSTED_ORIGINS,
    CHANNELS_WS_PROTOCOLS,
)
