"""The opening handshake: RFC 6455, sections 1.3 and 4.2, and RFC 7692, section 7."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.server.request_limits import Refused
from channels_classic.interface_server.server.websocket_handshake import check_request, read_handshake, websocket_scope

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"sec-websocket-version", b"13")
CONNECTION = (b"connection", b"Upgrade")
VALID = [CONNECTION, KEY, VERSION]


def test_the_example_of_the_rfc() -> None:
    handshake = read_handshake([*VALID, (b"sec-websocket-protocol", b"chat, superchat")], compression=False)
    assert handshake.subprotocols == ["chat", "superchat"]
    assert handshake.response([], "chat") == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )


def test_headers_of_the_application_are_added() -> None:
    handshake = read_handshake(VALID, compression=False)
    assert handshake.response([(b"x-a", b"1")], None).endswith(b"\r\nx-a: 1\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "version", "headers"),
    [
        (b"POST", "1.1", []),
        (b"GET", "1.0", []),
        (b"GET", "1.1", [(b"transfer-encoding", b"chunked")]),
        (b"GET", "1.1", [(b"content-length", b"0"), (b"content-length", b"10")]),
    ],
)
def test_a_request_that_cannot_be_a_handshake_is_refused(
    method: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> None:
    check_request(b"GET", "1.1", [*VALID, (b"content-length", b" 00 ")])
    with pytest.raises(Refused) as raised:
        check_request(method, version, [*VALID, *headers])
    assert raised.value.status == 400


@pytest.mark.parametrize("connection", [b"upgrade", b"keep-alive, Upgrade", b" UPGRADE ,x"])
def test_the_connection_header_is_a_list(connection: bytes) -> None:
    assert read_handshake([(b"connection", connection), KEY, VERSION], compression=False).accept


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([KEY, VERSION], 426),
        ([(b"connection", b"keep-alive"), KEY, VERSION], 426),
        ([CONNECTION, KEY, (b"sec-websocket-version", b"8")], 426),
        ([CONNECTION, KEY, (b"sec-websocket-version", b"13, 8")], 426),
        ([CONNECTION, KEY], 400),
        ([CONNECTION, VERSION], 400),
        ([*VALID, KEY], 400),
        ([*VALID, VERSION], 400),
        ([CONNECTION, (b"sec-websocket-key", b""), VERSION], 400),
        ([CONNECTION, (b"sec-websocket-key", b"c2hvcnQ="), VERSION], 400),
        ([CONNECTION, (b"sec-websocket-key", b"\xff" * 24), VERSION], 400),
        ([CONNECTION, (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==!"), VERSION], 400),
        ([*VALID, (b"sec-websocket-protocol", b"\xff")], 400),
    ],
)
def test_an_invalid_handshake_is_refused(headers: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(Refused) as raised:
        read_handshake(headers, compression=True)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        (b"permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
        (b"x-unknown, permessage-deflate; client_max_window_bits", b"permessage-deflate; server_max_window_bits=12"),
        (b"permessage-deflate; nonsense", b""),
        (b"permessage-deflate; nonsense, permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
        (b"x-unknown", b""),
        (b"x-unknown," * 1000 + b"permessage-deflate", b""),
    ],
)
def test_the_first_offer_of_compression_that_can_be_met_is_agreed_to(offer: bytes, agreed: bytes) -> None:
    handshake = read_handshake([*VALID, (b"sec-websocket-extensions", offer)], compression=True)
    assert handshake.extension_header.startswith(agreed)
    assert (handshake.extension is not None) == bool(agreed)
    assert read_handshake([*VALID, (b"sec-websocket-extensions", offer)], compression=False).extension is None


def test_offers_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(Refused):
        read_handshake([*VALID, (b"sec-websocket-extensions", b"; =")], compression=True)


@pytest.mark.parametrize(
    ("target", "path", "query"), [(b"/a%20b?c=%20", "/app/a b", b"c=%20"), (b"/", "/app/", b""), (b"/?", "/app/", b"")]
)
def test_the_scope_of_a_websocket(target: bytes, path: str, query: bytes) -> None:
    request = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "https",
        "server": ("a", 443),
        "client": ("b", 1),
        "root_path": "/app",
        "headers": VALID,
        "state": {},
        "method": "GET",
    }
    scope = websocket_scope(request, target, ["chat"])
    assert (scope["type"], scope["scheme"], scope["path"], scope["query_string"]) == ("websocket", "wss", path, query)
    assert scope["raw_path"] == b"/app" + target.partition(b"?")[0]
    assert scope["subprotocols"] == ["chat"]
