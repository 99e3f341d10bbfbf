"""The origins whose pages may open a WebSocket."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from channels_classic import route, route_class
from channels_classic._throttled_log import ThrottledLog
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import DenyConnection
from channels_classic.generic.websockets import WebsocketConsumer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message
from channels_classic.routing import Router, include
from channels_classic.security import websockets
from channels_classic.security._origins import (
    Origin,
    is_origin_allowed,
    is_trusted_origin_valid,
    parse_origin,
)
from channels_classic.security.websockets import (
    BaseOriginValidator,
    allowed_hosts_only,
    deny_foreign_origin,
)
from channels_classic.sessions import channel_session
from channels_classic.test import ChannelTestCase, WSClient, apply_routes
from tests.support.waiting import eventually
from tests.worker.harness import Inbox, make_worker, running

if TYPE_CHECKING:
    from pytest_django import Settings

HOSTS = ("www.example.com", ".wild.example", "127.0.0.1", "[::1]")


@pytest.fixture(autouse=True)
def _lines_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test begin with the full number of lines per second."""
    monkeypatch.setattr(websockets, "_log", ThrottledLog(10, 1.0))


def allowed(*origins: str, host: str | None = "shop.test:8000", trusted: Any = (), hosts: Any = HOSTS) -> bool:
    return is_origin_allowed([origin.encode("latin-1") for origin in origins], host, hosts, trusted)


# What an origin is


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://example.com", Origin("https", "example.com", 443)),
        ("http://example.com:8000", Origin("http", "example.com", 8000)),
        ("HTTPS://EXAMPLE.com", Origin("https", "example.com", 443)),
        ("https://example.com.", Origin("https", "example.com", 443)),
        ("https://my_host-1", Origin("https", "my_host-1", 443)),
        ("https://xn--exmple-cua.com", Origin("https", "xn--exmple-cua.com", 443)),
        ("http://[::1]:8000", Origin("http", "[::1]", 8000)),
        ("http://[::FFFF:1.2.3.4]", Origin("http", "[::ffff:1.2.3.4]", 80)),
        ("http://127.0.0.1:80", Origin("http", "127.0.0.1", 80)),
        ("chrome-extension://abcdefgh", Origin("chrome-extension", "abcdefgh", None)),
        ("capacitor://localhost", Origin("capacitor", "localhost", None)),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(text: str, origin: Origin) -> None:
    assert parse_origin(text) == origin


