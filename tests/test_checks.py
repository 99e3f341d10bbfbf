"""System checks: each mistake in the settings has an id, a sentence and a hint."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command

from channels_classic import _channels_4_checks, _routing_checks, checks, include, route
from channels_classic.auth import (
    channel_and_http_session_user,
    channel_session_user,
    channel_session_user_from_http,
    http_session_user,
)
from channels_classic.generic.websockets import WebsocketConsumer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.security.websockets import BaseOriginValidator, allowed_hosts_only
from channels_classic.sessions import channel_session, enforce_ordering, http_session

if TYPE_CHECKING:
    from pytest_django import Settings

MEMORY = "channels_classic.layers.inmemory.ChannelLayer"
REDIS = "channels_classic.layers.redis.RedisChannelLayer"
APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DOCS = Path(__file__).parent.parent / "docs" / "checks.md"

channel_routing: dict[str, Any] = {}
broken_routing = {"here": "tests.nowhere.consumer"}


class ConnectingLayer(ChannelLayer):
    """A layer that must not be made by a check."""

    def __init__(self, host: str) -> None:
        raise AssertionError("a check has made a layer that it does not know")


def found() -> list[CheckMessage]:
    return list(run_checks(tags=["channels_classic"]))


def ids() -> list[str]:
    return [str(message.id).removeprefix("channels_classic.") for message in found()]


@pytest.fixture(autouse=True)
def ordered_apps(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*APPS, "channels_classic", "django.contrib.staticfiles"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, for modules of a user's project."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("checked_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "layers",
    [
        {},
        {"default": {"ROUTING": []}},
        {"default": {"ROUTING": "tests.test_checks.channel_routing"}},
        {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [("localhost", 1)]}, "ROUTING": {}}},
        {"default": {"BACKEND": "asgi_redis.RedisChannelLayer", "ROUTING": []}},
        {"default": {"BACKEND": MEMORY, "ROUTING": [], "TEST_CONFIG": {"expiry": 5}}, "other": {"ROUTING": []}},
    ],
)
def test_settings_without_a_mistake_are_passed_in_silence(settings: Settings, layers: dict[str, Any]) -> None:
    settings.CHANNEL_LAYERS = layers
    assert found() == []


def test_no_channel_layers_is_plain_django(settings: Settings) -> None:
    del settings.CHANNEL_LAYERS
    assert found() == []


MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    ("E001", {"CHANNEL_LAYERS": []}, "of type list", r'CHANNEL_LAYERS = \{"default"'),
    ("E001", {"CHANNEL_LAYERS": ["default"]}, "of type list", r'CHANNEL_LAYERS = \{"default"'),
    ("E002", {"default": MEMORY}, r"\['default'\] is of type str", r'CHANNEL_LAYERS = \{"default"'),
    ("E003", {"default": {"ROUTES": []}}, "unknown key 'ROUTES'", "Did you mean 'ROUTING'"),
    ("E003", {"default": {"backend": MEMORY, "ROUTING": []}}, "unknown key 'backend'", "Did you mean 'BACKEND'"),
    ("E003", {"default": {"X": 1, "ROUTING": []}}, "unknown key 'X'", "Expected one of: 'BACKEND', 'CONFIG'"),
    ("E004", {"default": {}}, "has no 'ROUTING'", "mysite.routing.channel_routing"),
    ("E005", {"default": {"ROUTING": "nowhere.routing"}}, "No module named 'nowhere'", "channel_routing"),
    ("E005", {"default": {"ROUTING": "tests.test_checks.chanel_routing"}}, "Did you mean 'channel_routing'", ""),
    ("E005", {"default": {"ROUTING": "tests.test_checks.broken_routing"}}, "'tests.nowhere.consumer'", ""),
    ("E005", {"default": {"ROUTING": 5}}, "5 is not a routing", "a list of route"),
    ("E005", {"default": {"ROUTING": ["http.request"]}}, "Entry 0 of the routing is 'http.request'", ""),
    (
        "E005",
        {"default": {"ROUTING": {"http request": print}}},
        "'http request' is not a valid channel name",
        "another name",
    ),
    (
        "E006",
        {"default": {"BACKEND": "nowhere.Layer", "ROUTING": []}},
        "No module named 'nowhere'",
        "Leave BACKEND out",
    ),
    ("E006", {"default": {"BACKEND": None, "ROUTING": []}}, "is of type NoneType", "Leave BACKEND out"),
    ("E007", {"default": {"CONFIG": {"expires": 1}, "ROUTING": []}}, "'expires'", "Did you mean 'expiry'"),
    ("E007", {"default": {"TEST_CONFIG": {"prefix": 1}, "ROUTING": []}}, "TEST_CONFIG .*'prefix'", "Expected one of"),
    ("E006", {"default": {"BACKEND": "os.path", "ROUTING": []}}, "not a channel layer", "Leave BACKEND out"),
    ("E006", {"default": {"BACKEND": "builtins.dict", "ROUTING": []}}, "has no method `send`", "Leave BACKEND out"),
    ("E007", {"default": {"CONFIG": {"expiry": "5"}, "ROUTING": []}}, "`expiry` is '5': expected a number", "Correct"),
    ("E007", {"default": {"CONFIG": {"path": 5}, "ROUTING": []}}, "not int", "Correct"),
    ("E007", {"default": {"CONFIG": 5, "ROUTING": []}}, "does not fit", "dict of its arguments"),
    (
        "E007",
        {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": "redis://localhost"}, "ROUTING": []}},
        "`hosts` is a list",
        "Correct",
    ),
    (
        "E008",
        {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": []}}},
        "is for Channels 2 and later",
        "'channels_classic.layers.redis.RedisChannelLayer', and add the ROUTING",
    ),
    (
        "E008",
        {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        "is for Channels 2 and later",
        "'channels_classic.layers.inmemory.ChannelLayer'",
    ),
    ("W010", {"default": {"ROUTING": {"a": 5}}}, "consumer builtins.int of a cannot be called", "Name a function"),
    (
        "W012",
        {"default": {"ROUTING": {"websocket.received": "tests.test_checks.consume"}}},
        "'websocket.received' to tests.test_checks.consume gets no messages of clients",
        "Write 'websocket.receive'",
    ),
    ("W002", {"fast": {"ROUTING": []}}, "defines 'fast', but no 'default'", "Name one of them 'default'"),
]


@pytest.mark.parametrize(("id", "layers", "sentence", "hint"), MISTAKES)
def test_a_mistake_is_one_message_with_its_id_a_sentence_and_a_hint(
    settings: Settings, id: str, layers: dict[str, Any], sentence: str, hint: str
) -> None:
    settings.CHANNEL_LAYERS = layers.get("CHANNEL_LAYERS", layers)
    (message,) = found()
    assert message.id == f"channels_classic.{id}"
    assert re.search(sentence, message.msg)
    assert message.hint and re.search(hint, message.hint)


def test_every_alias_is_checked(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {}, "other": {"ROUTING": 5, "BACKEND": "nowhere.Layer"}}
    assert ids() == ["E004", "E005", "E006"]


def test_a_routing_that_fails_in_the_users_code_names_the_line(settings: Settings, project: Path) -> None:
    (project / "checked_consumers.py").write_text("import os\n\nos.nothing\n")
    (project / "checked_routing.py").write_text(
        "from channels_classic import route\n\nchannel_routing = [route('a', 'checked_consumers.consume')]\n"
    )
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": "checked_routing.channel_routing"}}
    (message,) = found()
    assert message.id == "channels_classic.E005"
    assert "AttributeError: module 'os' has no attribute 'nothing'" in message.msg
    assert message.hint == f"Look at {project / 'checked_consumers.py'}, line 3."


def test_a_consumer_that_is_not_there_names_the_line_of_its_route(settings: Settings, project: Path) -> None:
    (project / "checked_routing.py").write_text(
        "from channels_classic import route\n\nchannel_routing = [route('a', 'checked_consumers.consume')]\n"
    )
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": "checked_routing.channel_routing"}}
    (message,) = found()
    assert "'checked_consumers.consume' cannot be imported: No module named 'checked_consumers'" in message.msg
    assert message.hint == f"Look at {project / 'checked_routing.py'}, line 3."


def test_a_backend_that_fails_in_the_users_code_names_the_line(settings: Settings, project: Path) -> None:
    (project / "checked_layer.py").write_text("\n1 / 0\n")
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "checked_layer.Layer", "ROUTING": []}}
    (message,) = found()
    assert message.id == "channels_classic.E006"
    assert "ZeroDivisionError" in message.msg
    assert message.hint == f"Look at {project / 'checked_layer.py'}, line 2."


def test_a_layer_of_somebody_else_is_not_made_but_its_arguments_are_checked(settings: Settings) -> None:
    entry = {"BACKEND": "tests.test_checks.ConnectingLayer", "ROUTING": []}
    settings.CHANNEL_LAYERS = {"default": {**entry, "CONFIG": {"host": "x"}, "TEST_CONFIG": {"host": "y"}}}
    assert found() == []
    settings.CHANNEL_LAYERS = {"default": {**entry, "CONFIG": {"hots": "x"}, "TEST_CONFIG": {"host": "y"}}}
    assert ids() == ["E007"]


def test_the_memory_layer_is_warned_of_where_debug_is_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY, "ROUTING": []}}
    settings.DEBUG = False
    assert ids() == []  # a test run turns DEBUG off as well
    monkeypatch.delattr(mail, "outbox")
    assert ids() == ["W001"]
    settings.DEBUG = True
    assert ids() == []


def test_our_own_setting_is_named_in_its_mistakes(settings: Settings) -> None:
    settings.CHANNELS_CLASSIC_LAYERS = {"default": {}}
    (message,) = found()
    assert message.msg == "CHANNELS_CLASSIC_LAYERS['default'] has no 'ROUTING'."
    settings.CHANNELS_CLASSIC_LAYERS = ["default"]
    (message,) = found()
    assert "CHANNELS_CLASSIC_LAYERS setting is of type list" in message.msg
    assert "CHANNELS_CLASSIC_LAYERS = {" in str(message.hint)


def test_a_worker_command_of_another_app_is_warned_of(settings: Settings, project: Path) -> None:
    commands = project / "checked_worker" / "management" / "commands"
    commands.mkdir(parents=True)
    (project / "checked_worker" / "__init__.py").touch()
    (commands / "runworker.py").touch()
    settings.INSTALLED_APPS = ["checked_worker", *settings.INSTALLED_APPS]
    (message,) = found()
    assert message.id == "channels_classic.W004"
    assert "`manage.py runworker` is that of 'checked_worker'" in message.msg


def test_a_leftover_of_channels_2_names_its_other_setting(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
    settings.ASGI_APPLICATION = "mysite.asgi.application"
    assert "Remove ASGI_APPLICATION" in str(found()[0].hint)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CHANNELS_WS_PROTOCOLS", "chat", "list or tuple or NoneType"),
        ("CHANNEL_SESSION_ENGINE", None, "str"),
        ("CHANNELS_IMPLICIT_ACCEPT", "yes", "bool"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(settings: Settings, name: str, value: object, expected: str) -> None:
    setattr(settings, name, value)
    (message,) = found()
    assert message.id == "channels_classic.E010"
    assert message.msg == f"The setting {name} is {value!r}, of type {type(value).__name__}."
    assert str(message.hint).startswith(f"Expected {expected}: ")


def test_a_setting_with_almost_the_name_of_ours_is_warned_of(settings: Settings) -> None:
    del settings.CHANNEL_LAYERS
    settings.CHANNEL_LAYER = {"default": {"ROUTING": []}}
    (message,) = found()
    assert message.id == "channels_classic.W013"
    assert message.msg == "The setting CHANNEL_LAYER is not read. Did you mean CHANNEL_LAYERS, which is not set?"
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": []}}
    assert found() == []


def test_middleware_classes_are_warned_of(settings: Settings) -> None:
    settings.MIDDLEWARE_CLASSES = []
    assert ids() == ["W003"]


def test_static_files_before_this_app_are_warned_of(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*APPS, "django.contrib.staticfiles", "channels_classic"]
    assert ids() == ["W005"]
    settings.CHANNEL_LAYERS = {}
    assert ids() == []


def test_an_app_whose_runserver_comes_first_is_warned_of(settings: Settings, project: Path) -> None:
    commands = project / "checked_app" / "management" / "commands"
    commands.mkdir(parents=True)
    (project / "checked_app" / "__init__.py").touch()
    (commands / "runserver.py").touch()
    settings.INSTALLED_APPS = ["checked_app", *settings.INSTALLED_APPS]
    (message,) = found()
    assert message.id == "channels_classic.W004"
    assert "'checked_app'" in message.msg and "before 'checked_app'" in str(message.hint)


@pytest.mark.parametrize("entry", ["app.example.com", "https://app.example.com/", "https://exämple.com", "", None, 5])
def test_a_trusted_origin_that_can_match_nothing_is_named(settings: Settings, entry: object) -> None:
    settings.CHANNELS_TRUSTED_ORIGINS = ["https://app.example.com", entry]
    (message,) = found()
    assert message.id == "channels_classic.E009"
    assert repr(entry) in message.msg and "https://*.example.com" in str(message.hint)


@pytest.mark.parametrize("value", [None, 5, {"https://app.example.com": True}, b"*"])
def test_trusted_origins_that_are_not_a_list_are_named(settings: Settings, value: object) -> None:
    settings.CHANNELS_TRUSTED_ORIGINS = value
    (message,) = found()
    assert message.id == "channels_classic.E009"
    assert type(value).__name__ in message.msg


@pytest.mark.parametrize(
    "value", [[], (), ["https://*.example.com", "null", "capacitor://localhost"], "https://a.test"]
)
def test_trusted_origins_that_can_match_are_passed_in_silence(settings: Settings, value: object) -> None:
    settings.CHANNELS_TRUSTED_ORIGINS = value
    assert found() == []


def consume(message: Message, **kwargs: Any) -> None:
    """Consume a message."""


class ByClass(WebsocketConsumer):
    """Uses no session."""


class ByAttribute(ByClass):
    """Asks for the user of the browser."""

    http_user = True


class ByMethod(ByClass):
    """Decorates a method."""

    @http_session
    def connect(self, message: Message, **kwargs: Any) -> None:
        """Connect."""


class Everybody(BaseOriginValidator):
    """Decides itself."""


WITH_SESSION = [
    http_session(consume),
    channel_session_user_from_http(consume),
    channel_and_http_session_user(channel_session(consume)),
    channel_session(http_session(consume)),
    enforce_ordering(http_session_user(consume)),
    allowed_hosts_only(http_session(consume)),
    ByAttribute,
    ByMethod,
]
WITHOUT_SESSION = [consume, channel_session_user(consume), ByClass, "tests.test_checks.consume"]


def routed(consumer: Any) -> dict[str, Any]:
    return {"default": {"ROUTING": [include([route("websocket.connect", consumer)], path="^/chat")]}}


@pytest.mark.parametrize("consumer", WITH_SESSION)
def test_a_consumer_that_gives_sessions_to_all_pages_is_warned_of(settings: Settings, consumer: Any) -> None:
    settings.CHANNEL_LAYERS = routed(consumer)
    settings.ALLOWED_HOSTS = ["www.example.com"]
    assert found() == []
    settings.ALLOWED_HOSTS = ["*"]
    (message,) = found()
    assert message.id == "channels_classic.W006"
    assert "'*' in ALLOWED_HOSTS" in message.msg and f"tests.test_checks.{consumer.__name__}" in message.msg


def test_the_setting_that_switches_the_protection_off_is_named(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = routed(ByAttribute)
    settings.CHANNELS_TRUSTED_ORIGINS = "*"
    (message,) = found()
    assert "'*' in CHANNELS_TRUSTED_ORIGINS" in message.msg


@pytest.mark.parametrize("consumer", [*WITHOUT_SESSION, Everybody(http_session(consume))])
def test_other_consumers_are_not(settings: Settings, consumer: Any) -> None:
    settings.CHANNEL_LAYERS = routed(consumer)
    settings.CHANNELS_TRUSTED_ORIGINS = ["*"]
    assert found() == []


def test_a_routing_that_cannot_be_used_is_reported_once(settings: Settings) -> None:
    settings.CHANNELS_TRUSTED_ORIGINS = ["*"]
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": "nowhere.routing"}, "other": {"ROUTING": []}}
    assert ids() == ["E005"]


def test_a_check_can_be_silenced_and_run_by_tag(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings.CHANNEL_LAYERS = {"fast": {"ROUTING": []}}
    settings.SILENCED_SYSTEM_CHECKS = ["channels_classic.W002"]
    call_command("check", "--tag", "channels_classic", "--fail-level", "WARNING")
    assert "no issues (1 silenced)" in capsys.readouterr().out


# The table of wrong settings


WRONG = re.findall(r"^\| `(\w+) = (.+?)` \| `(\w+)` \| (.+?) \|$", DOCS.read_text(), re.MULTILINE)


def configured(name: str, value: Any) -> tuple[str, Any]:
    """Return the setting, and its value, that a row of the table describes."""
    if name not in ("BACKEND", "CONFIG", "TEST_CONFIG", "ROUTING", "hosts", "redis", "sentinel", "cluster"):
        return name, value
    entry: dict[str, Any] = {"ROUTING": []}
    if name in ("hosts", "redis"):
        entry |= {"BACKEND": REDIS, "CONFIG": {"hosts": value} if name == "hosts" else value}
    elif name in ("sentinel", "cluster"):
        backend = f"channels_classic.layers.redis.Redis{name.capitalize()}ChannelLayer"
        entry |= {"BACKEND": backend, "CONFIG": value}
    else:
        entry[name] = value
    return "CHANNEL_LAYERS", {"default": entry}


@pytest.mark.parametrize(("name", "value", "id", "sentence"), WRONG)
def test_each_wrong_setting_of_the_page_gets_the_sentence_that_stands_there(
    settings: Settings, name: str, value: str, id: str, sentence: str
) -> None:
    setattr(settings, *configured(name, ast.literal_eval(value)))
    (message,) = found()
    beginning = r"^The (TEST_)?CONFIG of CHANNEL_LAYERS\['default'\] does not fit [\w.]+: "
    assert (message.id, re.sub(beginning, "… ", message.msg)) == (f"channels_classic.{id}", sentence)
    assert message.hint


def test_the_page_has_many_of_them() -> None:
    assert len(WRONG) >= 30
    assert len({(name, value) for name, value, *_ in WRONG}) == len(WRONG)


def test_the_page_lists_every_check_once() -> None:
    documented = re.findall(r"^\| `channels_classic\.([EW]0[01]\d)` \|", DOCS.read_text(), re.MULTILINE)
    sources = [Path(module.__file__ or "").read_text() for module in (checks, _channels_4_checks, _routing_checks)]
    in_code = set(re.findall(r'"channels_classic\.([EW]\d+)"', "".join(sources)))
    assert documented == sorted(in_code)
