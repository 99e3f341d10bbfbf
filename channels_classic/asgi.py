"""The channel layers of a project: from the `CHANNEL_LAYERS` setting to a layer with its routing.

Programs and `Channel` look layers up here; nothing is read or connected before the first look-up.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import django
from django.utils.module_loading import import_string

from channels_classic.conf import CHANNEL_LAYERS, DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import InvalidChannelLayerError, UnknownChannelLayer
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.routing import Router
from channels_classic.utils import name_that_thing

__all__ = [
    "ChannelLayerManager",
    "ChannelLayerWrapper",
    "InvalidChannelLayerError",
    "channel_layers",
    "get_channel_layer",
]

EMBEDDED_BACKEND = "channels_classic.layers.local.LocalChannelLayer"

# Layers named by projects written for Channels 1.x, and those that replace them here.
LEGACY_BACKENDS = {
    "asgi_ipc.IPCChannelLayer": EMBEDDED_BACKEND,
    "asgi_ipc.core.IPCChannelLayer": EMBEDDED_BACKEND,
    "asgi_redis.RedisChannelLayer": "channels_classic.layers.redis.RedisChannelLayer",
    "asgi_redis.RedisLocalChannelLayer": "channels_classic.layers.redis.RedisLocalChannelLayer",
    "asgi_redis.RedisSentinelChannelLayer": "channels_classic.layers.redis.RedisSentinelChannelLayer",
    "asgi_redis.core.RedisChannelLayer": "channels_classic.layers.redis.RedisChannelLayer",
    "asgi_redis.local.RedisLocalChannelLayer": "channels_classic.layers.redis.RedisLocalChannelLayer",
    "asgi_redis.sentinel.RedisSentinelChannelLayer": "channels_classic.layers.redis.RedisSentinelChannelLayer",
    "asgiref.inmemory.ChannelLayer": "channels_classic.layers.inmemory.ChannelLayer",
}

_IN_CONFIG = " Arguments of the layer, such as 'hosts', belong in 'CONFIG'."

CHANNELS_2_BACKENDS = ("channels.layers.", "channels_redis.")

ENTRY_KEYS = ("BACKEND", "CONFIG", "ON_COMMIT", "ROUTING", "TEST_CONFIG")

EXAMPLE = 'Write in your settings: {} = {{"default": {{"ROUTING": "mysite.routing.channel_routing"}}}}'


class ChannelLayerWrapper:
    """A layer under its alias, with its routing. All other attributes are those of the layer.

    With `on_commit` messages wait for the transaction in which they are sent, unless the sender says otherwise.
    """

    def __init__(self, channel_layer: Any, alias: str, routing: Any, on_commit: bool = False) -> None:
        self.channel_layer = channel_layer
        self.alias = alias
        self.routing = routing
        self.on_commit = on_commit
        self.router = Router(routing)

    def __getattr__(self, name: str) -> Any:
        if name == "channel_layer":  # not set yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.channel_layer, name)

    def __str__(self) -> str:
        return f"{self.alias} ({name_that_thing(self.channel_layer)})"

    def local_only(self) -> bool:
        """Return True if other processes cannot reach the layer: the name of its module contains `inmemory`."""
        return "inmemory" in type(self.channel_layer).__module__


class ChannelLayerManager:
    """Layers of this process by alias, each made on first use."""

    def __init__(self) -> None:
        self.backends: dict[str, ChannelLayerWrapper | None] = {}

    @property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The current `CHANNEL_LAYERS` setting; empty when there is none."""
        configs = CHANNEL_LAYERS.get()
        if configs is None:
            return {}
        if not isinstance(configs, dict):
            raise InvalidChannelLayerError(
                f"The {CHANNEL_LAYERS.used_name} setting is of type {type(configs).__name__}: "
                "expected a dict of alias to configuration.",
                EXAMPLE.format(CHANNEL_LAYERS.used_name),
            )
        return configs

    def make_backend(self, name: str) -> ChannelLayerWrapper:
        """Return a new layer made from `CONFIG`.

        Raises `UnknownChannelLayer` for an alias that is not defined, `InvalidChannelLayerError` for a definition
        that cannot be used, and what importing the routing or making the layer raises.
        """
        return self._make(name, "CONFIG")

    def make_test_backend(self, name: str) -> ChannelLayerWrapper:
        """Return a new layer made from `TEST_CONFIG`; raises `InvalidChannelLayerError` also when there is none."""
        if "TEST_CONFIG" not in self._entry(name):
            raise InvalidChannelLayerError(
                f"{shown_entry(name)} has no 'TEST_CONFIG': live server tests need one, with a prefix or "
                "hosts of its own, because they empty the layer.",
                alias=name,
                key="TEST_CONFIG",
            )
        return self._make(name, "TEST_CONFIG")

    def set(self, key: str, layer: ChannelLayerWrapper | None) -> ChannelLayerWrapper | None:
        """Replace the layer called `key` by `layer`; return the previous one."""
        previous = self.backends.get(key)
        self.backends[key] = layer
        return previous

    def __getitem__(self, key: str) -> Any:
        if key not in self.backends:
            # Two threads may both make one, of which one is kept. No lock: making one imports the project's routing.
            self.backends.setdefault(key, self.make_backend(key))
        return self.backends[key]

    def __contains__(self, key: object) -> bool:
        return key in self.configs

    def _entry(self, name: str) -> dict[str, Any]:
        """Return the definition of a layer, its keys checked."""
        configs = self.configs
        if name not in configs:
            raise _unknown_alias(name, list(configs))
        entry: dict[str, Any] = configs[name]
        if isinstance(entry, dict) and is_foreign(entry):
            raise foreign_layer(name, entry)
        for problem in wrong_keys(name, entry):
            raise problem
        return entry

    def make_layer(self, name: str) -> Any:
        """Return a new layer made from `CONFIG`, without routing: for a program that needs nothing of the project."""
        return self._layer(name, "CONFIG")

    def _layer(self, name: str, config_key: str) -> Any:
        entry = self._entry(name)
        layer_class = import_layer_class(name, entry)
        return layer_of_config(name, config_key, entry.get(config_key, {}), layer_class)

    def _make(self, name: str, config_key: str) -> ChannelLayerWrapper:
        entry = self._entry(name)
        for problem in missing_keys(name, entry):
            raise problem
        return ChannelLayerWrapper(self._layer(name, config_key), name, entry["ROUTING"], entry.get("ON_COMMIT", False))


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> Any:
    """Set up Django and return the layer itself, without its routing: for the `asgi.py` of a project."""
    django.setup(set_prefix=False)
    return channel_layers[alias].channel_layer