MALFORMED = [
    "null",
    "",
    " ",
    "file://",
    "example.com",
    "//example.com",
    "https://",
    "https://.",
    "https:///example.com",
    "https://example.com/",
    "https://example.com/path",
    "https://example.com?query",
    "https://example.com#fragment",
    "https://user@example.com",
    "https://example.com\\@evil.example",
    "https://example.com:",
    "https://example.com:0x50",
    "https://example.com:65536",
    "https://example.com:999999",
    "https://example.com:\u0661",
    "https://exämple.com",
    "https://www.example.com\n",
    "https://www.example.com https://evil.example",
    "https://www.example.com,https://evil.example",
    "https://[::1",
    "https://::1",
    "https://[example.com]",
    "https://*.example.com",
    "https://%77ww.example.com",
    "1https://www.example.com",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_everything_else_is_malformed_and_refused_even_where_all_hosts_are_allowed(text: str) -> None:
    assert parse_origin(text) is None
    if text.isascii():
        assert not allowed(text, hosts=["*"], host=text)


# The decision


def test_a_handshake_without_an_origin_is_no_browsers_and_is_allowed() -> None:
    assert allowed()
    assert allowed(host=None, hosts=[])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://shop.test:8000", "shop.test:8000"),
        ("https://shop.test:8000", "shop.test:8000"),
        ("https://shop.test", "shop.test"),
        ("http://shop.test", "shop.test"),
        ("https://shop.test", "shop.test:443"),
        ("http://shop.test:80", "shop.test"),
        ("https://SHOP.test", "Shop.Test"),
        ("https://shop.test.", "shop.test"),
        ("https://shop.test", "shop.test."),
        ("http://[2001:db8::1]:8000", "[2001:DB8::1]:8000"),
        ("http://192.0.2.1", "192.0.2.1"),
        ("https://xn--exmple-cua.com", "xn--exmple-cua.com"),
    ],
)
def test_the_host_that_the_handshake_asks_for_is_allowed(origin: str, host: str) -> None:
    assert allowed(origin, host=host, hosts=[])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://shop.test:8001", "shop.test:8000"),
        ("https://shop.test", "shop.test:80"),
        ("http://shop.test", "shop.test:443"),
        ("https://shop.test", "shop.test:8443"),
        ("https://evil.shop.test", "shop.test"),
        ("https://shop.test.evil.example", "shop.test"),
        ("https://evilshop.test", "shop.test"),
        ("https://shop.test", "shop.test,evil.example"),
        ("https://shop.test", "user@shop.test"),
        ("https://shop.test", "shop.test:"),
        ("https://shop.test", ""),
        ("https://shop.test", None),
        ("http://[::1]:1", "[::1]:2"),
        ("http://[::1]", "::1"),
        ("ftp://shop.test", "shop.test"),
        ("chrome-extension://shop.test", "shop.test"),
        ("ws://shop.test", "shop.test"),
        ("null", "null"),
        ("file://", ""),
        ("", ""),
    ],
)
def test_another_host_port_or_scheme_is_not_the_host_asked_for(origin: str, host: str | None) -> None:
    assert not allowed(origin, host=host, hosts=[])


@pytest.mark.parametrize(
    "origin",
    [
        "https://www.example.com",
        "http://www.example.com:3000",
        "https://WWW.example.com.",
        "https://wild.example",
        "https://a.b.wild.example:8443",
        "http://127.0.0.1:5173",
        "http://[::1]:5173",
    ],
)
def test_allowed_hosts_are_allowed_with_any_port(origin: str) -> None:
    assert allowed(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "https://evil.www.example.com",
        "https://www.example.com.evil.example",
        "https://evilwild.example",
        "http://127.0.0.2",
        "http://[::2]",
        "http://localhost",
        "capacitor://www.example.com",
        "moz-extension://www.example.com",
        "https://exämple.com",
        "https://www.example.com@evil.example",
    ],
)
def test_foreign_origins_are_refused(origin: str) -> None:
    assert not allowed(origin)


def test_a_star_in_allowed_hosts_allows_every_web_page_but_none_without_a_host() -> None:
    assert allowed("https://anywhere.example", hosts=["*"])
    assert not allowed("null", hosts=["*"])
    assert not allowed("file://", hosts=["*"])
    assert not allowed("chrome-extension://abcdefgh", hosts=["*"])


def test_several_origins_are_refused_even_if_each_is_allowed() -> None:
    assert not allowed("https://www.example.com", "https://www.example.com")
    assert not allowed("https://www.example.com", "https://evil.example", trusted=["https://evil.example"])
    assert allowed("https://www.example.com", "https://evil.example", trusted=["*"])


