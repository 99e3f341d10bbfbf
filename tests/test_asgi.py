"""The channel layers of a project, by their aliases."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured

import channels_classic
from channels_classic import Channel, asgi
from channels_classic.asgi import ChannelLayerManager, ChannelLayerWrapper, InvalidChannelLayerError, get_channel_layer
from channels_classic.exceptions import UnknownChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.routing import Router, null_consumer, route

if TYPE_CHECKING:
    from pytest_django import Settings

MEMORY = "channels_classic.layers.inmemory.ChannelLayer"

channel_routing = [route("here", null_consumer)]


class ReachableLayer(ChannelLayer):
    """A memory layer by another module's name."""


@pytest.fixture
def manager() -> ChannelLayerManager:
    return ChannelLayerManager()


def configure(settings: Settings, **entry: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY, "ROUTING": [], **entry}}


# The package root


def test_the_root_gives_the_names_of_channels_1() -> None:
    for name in channels_classic.__all__:
        assert getattr(channels_classic, name) is not None
    assert channels_classic.DEFAULT_CHANNEL_LAYER == "default"
    with pytest.raises(AttributeError, match="nothing_like_that"):
        channels_classic.nothing_like_that  # noqa: B018


def test_the_root_can_be_imported_without_settings_and_without_djangos_handlers() -> None:
    code = (
        "import sys; from channels_classic import Channel, Group, channel_layers, include, route, route_class;"
        "from django.conf import settings;"
        "sys.exit(settings.configured or 'django.core.handlers.base' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, env={}).returncode == 0


# Making layers


def test_a_layer_is_made_of_its_entry_and_its_routing_resolved(
    settings: Settings, manager: ChannelLayerManager
) -> None:
    configure(settings, CONFIG={"expiry": 7}, ROUTING="tests.test_asgi.channel_routing")
    wrapper = manager["default"]
    assert isinstance(wrapper.channel_layer, ChannelLayer)
    assert wrapper.expiry == 7
    assert wrapper.alias == "default"
    assert wrapper.routing == "tests.test_asgi.channel_routing"
    assert wrapper.router.channels == {"here"}


def test_a_layer_is_made_once_and_make_backend_makes_another(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings)
    wrapper = manager["default"]
    assert manager["default"] is wrapper
    assert manager.make_backend("default") is not wrapper
    assert manager.backends == {"default": wrapper}


def test_settings_are_read_each_time_but_made_layers_stay(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings)
    wrapper = manager["default"]
    settings.CHANNEL_LAYERS = {"other": {"BACKEND": MEMORY, "ROUTING": []}}
    assert manager["default"] is wrapper
    assert "other" in manager
    assert "default" not in manager


def test_threads_that_ask_at_once_get_the_same_layer(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(manager["default"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(wrapper) for wrapper in found}) == 1


def test_setting_a_layer_gives_the_previous_one(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings)
    first = ChannelLayerWrapper(ChannelLayer(), "default", [])
    assert manager.set("default", first) is None
    assert manager.set("default", None) is first
    assert manager["default"] is None


def test_a_test_layer_is_made_of_test_config_and_not_kept(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings, CONFIG={"capacity": 5}, TEST_CONFIG={"expiry": 100})
    wrapper = manager.make_test_backend("default")
    assert wrapper.channel_layer.expiry == 100
    assert wrapper.channel_layer.capacity != 5
    assert manager.backends == {}


def test_no_channel_layers_at_all_is_plain_django(settings: Settings, manager: ChannelLayerManager) -> None:
    del settings.CHANNEL_LAYERS
    assert manager.configs == {}
    assert "default" not in manager


def test_get_channel_layer_gives_the_layer_itself(default_layer: ChannelLayerWrapper) -> None:
    assert get_channel_layer() is default_layer.channel_layer


# Backends


def test_a_backend_left_out_is_the_embedded_one_and_is_not_connected_yet(
    settings: Settings, manager: ChannelLayerManager
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": []}}
    assert str(manager["default"]) == "default (channels_classic.layers.local.layer.LocalChannelLayer)"


@pytest.mark.parametrize(
    ("legacy", "ours"),
    [
        ("asgi_redis.RedisChannelLayer", "channels_classic.layers.redis.RedisChannelLayer"),
        ("asgi_redis.RedisLocalChannelLayer", "channels_classic.layers.redis.RedisLocalChannelLayer"),
        ("asgi_redis.RedisSentinelChannelLayer", "channels_classic.layers.redis.RedisSentinelChannelLayer"),
        ("asgiref.inmemory.ChannelLayer", MEMORY),
        ("asgi_ipc.IPCChannelLayer", "channels_classic.layers.local.LocalChannelLayer"),
    ],
)
def test_backends_that_channels_1_projects_name_are_known(legacy: str, ours: str) -> None:
    assert asgi.LEGACY_BACKENDS[legacy] == ours


def test_a_project_that_names_the_memory_layer_of_channels_1_gets_ours(
    settings: Settings, manager: ChannelLayerManager
) -> None:
    configure(settings, BACKEND="asgiref.inmemory.ChannelLayer")
    assert type(manager["default"].channel_layer) is ChannelLayer


# Mistakes in the setting


def test_an_unknown_alias_names_the_nearest_one(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings)
    with pytest.raises(UnknownChannelLayer, match="Did you mean 'default'") as caught:
        manager["defualt"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, InvalidChannelLayerError)


def test_a_channel_without_any_layer_says_which_setting_to_add(settings: Settings) -> None:
    del settings.CHANNEL_LAYERS
    with (
        mock.patch.dict(asgi.channel_layers.backends, clear=True),
        pytest.raises(KeyError, match=r'CHANNEL_LAYERS = \{"default": \{"ROUTING"'),
    ):
        Channel("a")


@pytest.mark.parametrize(
    ("entry", "key", "sentence"),
    [
        ({"BACKENDS": MEMORY}, "BACKENDS", "unknown key 'BACKENDS'. Did you mean 'BACKEND'"),
        ({"routing": []}, "routing", "unknown key 'routing'. Did you mean 'ROUTING'"),
        ({"ROUTE": []}, "ROUTE", "unknown key 'ROUTE'. Did you mean 'ROUTING'"),
        ({"XYZ": []}, "XYZ", "unknown key 'XYZ'. Expected one of: 'BACKEND', 'CONFIG'"),
        ({"BACKEND": "nowhere.Layer"}, "BACKEND", "No module named 'nowhere'"),
        ({"BACKEND": "channels_classic.layers.inmemory.Layer"}, "BACKEND", "cannot be imported"),
        ({"BACKEND": "nodots"}, "BACKEND", "cannot be imported"),
        ({"BACKEND": None}, "BACKEND", "is of type NoneType: expected the dotted path of a class"),
        ({"CONFIG": {"expires": 5}}, "CONFIG", "'expires'.* Did you mean 'expiry'"),
        ({"CONFIG": ["expiry"]}, "CONFIG", "does not fit"),
    ],
)
def test_a_mistake_in_an_entry_is_a_sentence_with_the_key(
    settings: Settings, manager: ChannelLayerManager, entry: dict[str, Any], key: str, sentence: str
) -> None:
    configure(settings, **entry)
    with pytest.raises(InvalidChannelLayerError, match=sentence) as caught:
        manager["default"]
    assert (caught.value.alias, caught.value.key) == ("default", key)


def test_a_backend_that_fails_to_import_keeps_the_cause(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings, BACKEND="nowhere.Layer")
    with pytest.raises(InvalidChannelLayerError) as caught:
        manager["default"]
    assert isinstance(caught.value.__cause__, ImportError)


def test_an_entry_without_routing_is_refused(settings: Settings, manager: ChannelLayerManager) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY}}
    with pytest.raises(InvalidChannelLayerError, match="has no 'ROUTING'"):
        manager["default"]


@pytest.mark.parametrize("value", [["default"], "default"])
def test_a_setting_that_is_no_dict_is_refused(settings: Settings, manager: ChannelLayerManager, value: object) -> None:
    settings.CHANNEL_LAYERS = value
    with pytest.raises(InvalidChannelLayerError, match="expected a dict"):
        manager["default"]


def test_an_entry_that_is_no_dict_is_refused(settings: Settings, manager: ChannelLayerManager) -> None:
    settings.CHANNEL_LAYERS = {"default": MEMORY}
    with pytest.raises(InvalidChannelLayerError, match="expected a dict"):
        manager["default"]


def test_a_test_layer_needs_an_alias_and_a_test_config(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings)
    with pytest.raises(InvalidChannelLayerError, match="TEST_CONFIG"):
        manager.make_test_backend("default")
    with pytest.raises(InvalidChannelLayerError):
        manager.make_test_backend("other")


def test_a_routing_that_cannot_be_imported_passes_through(settings: Settings, manager: ChannelLayerManager) -> None:
    configure(settings, ROUTING="tests.nowhere.channel_routing")
    with pytest.raises(ImproperlyConfigured, match=r"tests\.nowhere"):
        manager["default"]


# The wrapper


def test_a_wrapper_gives_the_attributes_of_its_layer_unless_set_on_it() -> None:
    layer = ChannelLayer()
    wrapper: Any = ChannelLayerWrapper(layer, "default", [])
    assert wrapper.ChannelFull is layer.ChannelFull
    assert wrapper.extensions == layer.extensions
    wrapper.send = mock.Mock()
    Channel("a", channel_layer=wrapper).send({})
    wrapper.send.assert_called_once_with("a", {})
    assert layer.receive(["a"]) == (None, None)
    with pytest.raises(AttributeError):
        wrapper.nothing_like_that  # noqa: B018


def test_a_wrapper_prints_as_alias_and_class() -> None:
    assert str(ChannelLayerWrapper(ChannelLayer(), "fast", [])) == f"fast ({MEMORY})"


def test_a_layer_is_local_when_its_module_says_inmemory() -> None:
    assert ChannelLayerWrapper(ChannelLayer(), "default", []).local_only()
    assert not ChannelLayerWrapper(ReachableLayer(), "default", []).local_only()


def test_the_router_of_a_wrapper_is_made_at_once() -> None:
    wrapper = ChannelLayerWrapper(ChannelLayer(), "default", channel_routing)
    assert isinstance(wrapper.router, Router)
    assert wrapper.routing is channel_routing
