"""`manage.py runinterface` and `channels-classic interface` as real processes, and what they say of mistakes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from channels_classic.interface_server import InterfaceConfig
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.management.interface import configured
from tests.support.commands import run_command
from tests.support.processes import Process
from tests.support.waiting import scaled

PROGRAM = [sys.executable, "-c", "from channels_classic.management.cli import main; main()", "interface"]
ROUTING = {"ROUTING": "a.routing.that.does.not.exist"}


def answered(layer: BaseChannelLayer, port: int) -> dict[str, Any]:
    """The message of a request that was sent to `port` and answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(10))
    connection.request("GET", "/")
    _, message = layer.receive(["http.request"], block=True)
    assert message is not None
    layer.send(message["reply_channel"], {"status": 200, "content": b"hello"})
    assert connection.getresponse().read() == b"hello"
    connection.close()
    layer.close()
    return message


def test_an_interface_server_needs_a_layer_and_no_project(redis_url: str, free_port: int) -> None:
    environment = {"DJANGO_SETTINGS_MODULE": None}
    with Process([*PROGRAM, "--layer", redis_url, "-p", str(free_port)], env=environment) as program:
        program.wait_for_line(rf"Serving http://127.0.0.1:{free_port}/ on the channel layer")
        program.wait_for_port(free_port)
        answered(RedisChannelLayer(hosts=[redis_url]), free_port)
        assert program.stop() == 0
    assert "Traceback" not in program.output


def test_it_hosts_a_local_layer_at_a_path(tmp_path: Path, free_port: int) -> None:
    tmp_path.chmod(0o700)
    path = str(tmp_path / "layer")
    environment = {"DJANGO_SETTINGS_MODULE": None}
    with Process([*PROGRAM, "--layer", f"local:{path}", "-p", str(free_port)], env=environment) as program:
        program.wait_for_line("hosts the channel layer")
        answered(LocalChannelLayer(path=path), free_port)
        assert program.stop(signal.SIGINT) == 0
    assert "Traceback" not in program.output


def test_with_settings_it_reads_them_and_nothing_else_of_the_project(
    tmp_path: Path, redis_url: str, free_port: int
) -> None:
    settings = f"""
CHANNELS_WS_PROTOCOLS = ["chat"]
FORCE_SCRIPT_NAME = "/site"
INSTALLED_APPS = ["an_app_that_does_not_exist"]
CHANNEL_LAYERS = {{"default": {{
    "BACKEND": "channels_classic.layers.redis.RedisChannelLayer",
    "CONFIG": {{"hosts": ["{redis_url}"]}},
    "ROUTING": "a.routing.that.does.not.exist",
}}}}
"""
    (tmp_path / "project_settings.py").write_text(settings)
    environment = {"PYTHONPATH": os.getcwd()}
    command = [*PROGRAM, "--settings", "project_settings", "-p", str(free_port)]
    with Process(command, env=environment, cwd=tmp_path) as program:
        program.wait_for_port(free_port)
        message = answered(RedisChannelLayer(hosts=[redis_url]), free_port)
        assert message["root_path"] == "/site"


def test_with_settings_it_logs_as_the_project_does(tmp_path: Path, redis_url: str, free_port: int) -> None:
    settings = f"""
LOGGING = {{
    "version": 1,
    "formatters": {{"json": {{"()": "channels_classic.log.JSONFormatter"}}}},
    "handlers": {{"console": {{"class": "logging.StreamHandler", "formatter": "json"}}}},
    "root": {{"handlers": ["console"], "level": "INFO"}},
}}
CHANNEL_LAYERS = {{"default": {{
    "BACKEND": "channels_classic.layers.redis.RedisChannelLayer",
    "CONFIG": {{"hosts": ["{redis_url}"]}},
    "ROUTING": "a.routing.that.does.not.exist",
}}}}
"""
    (tmp_path / "project_settings.py").write_text(settings)
    command = [*PROGRAM, "--settings", "project_settings", "-p", str(free_port)]
    with Process(command, env={"PYTHONPATH": os.getcwd()}, cwd=tmp_path) as program:
        program.wait_for_line("Ready: the channel layer")
        assert program.stop() == 0
    lines = [json.loads(line) for line in program.output.splitlines()]
    assert {line["logger"] for line in lines} >= {"channels_classic.interface_server"}