@pytest.mark.parametrize(
    ("origin", "entry"),
    [
        ("https://app.test", "https://app.test"),
        ("https://app.test", "HTTPS://App.test:443"),
        ("https://app.test:8443", "https://app.test:8443"),
        ("https://app.test", "https://*.app.test"),
        ("https://a.b.app.test", "https://*.app.test"),
        ("https://a.app.test:8443", "https://*.App.test:8443"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("http://[2001:db8::1]:8000", "http://[2001:db8::1]:8000"),
        ("null", "null"),
        ("file://", "file://"),
        ("nonsense", "*"),
        ("https://app.test", "*"),
    ],
)
def test_trusted_origins_are_allowed(origin: str, entry: str) -> None:
    assert not allowed(origin)
    assert allowed(origin, trusted=["https://other.test", entry])
    assert is_trusted_origin_valid(entry)


@pytest.mark.parametrize(
    ("origin", "entry"),
    [
        ("http://app.test", "https://app.test"),
        ("https://app.test:8443", "https://app.test"),
        ("https://a.app.test", "https://app.test"),
        ("https://evilapp.test", "https://*.app.test"),
        ("https://app.test.evil.example", "https://*.app.test"),
        ("http://a.app.test", "https://*.app.test"),
        ("https://a.app.test:8443", "https://*.app.test"),
        ("https://app.test", "app.test"),
        ("https://app.test", "https://app.test/"),
        ("https://app.test", "https://*"),
        ("https://app.test", "https://*.*"),
        ("https://app.test", ""),
        ("null", "file://"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_an_entry_trusts_what_it_names_and_nothing_else(origin: str, entry: str) -> None:
    assert not allowed(origin, trusted=[entry])


@pytest.mark.parametrize("entry", ["app.test", "https://app.test/", "https://*", "https://*.", "", None, 5, b"*"])
def test_an_entry_that_matches_nothing_is_known(entry: object) -> None:
    assert not is_trusted_origin_valid(entry)


# What it reads from the message and the settings


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> Settings:
    settings.ALLOWED_HOSTS = ["www.example.com"]
    return settings


def accept(message: Message, **kwargs: Any) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"accept": True})


async def accept_async(message: Message) -> None:
    accept(message)


class ByClass(WebsocketConsumer):
    """A class-based consumer with the defaults."""


def handshake(origin: bytes | None = b"https://evil.example", *headers: tuple[bytes, bytes], **content: Any) -> Message:
    pairs = [(b"host", b"www.example.com"), *([(b"origin", origin)] if origin is not None else []), *headers]
    content = {"reply_channel": "client!x", "path": "/chat/", "headers": [list(pair) for pair in pairs], **content}
    return Message(content, "websocket.connect", ChannelLayer())


def consumer_of(message: Message, *entries: Any) -> Any:
    match = Router(list(entries) or [route("websocket.connect", accept)]).match(message)
    return None if match is None else match[0]


def passes(message: Message) -> bool:
    return consumer_of(message) is accept


@pytest.mark.parametrize(
    "entry",
    [
        route("websocket.connect", accept, path=r"^/(?P<room>\w+)"),
        include([route("websocket.connect", accept)], path=r"^/chat"),
        route_class(ByClass),
        route("websocket.connect", channel_session(accept)),
        route("websocket.connect", accept_async),
    ],
    ids=["function", "include", "class", "decorated", "coroutine"],
)
def test_no_consumer_of_a_handshake_is_called_for_a_foreign_page(entry: Any) -> None:
    router = Router([entry])
    assert router.match(handshake()) == (deny_foreign_origin, {})
    found = router.match(handshake(b"https://www.example.com"))
    assert found is not None and found[0] is not deny_foreign_origin


def test_the_default_consumer_of_sockets_without_a_route_is_protected_too() -> None:
    router = Router([])
    assert router.match(handshake()) is None
    router.check_default(http_consumer=accept)
    assert router.match(handshake()) == (deny_foreign_origin, {})


def test_later_messages_of_a_socket_are_not_asked_for_an_origin() -> None:
    content = handshake().content
    for channel in ("websocket.receive", "websocket.disconnect", "http.request"):
        assert consumer_of(Message(content, channel, ChannelLayer()), route(channel, accept)) is accept


def test_local_pages_are_allowed_while_debugging_without_allowed_hosts(hosts: Settings) -> None:
    hosts.ALLOWED_HOSTS = []
    local = [b"http://localhost:3000", b"http://app.localhost", b"http://127.0.0.1:3000", b"http://[::1]:3000"]
    assert not any(passes(handshake(origin)) for origin in local)
    hosts.DEBUG = True
    assert all(passes(handshake(origin)) for origin in local)
    assert not passes(handshake())
    hosts.ALLOWED_HOSTS = ["www.example.com"]
    assert not any(passes(handshake(origin)) for origin in local)


def test_a_forwarded_host_counts_only_where_django_reads_it(hosts: Settings) -> None:
    hosts.ALLOWED_HOSTS = []
    forwarded = (b"x-forwarded-host", b"shop.test")
    assert not passes(handshake(b"https://shop.test", forwarded))
    assert passes(handshake(b"https://www.example.com", forwarded))
    hosts.USE_X_FORWARDED_HOST = True
    assert passes(handshake(b"https://shop.test", forwarded))
    assert passes(handshake(b"https://www.example.com"))
    assert not passes(handshake(b"https://www.example.com", forwarded))
    assert not passes(handshake(b"https://shop.test", forwarded, forwarded))
    assert not passes(handshake(b"https://shop.test", (b"x-forwarded-host", b"shop.test, proxy.test")))


def test_two_hosts_are_none(hosts: Settings) -> None:
    hosts.ALLOWED_HOSTS = []
    assert passes(handshake(b"https://www.example.com"))
    assert not passes(handshake(b"https://www.example.com", (b"host", b"www.example.com")))


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        {},
        [[b"host", b"www.example.com"]],
        {"host": b"www.example.com"},
        {"origin": b"https://www.example.com"},
        {"Origin": "https://www.example.com", "host": "www.example.com", b"x-other": "caf\xe9"},
        [[b"origin", b"https://www.example.com"], []],
    ],
)
def test_headers_may_be_missing_or_a_dict_as_tests_of_1x_send_them(headers: Any) -> None:
    assert passes(handshake(headers=headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": b"https://evil.example"},
        {"Origin": b"https://evil.example"},
        {"Origin": "https://evil.example"},
        [[b"ORIGIN", b"https://evil.example"]],
        [[b"origin"]],
        [[b"origin", b""]],
        [[b"origin", b"https://ex\xe4mple.com"]],
    ],
)
def test_no_form_of_headers_gets_a_foreign_origin_past(headers: Any) -> None:
    assert not passes(handshake(headers=headers))


