"""The release of Channels that a name belongs to, and its name here."""

from __future__ import annotations

import ast

import pytest

from channels_classic.asgi import LEGACY_BACKENDS
from channels_classic.migrate.generation import evidence, first
from channels_classic.migrate.names import Generation, generation_of, names_in, new_module, new_path
from tests.support.channels_1 import NAMES

CLASSIC, MODERN, EITHER = Generation.CLASSIC, Generation.MODERN, Generation.EITHER


@pytest.mark.parametrize("module", NAMES)
def test_every_module_of_channels_1_has_a_counterpart_with_its_names(module: str) -> None:
    new = new_module(module)
    assert new is not None
    here = names_in(new)
    assert here is not None
    wanted = {text.split("(")[0].split(" = ")[0] for text in NAMES[module]}
    assert {name for name in wanted if "." not in name} - here == set()


@pytest.mark.parametrize("module", NAMES)
def test_no_name_of_channels_1_is_taken_for_one_of_channels_2(module: str) -> None:
    names = {text.split("(")[0].split(" = ")[0].split(".")[0] for text in NAMES[module]}
    assert {name for name in names if generation_of(module, name) is MODERN} == set()


@pytest.mark.parametrize(
    ("module", "name", "generation"),
    [
        ("channels.routing", "route", CLASSIC),
        ("channels.routing", "URLRouter", MODERN),
        ("channels.generic.websockets", "JsonWebsocketConsumer", CLASSIC),
        ("channels.generic.websocket", "JsonWebsocketConsumer", MODERN),
        ("channels.security.websocket", "OriginValidator", MODERN),
        ("channels.layers", "get_channel_layer", MODERN),
        ("channels", "layers", MODERN),
        ("channels", "Group", CLASSIC),
        ("channels.exceptions", "DenyConnection", EITHER),
        ("channels.exceptions", "ConsumeLater", CLASSIC),
        ("channels", "", EITHER),
        ("channels.auth", "login", MODERN),
        ("channels.auth", "channel_session_user", CLASSIC),
        ("channels.auth", "UserLazyObject", MODERN),
        ("channels.utils", "await_many_dispatch", MODERN),
        ("channels.sessions", "InstanceSessionWrapper", MODERN),
        ("channels.sessions", "something_new", EITHER),
        ("channels.routing", "*", EITHER),
        ("channels.generic.websockets", "*", CLASSIC),
        ("channels_redis.core", "", MODERN),
        ("asgi_redis", "", CLASSIC),
        ("asgiref.inmemory", "ChannelLayer", CLASSIC),
        ("asgiref", "inmemory", CLASSIC),
        ("asgiref.sync", "async_to_sync", None),
        ("django.db", "models", None),
    ],
)
def test_a_name_belongs_to_a_release(module: str, name: str, generation: Generation | None) -> None:
    assert generation_of(module, name) is generation


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("channels.handler.ViewConsumer", "channels_classic.handler.ViewConsumer"),
        ("channels.tests.WSClient", "channels_classic.test.WSClient"),
        ("channels.routing", "channels_classic.routing"),
        ("channels.routing.nothing", None),
        ("channels.layers.InMemoryChannelLayer", None),
        ("channels", None),
        ("channels.", None),
        ("channels. routing", None),
        ("asgi_ipc.core.IPCChannelLayer", "channels_classic.layers.local.LocalChannelLayer"),
        ("asgi_redis.local.RedisLocalChannelLayer", "channels_classic.layers.redis.RedisLocalChannelLayer"),
        ("asgi_redis.sentinel.RedisSentinelChannelLayer", "channels_classic.layers.redis.RedisSentinelChannelLayer"),
        *LEGACY_BACKENDS.items(),
    ],
)
def test_a_dotted_path_has_a_counterpart_if_it_leads_somewhere(path: str, new: str | None) -> None:
    assert new_path(path) == new


@pytest.mark.parametrize(
    ("code", "generation"),
    [
        ("from channels.db import database_sync_to_async", MODERN),
        ("ASGI_APPLICATION = 'mysite.asgi.application'", MODERN),
        ("L = {'BACKEND': 'channels_redis.core.RedisChannelLayer'}", MODERN),
        ("L = {'BACKEND': 'asgi_redis.RedisChannelLayer'}", CLASSIC),
        ("L = {'ROUTING': 'mysite.routing.channel_routing'}", CLASSIC),
        ("INSTALLED_APPS = ['channels']", EITHER),
    ],
)
def test_code_shows_the_release_it_was_written_for(code: str, generation: Generation) -> None:
    found = evidence(ast.parse("\n" + code))
    assert [each.generation for each in found] == [generation]
    shown = first(found, generation)
    assert shown is not None and shown.line == 2


@pytest.mark.parametrize(
    ("code", "generation"),
    [
        ("from channels.routing import *\na = ProtocolTypeRouter({})", MODERN),
        ("from channels.routing import *\nr = [route('a', 'b')]", CLASSIC),
        ("import channels.routing\na = channels.routing.URLRouter([])", MODERN),
        ("import channels\nchannels.Group('a')", CLASSIC),
        ("import channels\nchannels.append('a')", None),
        ("channels = {}\nchannels.layers", None),
        ("L = 'asgi_rabbitmq.RabbitmqChannelLayer'", CLASSIC),
        ("import_module('channels')", None),
    ],
)
def test_the_use_of_a_name_shows_the_release(code: str, generation: Generation | None) -> None:
    found = {each.generation for each in evidence(ast.parse(code))} - {EITHER}
    assert found == ({generation} if generation else set())


@pytest.mark.parametrize("code", ["import_module('channels')", "sys.modules['channels']", "patch('channels.worker')"])
def test_a_path_in_a_string_may_be_of_any_release(code: str) -> None:
    assert [each.generation for each in evidence(ast.parse(code))] == [EITHER]


def test_layers_beside_channels_4_are_not_those_of_1_x() -> None:
    code = "CHANNELS_CLASSIC_LAYERS = {'default': {'ROUTING': 'mysite.routing.channel_routing'}}"
    assert evidence(ast.parse(code)) == []


def test_code_without_channels_shows_nothing() -> None:
    assert evidence(ast.parse("from .channels import x\nimport os\nd = {'a': 1}\n")) == []
