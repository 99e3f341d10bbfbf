"""System checks of the settings this package reads: each mistake has an id, a sentence, and a hint that repairs it.

Nothing is connected: routing is imported, as Django's own checks import the URLconf, and layers are only made where
making one connects to nothing. `docs/checks.md` lists the ids.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import takewhile
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.sessions.backends import signed_cookies
from django.core import mail
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.management import find_commands

from channels_classic._channels_4_checks import check_foreign_layer, check_shared_setting, check_timeouts
from channels_classic._routing_checks import check_routing, place_of
from channels_classic.asgi import (
    ChannelLayerManager,
    check_config,
    import_layer_class,
    is_foreign,
    layer_of_config,
    missing_keys,
    shown_entry,
    too_old_layer,
    wrong_keys,
)
from channels_classic.conf import (
    CHANNEL_LAYERS,
    CHANNEL_SESSION_ENGINE,
    CHANNELS_CLASSIC_LAYERS,
    CHANNELS_TRUSTED_ORIGINS,
    CHANNELS_WS_PROTOCOLS,
    DEFAULT_CHANNEL_LAYER,
    SETTINGS,
)
from channels_classic.exceptions import InvalidChannelLayerError
from channels_classic.routing import Include, Route, Router
from channels_classic.security._origins import is_trusted_origin_valid
from channels_classic.security.websockets import is_open_to_foreign_pages, trusted_origins
from channels_classic.sessions import uses_http_session
from channels_classic.utils import name_that_thing

STATICFILES = "django.contrib.staticfiles"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""

_ALMOST = 0.9
"""The least similarity of a misspelt name, by `difflib`: one or two letters."""

Messages = Iterator[CheckMessage]


@register("channels_classic")
def check_channel_layers(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Return the mistakes in `CHANNEL_LAYERS`."""
    try:
        configs = ChannelLayerManager().configs
    except InvalidChannelLayerError as error:
        return [_error(error, "channels_classic.E001")]
    found = [message for alias, entry in configs.items() for message in _check_entry(alias, entry)]
    found += [*check_shared_setting(configs), *check_timeouts()]
    if configs and DEFAULT_CHANNEL_LAYER not in configs:
        found.append(
            Warning(
                f"{CHANNEL_LAYERS.used_name} defines {', '.join(map(repr, configs))}, "
                f"but no {DEFAULT_CHANNEL_LAYER!r}.",
                hint=f"Name one of them {DEFAULT_CHANNEL_LAYER!r}: Channel, Group, runinterface, runworker and "
                "runserver use that one unless told otherwise.",
                id="channels_classic.W002",
            )
        )
    return found