@pytest.mark.parametrize("level", ["INFO", None])
def test_a_level_that_the_project_gives_to_uvicorn_is_kept(
    tmp_path: Path, redis_url: str, free_port: int, level: str | None
) -> None:
    settings = f"""
INSTALLED_APPS = ["channels_classic"]
SECRET_KEY = "x"
LOGGING = {{
    "version": 1,
    "handlers": {{"console": {{"class": "logging.StreamHandler"}}}},
    "root": {{"handlers": ["console"], "level": "INFO"}},
    "loggers": {{"uvicorn": {{"level": "{level}"}}}} if {level is not None} else {{}},
}}
CHANNEL_LAYERS = {{"default": {{
    "BACKEND": "channels_classic.layers.redis.RedisChannelLayer",
    "CONFIG": {{"hosts": ["{redis_url}"]}},
    "ROUTING": "a.routing.that.does.not.exist",
}}}}
"""
    (tmp_path / "project_settings.py").write_text(settings)
    environment = {"PYTHONPATH": os.getcwd(), "DJANGO_SETTINGS_MODULE": "project_settings"}
    command = [sys.executable, "-m", "django", "runinterface", "-p", str(free_port)]
    with Process(command, env=environment, cwd=tmp_path) as program:
        program.wait_for_port(free_port)
        program.wait_for_line("Ready: the channel layer")
        assert program.stop() == 0
    assert ("Started server process" in program.output) is (level == "INFO"), program.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give --layer, such as redis://"),
        (["--layer", "amqp://x"], "There is no layer for 'amqp': expected a URL with one of redis"),
        (["--layer", "secret@localhost:6379"], "Error: --layer has no scheme: expected a URL with one of redis"),
        (["--layer", "redis://:a/b@localhost"], "--layer cannot be used: A URL in `hosts` has a '/' or '?' before"),
        (["--layer", "local:layer.sock"], "--layer cannot be used: `path` is 'layer.sock', which depends on the"),
        (["--settings", "no.such.settings"], "No module named 'no'"),
        (["--layer", "redis://localhost:1", "--fd", "1000000"], "Cannot listen on descriptor 1000000"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    program = run_command(["channels-classic", "interface", *arguments], tmp_path, {"DJANGO_SETTINGS_MODULE": None})
    assert program.status != 0
    assert sentence in program.output
    assert "Traceback" not in program.output


def test_runinterface_says_which_lines_to_add_without_a_layer(settings: Settings) -> None:
    del settings.CHANNEL_LAYERS
    with pytest.raises(CommandError, match=r'CHANNEL_LAYERS = {\n    .default.: {"ROUTING"'):
        call_command("runinterface")


def test_runinterface_refuses_a_layer_that_workers_cannot_reach(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_classic.layers.inmemory.ChannelLayer", **ROUTING}}
    with pytest.raises(CommandError, match="lives in one process"):
        call_command("runinterface")


def test_runinterface_refuses_an_alias_that_nobody_defined(settings: Settings) -> None:
    with pytest.raises(CommandError, match=r"defines no layer .defautl.\. Did you mean .default."):
        call_command("runinterface", layer="defautl")


@pytest.mark.parametrize(
    ("name", "value"),
    [("CHANNELS_WS_PROTOCOLS", "chat"), ("CHANNELS_WS_PROTOCOLS", [5]), ("FORCE_SCRIPT_NAME", 5)],
)
def test_a_setting_of_the_wrong_type_is_refused(settings: Settings, name: str, value: object) -> None:
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=f"The setting {name} is {re.escape(repr(value))}: expected a"):
        configured({})


def test_the_command_line_wins_over_the_settings(settings: Settings) -> None:
    settings.CHANNELS_WS_PROTOCOLS = ["chat"]
    settings.FORCE_SCRIPT_NAME = "/site"
    assert configured({}) == InterfaceConfig(ws_protocols=("chat",), root_path="/site")
    given = {"ws_protocols": ["super"], "root_path": "/other", "http_timeout": 3.0}
    assert configured(given) == InterfaceConfig(ws_protocols=("super",), root_path="/other", http_timeout=3.0)
