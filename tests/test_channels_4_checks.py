"""System checks of a project that has Channels 4 beside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_checks import APPS, found, ids

if TYPE_CHECKING:
    from pytest_django import Settings

MODERN = "channels_redis.core.RedisChannelLayer"
WAITING = {"address": "redis://localhost:6379/0", "socket_timeout": None}


@pytest.fixture(autouse=True)
def channels_beside(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another package called `channels` is an app."""
    (tmp_path / "channels").mkdir()
    (tmp_path / "channels" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*APPS, "channels_classic", "django.contrib.staticfiles", "channels"]
    yield
    del sys.modules["channels"]


def test_a_project_that_has_channels_4_beside_keeps_its_layer(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {"ROUTING": []},
        "modern": {"BACKEND": MODERN, "CONFIG": {"hosts": [WAITING]}},
    }
    assert found() == []


class OfAnotherPackage:
    """A layer for Channels 4."""

    def __init__(self) -> None:
        raise AssertionError("a check has made a layer that it does not know")

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group."""


@pytest.mark.parametrize(
    "entry", [{"BACKEND": MODERN, "CONFIG": {"hosts": [WAITING]}}, {"BACKEND": f"{__name__}.OfAnotherPackage"}]
)
def test_a_layer_of_channels_4_that_ours_cannot_use_is_warned_of(settings: Settings, entry: dict[str, Any]) -> None:
    settings.CHANNEL_LAYERS = {"default": entry}
    assert ids() == ["W008"]
    settings.CHANNELS_CLASSIC_LAYERS = {"default": {"ROUTING": []}}
    assert found() == []


def test_a_layer_of_channels_4_in_our_own_setting_is_to_be_replaced_there(settings: Settings) -> None:
    settings.CHANNELS_CLASSIC_LAYERS = {"default": {"BACKEND": f"{__name__}.OfAnotherPackage"}}
    (message,) = found()
    assert message.id == "channels_classic.E008"
    assert message.hint == (
        "Write 'channels_classic.layers.redis.RedisChannelLayer', and add the ROUTING; layers of Channels 2 and later "
        "stand in the setting CHANNEL_LAYERS."
    )


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (None, ["W009"]),
        (["redis://localhost:6379/0"], ["W009"]),
        ([("localhost", 6379)], ["W009"]),
        ([WAITING, {"address": "redis://localhost:6379/0"}], ["W009"]),
        ([{"host": "localhost", "port": 6379, "socket_timeout": 60}], []),
        (["redis://localhost:6379/0?socket_timeout=60"], []),
    ],
)
def test_a_host_of_channels_4_that_gives_up_while_it_waits_is_warned_of(
    settings: Settings, hosts: Any, expected: list[str]
) -> None:
    settings.CHANNELS_CLASSIC_LAYERS = {"default": {"ROUTING": []}}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MODERN, **({"CONFIG": {"hosts": hosts}} if hosts else {})}}
    assert ids() == expected
