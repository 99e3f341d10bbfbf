"""The decorator that lets only allowed origins in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.http.request import validate_host

from channels_classic import route
from channels_classic._throttled_log import ThrottledLog
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import DenyConnection
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.security import websockets
from channels_classic.security.websockets import (
    AllowedHostsOnlyOriginValidator,
    BaseOriginValidator,
    allowed_hosts_only,
)
from tests.worker.harness import Inbox, make_worker, running

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.usefixtures("default_layer")


@pytest.fixture(autouse=True)
def _lines_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test begin with the full number of lines per second."""
    monkeypatch.setattr(websockets, "_log", ThrottledLog(10, 1.0))


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> Settings:
    settings.ALLOWED_HOSTS = ["example.com", ".wild.example"]
    return settings


@allowed_hosts_only
def consumer(message: Message, *args: Any, **kwargs: Any) -> Any:
    """Call it."""
    return "result", args, kwargs


def connect(*headers: Any) -> Message:
    return Message({"path": "/", "headers": list(headers)}, "websocket.connect", None)


def is_let_in(origin: str) -> bool:
    try:
        consumer(connect([b"host", b"example.com"], [b"origin", origin.encode()]))
    except DenyConnection:
        return False
    return True


def test_an_allowed_origin_is_let_in_and_the_result_returned() -> None:
    message = connect([b"origin", b"http://example.com"])
    assert consumer(message, 1, room="lobby") == ("result", (1,), {"room": "lobby"})


def test_a_foreign_origin_is_denied_in_a_sentence_that_names_it(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DenyConnection, match=r"'http://example\.org' is not allowed"):
        consumer(connect([b"origin", b"http://example.org"]))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(
    "header",
    [[], [b"origin"], [b"origin", b""], [b"origin", "http://exämple.com".encode()], [b"other", b"http://example.com"]],
)
def test_an_origin_that_is_missing_empty_or_not_ascii_is_denied(header: list[bytes]) -> None:
    with pytest.raises(DenyConnection):
        consumer(connect(header))


def test_a_message_without_headers_is_denied() -> None:
    with pytest.raises(DenyConnection, match="no Origin"):
        consumer(Message({"path": "/"}, "websocket.connect", None))


def test_headers_in_the_form_of_a_dict_are_understood() -> None:
    message = Message({"headers": {"origin": b"https://example.com"}}, "websocket.connect", None)
    assert consumer(message)[0] == "result"
    message["headers"] = {"origin": b"https://example.org"}
    with pytest.raises(DenyConnection):
        consumer(message)


def test_the_first_of_two_headers_counts() -> None:
    validator = BaseOriginValidator(lambda message: None)
    message = connect([b"origin", b"first", b"and more"], [b"origin", b"second"])
    assert validator.get_header(message, b"origin") == [b"first", b"and more"]
    with pytest.raises(KeyError):
        validator.get_header(message, b"other")


@pytest.mark.parametrize(
    "origin",
    ["http://example.com", "https://example.com:8443", "https://EXAMPLE.com", "ftp://sub.wild.example"],
)
def test_scheme_port_and_case_do_not_matter_and_wildcards_are_understood(origin: str) -> None:
    assert is_let_in(origin)


@pytest.mark.parametrize("origin", ["null", "file://", "example.com", "http://[broken", ""])
def test_an_origin_without_a_host_is_denied_even_where_all_are_allowed(hosts: Settings, origin: str) -> None:
    hosts.ALLOWED_HOSTS = ["*"]
    assert is_let_in("http://anything.example")
    assert not is_let_in(origin)


def test_an_ipv6_origin_is_let_in(hosts: Settings) -> None:
    hosts.ALLOWED_HOSTS = ["[::1]"]
    assert is_let_in("http://[::1]:8000")
    assert not is_let_in("http://[::2]:8000")


@pytest.mark.parametrize("host", ["localhost", "sub.localhost", "127.0.0.1", "[::1]"])
def test_local_origins_are_let_in_while_debugging_as_in_django(hosts: Settings, host: str) -> None:
    hosts.ALLOWED_HOSTS = []
    assert not is_let_in(f"http://{host}:8000")
    hosts.DEBUG = True
    assert is_let_in(f"http://{host}:8000")
    assert not is_let_in("http://example.com")
    assert validate_host(host, [".localhost", "127.0.0.1", "[::1]"])


def test_the_validator_has_the_name_of_the_function() -> None:
    assert allowed_hosts_only is AllowedHostsOnlyOriginValidator
    assert isinstance(consumer, AllowedHostsOnlyOriginValidator)
    assert (consumer.__name__, consumer.__doc__) == ("consumer", "Call it.")  # type: ignore[attr-defined]
    assert consumer.func is consumer.__wrapped__  # type: ignore[attr-defined]


def test_a_validator_must_define_what_it_validates() -> None:
    with pytest.raises(NotImplementedError, match="BaseOriginValidator must define validate_origin"):
        BaseOriginValidator(lambda message: None)(connect([b"origin", b"http://example.com"]))


def test_a_project_writes_validators_of_its_own() -> None:
    class OnlyHere(BaseOriginValidator):
        def validate_origin(self, message: Message, origin: str) -> bool:
            return origin == "http://here"

    assert OnlyHere(lambda message: 1)(connect([b"origin", b"http://here"])) == 1
    with pytest.raises(DenyConnection):
        OnlyHere(lambda message: 1)(connect([b"origin", b"http://there"]))


def test_a_worker_closes_a_denied_handshake(default_layer: ChannelLayerWrapper) -> None:
    layer = ChannelLayer()
    inbox = Inbox(layer)
    with running(make_worker(layer, [route("websocket.connect", consumer)])):
        inbox.post("websocket.connect", {"path": "/", "headers": [[b"origin", b"http://example.org"]]})
        assert inbox.wait(1)[0] == ("client", {"close": True})