@pytest.mark.parametrize(
    "value", [["https://evil.example"], ("https://*.evil.example",), "*", ["*"], "https://*.evil.example"]
)
def test_the_setting_lists_further_origins(hosts: Settings, value: Any) -> None:
    assert not passes(handshake())
    hosts.CHANNELS_TRUSTED_ORIGINS = value
    assert passes(handshake())


def test_a_wildcard_given_as_a_text_is_not_the_star(hosts: Settings) -> None:
    hosts.CHANNELS_TRUSTED_ORIGINS = "https://*.app.test"
    assert passes(handshake(b"https://a.app.test"))
    assert not passes(handshake())


# Validators decide in its place


def test_a_consumer_with_a_validator_decides_itself() -> None:
    class Partner(BaseOriginValidator):
        def validate_origin(self, message: Message, origin: str) -> bool:
            return origin == "https://partner.example"

    for consumer in (Partner(accept), channel_session(Partner(accept)), Partner(channel_session(accept))):
        entry = route("websocket.connect", consumer)
        assert consumer_of(handshake(b"https://partner.example"), entry) is consumer
        assert consumer_of(handshake(), entry) is consumer
    with pytest.raises(DenyConnection):
        Partner(accept)(handshake())
    with pytest.raises(DenyConnection, match="several Origin headers"):
        Partner(accept)(handshake(b"https://partner.example", (b"origin", b"https://evil.example")))


def test_allowed_hosts_only_refuses_what_names_no_origin_as_ever(hosts: Settings) -> None:
    hosts.CHANNELS_TRUSTED_ORIGINS = "*"
    guarded = allowed_hosts_only(accept)
    for message in (handshake(None), handshake()):
        with pytest.raises(DenyConnection):
            consumer_of(message, route("websocket.connect", guarded))(message)


