"""Trust in the headers of proxies. No sockets."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.proxy_headers import ProxyHeaders

LOCAL = ("127.0.0.1", 5)


def seen(headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None, *allowed: str, kind: str = "http") -> Any:
    scope = {"type": kind, "client": client, "scheme": "http" if kind == "http" else "ws", "headers": headers}
    config = InterfaceConfig(proxy_headers=True, **({"forwarded_allow_ips": allowed} if allowed else {}))  # type: ignore[arg-type]
    ProxyHeaders(config).apply(scope)
    return scope["client"], scope["scheme"]


def for_(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value) for value in values]


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (for_(b"10.1.2.3"), ("10.1.2.3", 0)),
        (for_(b" 10.1.2.3 "), ("10.1.2.3", 0)),
        (for_(b"1.1.1.1, 10.1.2.3"), ("10.1.2.3", 0)),
        (for_(b"1.1.1.1", b"10.1.2.3"), ("10.1.2.3", 0)),
        (for_(b"10.1.2.3, 127.0.0.1"), ("10.1.2.3", 0)),
        (for_(b"1043::a321:1"), ("1043::a321:1", 0)),
        (for_(b"[1043::a321:1]"), ("1043::a321:1", 0)),
        ([*for_(b"10.1.2.3"), (b"x-forwarded-port", b"80")], ("10.1.2.3", 0)),
        (for_(b"9.9.9.9:4711"), ("9.9.9.9", 4711)),
        (for_(b"1.1.1.1:1, 9.9.9.9:4711, 127.0.0.1:80"), ("9.9.9.9", 4711)),
        (for_(b"[2001:DB8::1]:4711"), ("2001:db8::1", 4711)),
        (for_(b"9.9.9.9:99999"), ("9.9.9.9", 0)),
        (for_(b"::ffff:9.9.9.9"), ("9.9.9.9", 0)),
        (for_(b"9.9.9.9", *[b"127.0.0.1"] * 31), ("9.9.9.9", 0)),
        (for_(b"9.9.9.9", *[b"127.0.0.1"] * 5000), ("127.0.0.1", 0)),
        (for_(b"9.9.9.9:"), LOCAL),
        (for_(b"9.9.9.9:4711x"), LOCAL),
        (for_(b"[9.9.9.9]:4711"), LOCAL),
        (for_(b"[::1"), LOCAL),
        (for_(b"::1]"), LOCAL),
        (for_(b"fe80::1%eth0"), LOCAL),
        (for_(b"fe80::1%\x1b[31m"), LOCAL),
        (for_(b"[fe80::1%eth0]:1"), LOCAL),
        (for_(b"unknown"), LOCAL),
        (for_(b"<script>"), LOCAL),
        (for_(b""), LOCAL),
        ([], LOCAL),
        ([(b"x-forwarded-port", b"80")], LOCAL),
    ],
)
def test_the_last_address_that_is_not_ours_is_the_client(headers: Any, client: Any) -> None:
    assert seen(headers, LOCAL)[0] == client


def test_with_everybody_trusted_the_first_address_counts() -> None:
    assert seen(for_(b"1.1.1.1, 10.1.2.3"), ("8.8.8.8", 5), "*")[0] == ("1.1.1.1", 0)


def test_a_web_server_on_a_unix_socket_is_believed_if_named() -> None:
    assert seen(for_(b"10.1.2.3"), None)[0] == ("10.1.2.3", 0)
    assert seen(for_(b"10.1.2.3"), None, "127.0.0.1")[0] is None


def test_a_scheme_counts_only_where_all_proxies_agree() -> None:
    several = [b"https, http"], [b"https", b"http"], [b"http", b"https"], [b"https, "], [b"https, https"]
    found = [seen([(b"x-forwarded-proto", value) for value in values], LOCAL)[1] for values in several]
    assert found == ["http", "http", "http", "https", "https"]


@pytest.mark.parametrize("proto", [b"https", b"HTTPS", b"wss"])
def test_the_scheme_is_named_as_the_kind_of_connection_asks(proto: bytes) -> None:
    assert seen([(b"x-forwarded-proto", proto)], LOCAL)[1] == "https"
    assert seen([(b"x-forwarded-proto", proto)], LOCAL, kind="websocket")[1] == "wss"


def test_a_scheme_nobody_knows_is_ignored() -> None:
    assert seen([(b"x-forwarded-proto", b"javascript")], LOCAL)[1] == "http"


def test_an_address_that_is_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.x"):
        ProxyHeaders(InterfaceConfig(proxy_headers=True, forwarded_allow_ips=("10.0.0.x",)))


def root_path(*values: bytes, client: tuple[str, int] = LOCAL, option: str = "Daphne-Root-Path") -> Any:
    headers = [(b"daphne-root-path", value) for value in values]
    scope = {"type": "http", "client": client, "scheme": "http", "headers": headers, "root_path": "/before"}
    ProxyHeaders(InterfaceConfig(root_path_header=option)).apply(scope)
    return scope["root_path"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"/site", "/site"), (b"/site/", "/site"), (b"/caf%C3%A9/x", "/café/x"), (b"", ""), (b" /a ", "/a"), (b"/", "")],
)
def test_a_root_path_is_taken_from_its_header(value: bytes, expected: str) -> None:
    assert root_path(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"https://evil.example", b"//evil.example", b"/%2fevil.example", b"evil", b"/a?b", b"/a#b", b"/..", b"/a/../b",
        b"/%2e%2e/b", b"/a%0d%0ab", b"/a%00", b"/a b", b"/\\evil", b"/<script>", b"javascript:x", b"/a%e2%80%a8b",
    ],
)  # fmt: skip
def test_what_is_no_path_is_ignored_with_a_line_that_shows_it(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert root_path(value) == "/before"
    (record,) = caplog.records
    assert "--root-path-header" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_root_path_that_is_given_twice_is_ignored() -> None:
    assert root_path(b"/a", b"/b") == "/before"


def test_nobody_sets_the_root_path_without_the_option_or_from_elsewhere() -> None:
    assert root_path(b"/a", option="") == "/before"
    assert root_path(b"/a", option="X-Script-Name") == "/before"
    assert root_path(b"/a", client=("8.8.8.8", 1)) == "/before"
    assert root_path() == "/before"