@register("channels_classic")
def check_types(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the types of the settings in `conf` that have no check of their own."""
    return [
        Error(
            f"The setting {setting.name} is {setting.get()!r}, of type {type(setting.get()).__name__}.",
            hint=f"Expected {' or '.join(expected.__name__ for expected in setting.type)}: {setting.help}",
            id="channels_classic.E010",
        )
        for setting in SETTINGS
        if setting not in (CHANNEL_LAYERS, CHANNELS_CLASSIC_LAYERS, CHANNELS_TRUSTED_ORIGINS) and not setting.is_valid()
    ]


@register("channels_classic")
def check_values(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong with the subprotocols and the engine of channel sessions, where they have the right type."""
    found: list[CheckMessage] = [
        Error(
            f"The setting CHANNELS_WS_PROTOCOLS has the entry {name!r}.",
            hint="Write names of ASCII letters, digits and marks such as '.', '-' and '_' (RFC 6455, section 4.1).",
            id="channels_classic.E010",
        )
        for name in (CHANNELS_WS_PROTOCOLS.is_valid() and CHANNELS_WS_PROTOCOLS.get()) or ()
        if not isinstance(name, str) or not _TOKEN.fullmatch(name)
    ]
    # Its default may well be an engine that cannot be used: many projects have no channel sessions.
    if hasattr(settings, CHANNEL_SESSION_ENGINE.name) and CHANNEL_SESSION_ENGINE.is_valid():
        found += [
            Error(
                f"The setting CHANNEL_SESSION_ENGINE is {CHANNEL_SESSION_ENGINE.get()!r}, which {problem}.",
                hint="Name the module of a session engine, such as 'django.contrib.sessions.backends.db'.",
                id="channels_classic.E011",
            )
            for problem in _problems_of_engine(CHANNEL_SESSION_ENGINE.get())
        ]
    return found


def _problems_of_engine(name: str) -> Iterator[str]:
    try:
        engine = importlib.import_module(name)
    except Exception as error:  # importing the user's modules runs their code
        yield f"cannot be imported: {error}"
        return
    if engine is signed_cookies:
        yield "keeps sessions in cookies, and a socket cannot set one"
    elif not hasattr(engine, "SessionStore"):
        yield "has no SessionStore"


@register("channels_classic")
def check_names(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of settings whose names resemble a setting of this package that is not set."""
    ours = [setting.name for setting in SETTINGS]
    others = [name for name in dir(settings) if name.startswith("C") and name.isupper() and name not in ours]
    near = {name: found[0] for name in others if (found := get_close_matches(name, ours, 1, _ALMOST))}
    return [
        Warning(
            f"The setting {name} is not read. Did you mean {meant}, which is not set?",
            hint=f"Rename it to {meant}.",
            id="channels_classic.W013",
        )
        for name, meant in near.items()
        if not hasattr(settings, meant)
    ]


@register("channels_classic")
def check_middleware(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of a project that still sets `MIDDLEWARE_CLASSES`."""
    if not hasattr(settings, "MIDDLEWARE_CLASSES"):
        return []
    return [
        Warning(
            "The setting MIDDLEWARE_CLASSES has not been read since Django 2.0: none of these classes sees a request.",
            hint="List them in MIDDLEWARE, and port your own to "
            "https://docs.djangoproject.com/en/stable/topics/http/middleware/.",
            id="channels_classic.W003",
        )
    ]


@register("channels_classic")
def check_runserver(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Warn when our commands are those of another app: Django takes the first in INSTALLED_APPS."""
    if not CHANNEL_LAYERS.is_valid() or not CHANNEL_LAYERS.get():
        return []
    return [message for command in ("runserver", "runworker") for message in _check_command(command)]


def _check_command(command: str) -> Messages:
    before = takewhile(lambda app: app.name != "channels_classic", apps.get_app_configs())
    first = next((app.name for app in before if _has_command(app, command)), None)
    if first is not None:
        yield Warning(
            f"`manage.py {command}` is that of {first!r}, which runs no consumers of channels_classic.",
            hint=f"Put 'channels_classic' before {first!r} in INSTALLED_APPS."
            + (" Its runserver serves static files as well." if first == STATICFILES else ""),
            id="channels_classic.W005" if first == STATICFILES else "channels_classic.W004",
        )


@register("channels_classic")
def check_origins(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong with `CHANNELS_TRUSTED_ORIGINS`, and which consumers give sessions to foreign pages."""
    origins = trusted_origins()
    if not isinstance(origins, (list, tuple, set, frozenset)):
        return [_wrong_origins(f"is of type {type(origins).__name__}: expected a list of origins.")]
    wrong = [_wrong_origins(f"has the entry {origin!r}.") for origin in origins if not is_trusted_origin_valid(origin)]
    return [*wrong] or list(_check_sessions_of_foreign_pages())


def _wrong_origins(problem: str) -> Error:
    return Error(
        f"The setting CHANNELS_TRUSTED_ORIGINS {problem}",
        hint="Write origins as browsers send them, with a scheme, without a path and in ASCII, such as "
        "'https://app.example.com', 'https://*.example.com' for a domain and all below it, or '*' for all.",
        id="channels_classic.E009",
    )


def _check_sessions_of_foreign_pages() -> Messages:
    names = {
        name_that_thing(consumer)
        for routing in _routings()
        for consumer in _connect_consumers(routing)
        if uses_http_session(consumer) and is_open_to_foreign_pages(consumer)
    }
    if names:
        setting = "CHANNELS_TRUSTED_ORIGINS" if "*" in trusted_origins() else "ALLOWED_HOSTS"
        yield Warning(
            f"Because of the '*' in {setting} a page of any site can open a WebSocket with the session of its visitor "
            f"to {', '.join(sorted(names))}.",
            hint="List hosts in ALLOWED_HOSTS and further origins in CHANNELS_TRUSTED_ORIGINS instead of '*', or wrap "
            "the consumer in a subclass of channels_classic.security.websockets.BaseOriginValidator.",
            id="channels_classic.W006",
        )


def _routings() -> Iterator[Any]:
    """Yield the routing of each layer, without those that cannot be used, which another check reports."""
    configs = CHANNEL_LAYERS.get()
    for entry in configs.values() if isinstance(configs, dict) else ():
        with suppress(Exception):
            yield Router(entry["ROUTING"]).root


def _connect_consumers(entry: Any) -> Iterator[Any]:
    if isinstance(entry, Include):
        for inner in entry.routing:
            yield from _connect_consumers(inner)
    elif isinstance(entry, Route) and "websocket.connect" in entry.channels:
        yield entry.consumer


def _has_command(app: AppConfig, command: str) -> bool:
    return command in find_commands(os.path.join(app.path, "management"))


def _check_entry(alias: str, entry: Any) -> Messages:
    if not isinstance(entry, dict):
        yield from (_error(problem, "channels_classic.E002") for problem in wrong_keys(alias, entry))
    elif is_foreign(entry):
        yield from check_foreign_layer(alias, entry)
    elif unknown := list(wrong_keys(alias, entry)):
        # What a misspelt key was meant to say is not known, so the others cannot be judged.
        yield from (_error(problem, "channels_classic.E003") for problem in unknown)
    else:
        yield from (_error(problem, "channels_classic.E004") for problem in missing_keys(alias, entry))
        yield from check_routing(alias, entry.get("ROUTING", []))
        yield from _check_layer(alias, entry)


def _check_layer(alias: str, entry: dict[str, Any]) -> Messages:
    try:
        layer_class = import_layer_class(alias, entry)
    except InvalidChannelLayerError as error:
        yield _error(error, "channels_classic.E006")
        return
    except Exception as error:  # importing the user's modules runs their code
        problem = f"The BACKEND of {shown_entry(alias)} cannot be imported: {type(error).__name__}: {error}"
        yield Error(problem, hint=place_of(error), id="channels_classic.E006")
        return
    if (too_old := too_old_layer(alias, layer_class)) is not None:
        yield Warning(too_old.problem, hint=too_old.hint, id="channels_classic.W014")
    for key in ("CONFIG", "TEST_CONFIG") if "TEST_CONFIG" in entry else ("CONFIG",):
        yield from _check_config(alias, key, entry.get(key, {}), layer_class)
    # The test runners turn DEBUG off, and a project may well test with the memory layer.
    if "inmemory" in _module(layer_class) and not settings.DEBUG and not hasattr(mail, "outbox"):
        yield Warning(
            f"{shown_entry(alias)} is the memory layer, which ends at the process, while DEBUG is off.",
            hint="Leave BACKEND out for the embedded layer, which serves the processes of one machine, or use "
            "'channels_classic.layers.redis.RedisChannelLayer'.",
            id="channels_classic.W001",
        )


def _check_config(alias: str, key: str, config: Any, layer_class: Any) -> Messages:
    try:
        # Ours connect to nothing before they are used.
        ours = _module(layer_class).startswith("channels_classic.layers.")
        (layer_of_config if ours else check_config)(alias, key, config, layer_class)
    except InvalidChannelLayerError as error:
        yield _error(error, "channels_classic.E007")


def _module(thing: Any) -> str:
    return str(getattr(thing, "__module__", ""))


def _error(error: InvalidChannelLayerError, id: str) -> Error:
    return Error(error.problem, hint=error.hint, id=id)