channel_layers = ChannelLayerManager()


def shown_entry(alias: str) -> str:
    """Return how the project's settings spell the entry of a layer."""
    return f"{CHANNEL_LAYERS.used_name}[{alias!r}]"


def wrong_keys(alias: str, entry: Any) -> Iterator[InvalidChannelLayerError]:
    """Yield errors for an entry of `CHANNEL_LAYERS` of the wrong shape."""
    if not isinstance(entry, dict):
        yield InvalidChannelLayerError(
            f"{shown_entry(alias)} is of type {type(entry).__name__}: expected a dict.",
            EXAMPLE.format(CHANNEL_LAYERS.used_name),
            alias=alias,
        )
        return
    for key in entry:
        if key not in ENTRY_KEYS:
            yield InvalidChannelLayerError(
                f"{shown_entry(alias)} has an unknown key {key!r}.",
                _nearest(str(key).upper(), ENTRY_KEYS) + ("" if str(key).isupper() else _IN_CONFIG),
                alias=alias,
                key=str(key),
            )
    if not isinstance(entry.get("ON_COMMIT", False), bool):
        yield InvalidChannelLayerError(
            f"The ON_COMMIT of {shown_entry(alias)} is {entry['ON_COMMIT']!r}.",
            "Expected True, to send messages when the transaction is committed, or False.",
            alias=alias,
            key="ON_COMMIT",
        )


def missing_keys(alias: str, entry: dict[str, Any]) -> Iterator[InvalidChannelLayerError]:
    """Yield errors for required keys that an entry of `CHANNEL_LAYERS` lacks."""
    if "ROUTING" not in entry:
        yield InvalidChannelLayerError(
            f"{shown_entry(alias)} has no 'ROUTING'.",
            "Name the routing of the project, such as 'mysite.routing.channel_routing', or give an empty list.",
            alias=alias,
            key="ROUTING",
        )


def is_foreign(entry: dict[str, Any]) -> bool:
    """Return whether an entry of `CHANNEL_LAYERS` describes a layer of Channels 2 or later.

    Those of other packages are known by their class, which is imported where the entry has no routing.
    """
    backend = str(entry.get("BACKEND"))
    if backend.startswith(CHANNELS_2_BACKENDS) or "ROUTING" in entry:
        return backend.startswith(CHANNELS_2_BACKENDS)
    try:
        found = import_string(backend)
    except Exception:  # it is reported where the layer is made
        return False
    return inspect.iscoroutinefunction(getattr(found, "group_send", None))


def foreign_layer(alias: str, entry: dict[str, Any]) -> InvalidChannelLayerError:
    """Return the error for a layer of Channels 2 or later where one of ours is needed."""
    ours = "inmemory.ChannelLayer" if "InMemory" in entry["BACKEND"] else "redis.RedisChannelLayer"
    both = (
        "where both are used side by side, leave that entry as it is and name the layers of channels_classic in the "
        "setting CHANNELS_CLASSIC_LAYERS."
    )
    if CHANNEL_LAYERS.used_name != CHANNEL_LAYERS.name:
        both = f"layers of Channels 2 and later stand in the setting {CHANNEL_LAYERS.name}."
    return InvalidChannelLayerError(
        f"The BACKEND {entry['BACKEND']!r} of {shown_entry(alias)} is for Channels 2 and later.",
        f"Write 'channels_classic.layers.{ours}', and add the ROUTING; {both}",
        alias=alias,
        key="BACKEND",
    )


