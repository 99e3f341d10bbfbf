"""The opening handshake of a WebSocket (RFC 6455, section 4.2; RFC 7692, section 7). Pure."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from ..asgi import Scope
from .request_limits import Refused
from .request_syntax import Header

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = b"13"

MAX_OFFERS = 1024
"""Bytes of offers of extensions beyond which none is accepted: a head full of them would take 0.1 s to parse."""

DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)
"""The compression that is offered: 32 KiB a socket instead of 300."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A valid handshake: the server's part of it, and the sub-protocols that the client offers."""

    accept: bytes
    subprotocols: list[str]
    extension: PerMessageDeflate | None
    extension_header: bytes

    def response(self, headers: Iterable[Header], subprotocol: str | None) -> bytes:
        """Return the response that opens the WebSocket."""
        lines = [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
            self.accept,
            b"\r\n",
        ]
        if self.extension_header:
            lines += [b"Sec-WebSocket-Extensions: ", self.extension_header, b"\r\n"]
        if subprotocol:
            lines += [b"Sec-WebSocket-Protocol: ", subprotocol.encode("ascii"), b"\r\n"]
        for name, value in headers:
            lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        return b"".join(lines)


def denial(status: int, headers: Sequence[Header], body: bytes) -> bytes:
    """Return the response that refuses a handshake."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()]
    extra = [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    if not any(name.lower() == b"content-type" for name, _ in headers):
        extra.append((b"content-type", b"text/plain; charset=utf-8"))
    for name, value in (*headers, *extra):
        lines += [name, b": ", value, b"\r\n"]
    return b"".join([*lines, b"\r\n", body])


def check_request(method: bytes, version: str, headers: Iterable[Header]) -> None:
    """Raise `Refused` for a request that cannot be a handshake: not a GET of HTTP/1.1 (RFC 6455, 4.2.1), or a body."""
    if method != b"GET" or version == "1.0":
        raise Refused(400)
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t")):
            raise Refused(400)


def read_handshake(headers: Iterable[Header], *, compression: bool) -> Handshake:
    """Return the handshake of a request whose `Upgrade` names WebSockets. Raises `Refused` if it is not valid."""
    found: dict[bytes, list[bytes]] = {
        b"connection": [],
        b"sec-websocket-key": [],
        b"sec-websocket-version": [],
        b"sec-websocket-protocol": [],
        b"sec-websocket-extensions": [],
    }
    for name, value in headers:
        if name in found:
            found[name].append(value.strip())
    _connection, keys, versions, protocols, extensions = found.values()
    if b"upgrade" not in _items(_connection, lower=True):
        raise Refused(426)
    if len(versions) != 1 or len(keys) != 1 or not _is_key(keys[0]):
        raise Refused(400)
    if versions[0] != VERSION:
        raise Refused(426)
    try:
        offered = [item.decode("ascii") for item in _items(protocols)]
    except UnicodeDecodeError:
        raise Refused(400) from None
    accept = b64encode(hashlib.sha1(keys[0] + GUID, usedforsecurity=False).digest())
    is_readable = compression and sum(map(len, extensions)) <= MAX_OFFERS
    extension, extension_header = _negotiate(extensions) if is_readable else (None, b"")
    return Handshake(accept, offered, extension, extension_header)


def websocket_scope(scope: Scope, target: bytes, subprotocols: list[str]) -> Scope:
    """Return the ASGI scope of a WebSocket, from that of its request and the target of that."""
    raw_path, _, query_string = target.partition(b"?")
    path = raw_path.decode("ascii")
    return {
        "type": "websocket",
        "asgi": {**scope["asgi"], "spec_version": "2.4"},
        "http_version": scope["http_version"],
        "scheme": "wss" if scope["scheme"] == "https" else "ws",
        "server": scope["server"],
        "client": scope["client"],
        "root_path": scope["root_path"],
        "path": scope["root_path"] + (unquote(path) if "%" in path else path),
        "raw_path": scope["root_path"].encode("ascii") + raw_path,
        "query_string": query_string,
        "headers": scope["headers"],
        "subprotocols": subprotocols,
        "state": scope["state"],
    }


def _items(values: Iterable[bytes], *, lower: bool = False) -> list[bytes]:
    """Return the items of a header that is a list, from all of its lines."""
    items = [item.strip() for value in values for item in value.split(b",")]
    return [item.lower() if lower else item for item in items if item]


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key)) == 16 and len(key) == 24
    except binascii.Error:
        return False


def _negotiate(values: Iterable[bytes]) -> tuple[PerMessageDeflate | None, bytes]:
    """Accept the first offer of compression that can be met."""
    try:
        offers = [offer for value in values for offer in parse_extension(value.decode("ascii"))]
    except (InvalidHeader, UnicodeDecodeError):
        raise Refused(400) from None
    for name, parameters in offers:
        if name == DEFLATE.name:
            try:
                agreed, extension = DEFLATE.process_request_params(parameters, [])
            except NegotiationError:
                continue
            return extension, build_extension([(name, agreed)]).encode("ascii")
    return None, b""
