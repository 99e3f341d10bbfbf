"""Mistakes of users: each ends with a sentence, the next step and status 1, without a traceback."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from channels_classic import Channel, Group
from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.exceptions import InvalidChannelName, InvalidGroupName, InvalidMessage, MessageTooLarge
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.commands import run_command
from tests.support.own_project import HOST, Project, own_project

REDIS = 'CHANNEL_LAYERS["default"]["BACKEND"] = "channels_classic.layers.redis.RedisChannelLayer"\n'
MEMORY = 'CHANNEL_LAYERS["default"]["BACKEND"] = "channels_classic.layers.inmemory.ChannelLayer"\n'


@pytest.fixture
def project() -> Iterator[Project]:
    with own_project() as project:
        yield project


def refused(project: Project, *arguments: str) -> str:
    """Return the output of a command that must end at once."""
    command = run_command(["manage.py", *arguments], project.folder, project.environment)
    assert command.status == 1, command.output
    assert "Traceback" not in command.output
    return command.output


BOTH = ["runinterface", "runworker"]
WORKER = ["runworker"]

SETTINGS = [
    (BOTH, "del CHANNEL_LAYERS", r"CHANNEL_LAYERS is missing or empty"),
    (BOTH, "CHANNEL_LAYERS = {}", r"CHANNEL_LAYERS is missing or empty"),
    (BOTH, "CHANNEL_LAYERS = 'default'", r"CHANNEL_LAYERS setting is of type str: expected a dict"),
    (BOTH, "CHANNEL_LAYERS = {'default': 'x'}", r"CHANNEL_LAYERS\['default'\] is of type str: expected a dict"),
    (BOTH, "CHANNEL_LAYERS = {'defaults': {'ROUTING': []}}", r"defines no layer 'default'\. Did you mean 'defaults'\?"),
    (
        BOTH,
        "CHANNEL_LAYERS['default']['BACKENDS'] = 'x'",
        r"unknown key 'BACKENDS'\.\s+(HINT: )?Did you mean 'BACKEND'",
    ),
    (BOTH, "CHANNEL_LAYERS['default']['BACKEND'] = 'nowhere.Layer'", r"cannot be imported: No module named 'nowhere'"),
    (BOTH, "CHANNEL_LAYERS['default']['CONFIG'] = {'exipry': 5}", r"'exipry'\.?\s+(HINT: )?Did you mean 'expiry'"),
    (BOTH, "CHANNEL_LAYERS['default']['CONFIG'] = {'expiry': '5'}", r"`expiry` is '5': expected a number"),
    (BOTH, REDIS + "CHANNEL_LAYERS['default']['CONFIG'] = {'hosts': 'redis://x'}", r"write \['redis://x'\]"),
    (
        BOTH,
        REDIS + "CHANNEL_LAYERS['default']['CONFIG'] = {'hosts': ['127.0.0.1:6379']}",
        r"write 'redis://127.0.0.1:6379/0'",
    ),
    (BOTH, REDIS + "CHANNEL_LAYERS['default']['CONFIG'] = {'hosts': ['redis://:a#b@x:1']}", r"'#' is '%23'"),
    (
        BOTH,
        f"CHANNEL_LAYERS['default']['CONFIG'] = {{'path': '/tmp/{'x' * 100}/y'}}",
        r"too long for a socket: expected fewer than",
    ),
    (BOTH, MEMORY, r"lives in one process"),
    (WORKER, "CHANNEL_LAYERS['default'].pop('ROUTING')", r"has no 'ROUTING'"),
    (WORKER, "CHANNEL_LAYERS['default']['ROUTING'] = 'mysite.routes.x'", r"No module named 'mysite\.routes'"),
    (WORKER, "CHANNEL_LAYERS['default']['ROUTING'] = {'a b': print}", r"'a b' is not a valid channel name"),
]


@pytest.mark.parametrize(
    ("program", "settings", "sentence"),
    [(program, settings, sentence) for programs, settings, sentence in SETTINGS for program in programs],
)
def test_a_mistake_in_the_settings_is_a_sentence(program: str, settings: str, sentence: str) -> None:
    with own_project(settings) as project:
        port = ["--port", str(project.port)] if program == "runinterface" else []
        assert re.search(sentence, refused(project, program, *port))


@pytest.mark.parametrize("program", BOTH)
def test_without_channel_layers_the_programs_say_which_three_lines_to_add(program: str) -> None:
    with own_project("del CHANNEL_LAYERS") as project:
        lines = refused(project, program).strip().splitlines()[-3:]
    namespace: dict[str, Any] = {}
    exec("\n".join(lines), namespace)
    assert namespace["CHANNEL_LAYERS"] == {"default": {"ROUTING": "mysite.routing.channel_routing"}}


@pytest.mark.parametrize("program", BOTH)
def test_an_alias_that_is_not_defined_names_the_nearest(project: Project, program: str) -> None:
    assert "no layer 'defalt'. Did you mean 'default'?" in refused(project, program, "--layer", "defalt")


def test_a_port_in_use_names_the_options(project: Project) -> None:
    with socket.create_server((HOST, project.port)):
        said = refused(project, "runinterface", "--port", str(project.port))
    assert f"Cannot listen on {HOST}:{project.port}: Address already in use." in said
    assert "--port" in said


def test_a_port_that_does_not_exist_is_refused(project: Project) -> None:
    assert "a port is a number from 0 to 65535" in refused(project, "runinterface", "--port", "99999")


# A layer that is not there: the programs wait for it, a send says so.


@pytest.mark.parametrize(
    ("program", "consequence"),
    [
        ("runinterface", "HTTP requests are answered with 503 until the layer is back"),
        ("runworker", "Retrying until the layer is back"),
    ],
)
def test_a_redis_that_is_not_there_is_said_once_with_its_setting(
    free_port: int, program: str, consequence: str
) -> None:
    config = f"CHANNEL_LAYERS['default']['CONFIG'] = {{'hosts': ['redis://{HOST}:{free_port}']}}"
    with own_project(REDIS + config) as project:
        options = ["--port", str(project.port)] if program == "runinterface" else []
        with project.run(program, *options) as running:
            line = running.wait_for_line(f"{HOST}:{free_port}/0 cannot be reached")
            if program == "runinterface":
                running.wait_for_port(project.port)
                assert project.get("/")[0] == 503
            assert running.running
            assert running.stop() == 0
        assert "`hosts` in CHANNEL_LAYERS names it. " in line and consequence in line
        assert running.output.count("cannot be reached") == 1
        assert "Traceback" not in running.output


def test_a_worker_without_an_interface_server_says_how_to_start_one(project: Project) -> None:
    with project.run("runworker") as worker:
        assert "python manage.py runinterface" in worker.wait_for_line("cannot be reached: no interface server")
        assert worker.running
        assert worker.stop() == 0


def test_a_send_that_reaches_nothing_ends_with_the_next_step(project: Project) -> None:
    code = "from channels_classic import Channel; Channel('somewhere').send({})"
    shell = run_command(["manage.py", "shell", "-c", code], project.folder, project.environment)
    assert shell.status == 1
    last = shell.output.strip().splitlines()[-1]
    assert re.search("LayerUnavailable: .* Start one, with `python manage.py runinterface`", last)


def test_a_group_send_that_finds_no_host_reports_the_loss_with_the_next_step(project: Project) -> None:
    code = "from channels_classic import Group; Group('all').send({})"
    shell = run_command(["manage.py", "shell", "-v", "0", "-c", code], project.folder, project.environment)
    assert shell.status == 0
    assert "Lost 1 message(s), the last one for all: no interface server" in shell.output
    assert "start `runinterface` or `runserver`" in shell.output


# Names and messages


@pytest.fixture(params=["memory", "redis"])
def any_layer(request: pytest.FixtureRequest, default_layer: ChannelLayerWrapper) -> BaseChannelLayer:
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        channel_layers.set("default", ChannelLayerWrapper(RedisChannelLayer(hosts=[url]), "default", []))
    layer: BaseChannelLayer = channel_layers["default"].channel_layer
    return layer


@pytest.mark.parametrize("name", ["a b", "", "ä", "a!b!c", "a?b!c", "x" * 101, "a/b", 5, None])
def test_an_invalid_channel_name_is_named_with_the_grammar(any_layer: BaseChannelLayer, name: Any) -> None:
    with pytest.raises((InvalidChannelName, ValueError)) as caught:
        Channel(name).send({}, immediately=True)
    if name:
        assert repr(name) in str(caught.value) and "ASCII letters, digits" in str(caught.value)


@pytest.mark.parametrize("name", ["a b", "", "ä", "a!b", "a?b", "x" * 101, 5, None])
@pytest.mark.parametrize("act", ["add", "discard", "send"])
def test_an_invalid_group_name_is_named_with_the_grammar(any_layer: BaseChannelLayer, name: Any, act: str) -> None:
    with pytest.raises((InvalidGroupName, ValueError)) as caught:
        getattr(Group(name), act)({} if act == "send" else "channel")
    if name:
        assert repr(name) in str(caught.value) and "ASCII letters, digits" in str(caught.value)


def test_a_channel_that_cannot_be_a_member_is_refused(any_layer: BaseChannelLayer) -> None:
    with pytest.raises(InvalidChannelName, match="'not one'"):
        Group("room").add("not one")


@pytest.mark.parametrize("content", ["text", ["a"], 5, None, {"value": object()}, {"big": 2**70}])
def test_a_message_that_is_none_says_what_one_is(any_layer: BaseChannelLayer, content: Any) -> None:
    for target in (Channel("somewhere"), Group("room")):
        with pytest.raises((InvalidMessage, ValueError)) as caught:
            target.send(content, immediately=True)
        assert "Expected a dict" in str(caught.value) or "dict" in str(caught.value)
    assert any_layer.receive(["somewhere"]) == (None, None)


def test_a_message_that_is_too_large_says_how_much_fits(any_layer: BaseChannelLayer) -> None:
    with pytest.raises(
        MessageTooLarge, match=r"'somewhere' has \d{8} bytes, the layer carries at most \d+: send it in"
    ):
        Channel("somewhere").send({"text": "x" * 20_000_000}, immediately=True)
    assert any_layer.receive(["somewhere"]) == (None, None)