def too_old_layer(alias: str, layer_class: Any) -> InvalidChannelLayerError | None:
    """Return the error for a layer with the methods of Channels 1.x alone where a program needs one, or None."""
    connect = getattr(layer_class, "connect", None)
    if connect is None:
        is_ours = not isinstance(layer_class, type) or hasattr(layer_class, "__getattr__")  # one stands behind it
    else:
        is_ours = connect is not BaseChannelLayer.connect
    if is_ours:
        return None
    return InvalidChannelLayerError(
        f"The BACKEND of {shown_entry(alias)}, {name_that_thing(layer_class)}, has the methods of Channels 1.x alone: "
        "it serves Channel and Group, and no program.",
        "For the programs name a layer of channels_classic, or a subclass of one.",
        alias=alias,
        key="BACKEND",
    )


def import_layer_class(alias: str, entry: dict[str, Any]) -> Any:
    """Return the class named by an entry of `CHANNEL_LAYERS`. Raises `InvalidChannelLayerError`."""
    backend = entry.get("BACKEND", EMBEDDED_BACKEND)
    if not isinstance(backend, str):
        raise _wrong_backend(alias, f"is of type {type(backend).__name__}: expected the dotted path of a class.")
    try:
        found = import_string(LEGACY_BACKENDS.get(backend, backend))
    except (ImportError, TypeError, AttributeError) as error:
        raise _wrong_backend(alias, f"cannot be imported: {error}.", backend) from error
    if not callable(found) or (isinstance(found, type) and not hasattr(found, "send")):
        raise _wrong_backend(alias, f"is not a channel layer: {name_that_thing(found)} has no method `send`.", backend)
    if found is BaseChannelLayer:
        raise _wrong_backend(alias, "is the base class of layers, and none itself.", backend)
    return found


def _wrong_backend(alias: str, problem: str, backend: str | None = None) -> InvalidChannelLayerError:
    return InvalidChannelLayerError(
        f"The BACKEND {'' if backend is None else f'{backend!r} '}of {shown_entry(alias)} {problem}",
        "Leave BACKEND out for the embedded layer, or name one, such as "
        "'channels_classic.layers.redis.RedisChannelLayer'.",
        alias=alias,
        key="BACKEND",
    )


def check_config(alias: str, config_key: str, config: Any, layer_class: Any) -> None:
    """Raise `InvalidChannelLayerError` for arguments a layer does not take, naming the setting."""
    parameters: Mapping[str, Any] = {}
    if not isinstance(config, Mapping):
        raise InvalidChannelLayerError(
            f"The {config_key} of {shown_entry(alias)} does not fit {name_that_thing(layer_class)}: it is of type "
            f"{type(config).__name__}.",
            "Give a dict of its arguments.",
            alias=alias,
            key=config_key,
        )
    try:
        signature = inspect.signature(layer_class)
        parameters = signature.parameters
        signature.bind(**config)
    except (TypeError, ValueError) as error:
        unknown = [key for key in config if key not in parameters]
        raise InvalidChannelLayerError(
            f"The {config_key} of {shown_entry(alias)} does not fit {name_that_thing(layer_class)}: {error}.",
            _hint_on(str(unknown[0]), list(parameters)) if unknown else "Give a dict of its arguments.",
            alias=alias,
            key=config_key,
        ) from error


def _hint_on(argument: str, known: list[str]) -> str:
    if argument == "hosts":
        return (
            "Name 'channels_classic.layers.redis.RedisChannelLayer' as BACKEND: without one it is the embedded layer."
        )
    return _nearest(argument, known)


def layer_of_config(alias: str, config_key: str, config: Any, layer_class: Any) -> Any:
    """Return the layer described by a `CONFIG`. Raises `InvalidChannelLayerError`, also for a rejected value."""
    check_config(alias, config_key, config, layer_class)
    try:
        return layer_class(**config)
    except (TypeError, ValueError) as error:
        raise InvalidChannelLayerError(
            f"The {config_key} of {shown_entry(alias)} does not fit {name_that_thing(layer_class)}: "
            f"{str(error).rstrip('.')}.",
            "Correct that value.",
            alias=alias,
            key=config_key,
        ) from error


def _unknown_alias(alias: str, known: list[str]) -> UnknownChannelLayer:
    if known:
        return UnknownChannelLayer(
            f"{CHANNEL_LAYERS.used_name} defines no layer {alias!r}.", _nearest(alias, known), alias=alias
        )
    return UnknownChannelLayer(
        f"There is no channel layer {alias!r}, because the setting {CHANNEL_LAYERS.used_name} is missing or empty.",
        EXAMPLE.format(CHANNEL_LAYERS.used_name),
        alias=alias,
    )


def _nearest(given: str, valid: Any) -> str:
    near = get_close_matches(given, [name for name in valid if isinstance(name, str)], 1)
    return f"Did you mean {near[0]!r}?" if near else f"Expected one of: {', '.join(map(repr, valid))}."
