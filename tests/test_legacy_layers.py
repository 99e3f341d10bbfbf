"""Channel layers that a project wrote for Channels 1.x: with its methods, and without the steps of ours."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command

from channels_classic import Channel, Group, channel_layers
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.delay.models import DelayedMessage
from tests.support.own_project import own_project
from tests.test_checks import APPS
from tests.test_delay import run

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture(params=["Independent", "Derived"])
def legacy(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a layer that is the default one."""
    backend = f"tests.support.legacy_layers.{request.param}"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "ROUTING": []}}
    settings.INSTALLED_APPS = ["channels_classic", "channels_classic.delay", *APPS, "django.contrib.staticfiles"]
    monkeypatch.setattr(channel_layers, "backends", {})
    return backend


def sentence(backend: str) -> str:
    return (
        f"The BACKEND of CHANNEL_LAYERS['default'], {backend}, has the methods of Channels 1.x alone: it serves "
        "Channel and Group, and no program."
    )


def test_the_checks_say_that_it_serves_no_program(legacy: str) -> None:
    (message,) = run_checks(tags=["channels_classic"])
    assert (message.id, message.msg) == ("channels_classic.W014", sentence(legacy))
    assert "a subclass of one" in str(message.hint)


@pytest.mark.parametrize("command", ["runworker", "runinterface", "channels"])
def test_a_program_says_so_and_does_not_start(legacy: str, command: str) -> None:
    with pytest.raises(CommandError) as failure:
        call_command(command)
    assert (
        str(failure.value)
        == f"{sentence(legacy)} For the programs name a layer of channels_classic, or a subclass of one."
    )


def test_runserver_says_so_and_does_not_start() -> None:
    backend = "tests.support.legacy_layers.Independent"
    settings = f'CHANNEL_LAYERS = {{"default": {{"BACKEND": "{backend}", "ROUTING": []}}}}'
    with own_project(settings) as project, project.run("runserver", str(project.port), "--noreload") as server:
        assert server.wait() == 1
    assert f"CommandError: {sentence(backend)}" in server.output


def test_channel_and_group_use_it(legacy: str) -> None:
    Group("room").add("member")
    Group("room").send({"n": 1})
    Channel("work").send({"n": 2})
    assert channel_layers["default"].messages == [("member", {"n": 1}), ("work", {"n": 2})]


@pytest.mark.django_db
def test_the_delay_server_drops_a_message_on_it_and_goes_on(legacy: str, caplog: pytest.LogCaptureFixture) -> None:
    layer: ChannelLayerWrapper = channel_layers["default"]
    layer.send("asgi.delay", {"channel": "not a name", "content": {}, "delay": 0})
    layer.send("asgi.delay", {"channel": "test", "content": {"n": 1}, "delay": -1})
    caplog.set_level(logging.INFO)
    worker = run(layer, rounds=2)
    worker._log_statistics()
    DelayedMessage.objects.get().send()
    assert layer.receive(["test"]) == ("test", {"n": 1})
    assert "Dropped a delayed message" in caplog.text and "lost messages: none" in caplog.text
