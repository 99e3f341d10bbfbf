"""Names that layers of Channels 1.x had besides their contract."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import InvalidChannelName, InvalidGroupName
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.redis import RedisChannelLayer


@pytest.fixture(params=[ChannelLayer, LocalChannelLayer, RedisChannelLayer])
def layer(request: pytest.FixtureRequest) -> BaseChannelLayer:
    made: BaseChannelLayer = request.param(capacity=7, channel_capacity={"http.response!*": 3, "small": 1})
    return made


def test_names_of_channels_are_checked(layer: BaseChannelLayer) -> None:
    assert layer.valid_channel_name("a.b-c_1") is True
    assert layer.valid_channel_name("reply!client") is True
    assert layer.valid_channel_name("reply!", receive=True) is True
    for name in ("", "a b", "a?", "é", b"bytes", 1, "a" * 101):
        with pytest.raises(TypeError):
            layer.valid_channel_name(name)  # type: ignore[arg-type]
    with pytest.raises(InvalidChannelName):
        layer.valid_channel_name("reply!client", receive=True)


def test_lists_of_names_are_checked(layer: BaseChannelLayer) -> None:
    assert layer.valid_channel_names(["a", "b!"], receive=True) is True
    wrong: list[Any] = [[], "a", ("a",)]
    for names in wrong:
        with pytest.raises(AssertionError, match="expected a list"):
            layer.valid_channel_names(names)
    with pytest.raises(TypeError):
        layer.valid_channel_names(["a", "b c"])


def test_names_of_groups_are_checked(layer: BaseChannelLayer) -> None:
    assert layer.valid_group_name("0.a_b-c") is True
    with pytest.raises(InvalidGroupName):
        layer.valid_group_name("a!b")
    assert layer.match_type_and_length("a") and not layer.match_type_and_length(b"a")
    assert not layer.match_type_and_length("a" * 101)


def test_the_capacity_of_a_channel_can_be_asked_for(layer: BaseChannelLayer) -> None:
    assert layer.get_capacity("other") == 7
    assert layer.get_capacity("small") == 1
    assert layer.get_capacity("http.response!client") == 3
    ((pattern, capacity),) = layer.compile_capacities({"http.*": 5})
    assert pattern.match("http.request") and capacity == 5
    assert layer.non_local_name("http.response!client") == "http.response!"
    assert layer.non_local_name("other") == "other"


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("_channels", "channel_statistics"),
        ("_groups", "group_channels"),
        ("global_stats_key", "global_statistics"),
        ("_receive_list_names", "receive"),
        ("connection", "redis.Redis.from_url"),
        ("deserialize", "receive"),
        ("serialize", "send"),
    ],
)
def test_a_private_name_that_means_nothing_here_is_refused_with_the_public_way(name: str, way: str) -> None:
    for layer in (RedisChannelLayer(), ChannelLayerWrapper(RedisChannelLayer(), "default", [])):
        with pytest.raises(AttributeError, match=f"which layers of Channels 1.x had: .*{way}"):
            getattr(layer, name)
        assert not hasattr(layer, name)


def test_other_attributes_that_are_not_there_are_missed_as_ever() -> None:
    with pytest.raises(AttributeError, match=r"'ChannelLayer' object has no attribute 'nothing'\.$"):
        _ = ChannelLayer().nothing  # type: ignore[attr-defined]


def test_the_groups_of_the_memory_layer_can_be_looked_at() -> None:
    layer = ChannelLayer()
    assert layer._groups == {}
    layer.group_add("room", "client-1")
    layer.group_add("room", "reply!client-2")
    layer.group_add("other", "client-1")
    assert set(layer._groups) == {"room", "other"}
    assert "client-1" in layer._groups["room"] and len(layer._groups["room"]) == 2
    layer.group_discard("other", "client-1")
    assert "other" not in layer._groups
