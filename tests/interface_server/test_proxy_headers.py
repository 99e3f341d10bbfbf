"""Trust in the headers of proxies. No sockets."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.proxy_headers import ProxyHeaders


def seen(headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None, *allowed: str, kind: str = "http") -> Any:
    scope = {"type": kind, "client": client, "scheme": "http" if kind == "http" else "ws", "headers": headers}
    config = InterfaceConfig(proxy_headers=True, **({"forwarded_allow_ips": allowed} if allowed else {}))  # type: ignore[arg-type]
    ProxyHeaders(config).apply(scope)
    return scope["client"], scope["scheme"]


def for_(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value) for value in values]


LOCAL = ("127.0.0.1", 5)


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
        ([*for_(b"10.1.2.3"), (b"x-forwarded-port", b"80")], ("10.1.2.3", 80)),
        ([*for_(b"10.1.2.3"), (b"x-forwarded-port", b"x")], ("10.1.2.3", 0)),
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


@pytest.mark.parametrize("proto", [b"https", b"HTTPS", b"wss"])
def test_the_scheme_is_named_as_the_kind_of_connection_asks(proto: bytes) -> None:
    assert seen([(b"x-forwarded-proto", proto)], LOCAL)[1] == "https"
    assert seen([(b"x-forwarded-proto", proto)], LOCAL, kind="websocket")[1] == "wss"


def test_a_scheme_nobody_knows_is_ignored() -> None:
    assert seen([(b"x-forwarded-proto", b"javascript")], LOCAL)[1] == "http"


def test_an_address_that_is_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.x"):
        ProxyHeaders(InterfaceConfig(forwarded_allow_ips=("10.0.0.x",)))