# What is logged, and what the client gets


@pytest.mark.parametrize(
    ("origins", "reason"),
    [
        (
            ["https://evil.example"],
            "its origin 'https://evil.example' is neither the host it asks for, 'www.example.com', nor in "
            "ALLOWED_HOSTS. If pages of that origin may use this site with the sessions of its visitors, add it to the "
            "setting CHANNELS_TRUSTED_ORIGINS.",
        ),
        (["null"], "its origin 'null' is neither the host it asks for"),
        (["https://a.test\x1b[2J\n"], r"its origin 'https://a.test\x1b[2J\n' is malformed."),
        (["https://exämple.com"], "its origin 'https://exämple.com' is malformed."),
        (
            ["https://a.test", "https://b.test"],
            "it has several Origin headers, 'https://a.test', 'https://b.test', which",
        ),
        (["https://" + "a" * 5000], "its origin 'https://aaaaaaaa"),
    ],
)
def test_a_refusal_is_one_line_with_the_reason_and_the_setting(
    caplog: pytest.LogCaptureFixture, origins: list[str], reason: str
) -> None:
    message = handshake(None, *((b"origin", origin.encode("latin-1")) for origin in origins), path="/" + "x" * 5000)
    with pytest.raises(DenyConnection):
        consumer_of(message)(message)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert text.isprintable() and len(text) < 1000
    assert f" is refused with 403: {reason}" in text


def test_many_refusals_write_a_bounded_number_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    message = handshake(b"https://evil.example")
    for _ in range(1000):
        with pytest.raises(DenyConnection):
            consumer_of(message)(message)
    assert 10 <= len(caplog.records) <= 20, "ten, or twenty if a second ended meanwhile"

    def omitted() -> int:
        with pytest.raises(DenyConnection):
            consumer_of(message)(message)
        found = re.search(r"\((\d+) more were not logged before\)", caplog.text)
        return int(found[1]) if found else 0

    assert eventually(omitted) > 900


@pytest.mark.parametrize("entry", [route("websocket.connect", accept), route_class(ByClass)])
def test_a_worker_closes_the_handshake_of_a_foreign_page(default_layer: ChannelLayerWrapper, entry: Any) -> None:
    layer = ChannelLayer()
    inbox = Inbox(layer)
    with running(make_worker(layer, [entry])):
        inbox.post("websocket.connect", {"path": "/", "headers": [[b"origin", b"https://evil.example"]]})
        assert inbox.wait(1)[0] == ("client", {"close": True})


@apply_routes([route("websocket.connect", accept, path="^/chat/"), ByClass.as_route(path="^/class/")])
class TestWithTheTestClient(ChannelTestCase):
    """A project's own tests see the same."""

    def test_without_an_origin_everything_is_as_ever(self) -> None:
        WSClient().send_and_consume("websocket.connect", path="/chat/")
        WSClient().send_and_consume("websocket.connect", path="/class/")

    def test_an_allowed_origin_connects_and_a_foreign_one_is_denied(self) -> None:
        for path in ("/chat/", "/class/"):
            client = WSClient()
            client.set_header("origin", "https://www.example.com")
            client.send_and_consume("websocket.connect", path=path)
            client.set_header("origin", "https://evil.example")
            with pytest.raises(DenyConnection, match="CHANNELS_TRUSTED_ORIGINS"):
                client.send_and_consume("websocket.connect", path=path)
            assert client.receive() is None

    def test_without_a_route_a_foreign_origin_fails_like_any_other(self) -> None:
        client = WSClient()
        client.set_header("origin", "https://evil.example")
        with pytest.raises(AssertionError, match="No route takes this message"):
            client.send_and_consume("websocket.connect", path="/elsewhere/")
