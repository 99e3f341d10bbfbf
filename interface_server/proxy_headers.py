"""Headers in which a proxy describes the client: its address, its scheme, and the root path of the site.

Trusted only from the proxies named in the configuration: anybody else's header is a client's own claim. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from .asgi import ROOT_PATH, Scope
from .config import InterfaceConfig

FOR, PORT, PROTO = b"x-forwarded-for", b"x-forwarded-port", b"x-forwarded-proto"

UNIX = "unix"
"""Stands for proxies that connect through a Unix socket and so have no address."""

EVERYBODY = "*"

SCHEMES = {"http": ("http", "ws"), "ws": ("http", "ws"), "https": ("https", "wss"), "wss": ("https", "wss")}
"""A forwarded scheme → its names for requests and for WebSockets."""


class ProxyHeaders:
    """Applies the headers of trusted proxies to ASGI scopes."""

    def __init__(self, config: InterfaceConfig) -> None:
        """Raises `ValueError` for an invalid address or network."""
        self._active = config.proxy_headers
        self._named = {name for name in config.forwarded_allow_ips if name in (UNIX, EVERYBODY)}
        self._networks = [
            ipaddress.ip_network(name, strict=False) for name in config.forwarded_allow_ips if name not in self._named
        ]

    def apply(self, scope: Scope) -> None:
        """Replace `client`, `scheme` and `root_path` by the headers of a trusted proxy."""
        client = scope.get("client")
        if not self._active or not self._trusts(client[0] if client else UNIX):
            return
        headers = scope.get("headers") or ()
        address = self._client(_values(headers, FOR))
        if address:
            port = next(iter(_values(headers, PORT)), "")
            scope["client"] = (address, int(port) if port.isdecimal() and len(port) < 6 else 0)
        scheme = next(iter(_values(headers, PROTO)), "").lower()
        if scheme in SCHEMES:
            scope["scheme"] = SCHEMES[scheme][scope["type"] == "websocket"]
        for root_path in _values(headers, ROOT_PATH):
            scope["root_path"] = unquote(root_path)

    def _trusts(self, address: str) -> bool:
        if EVERYBODY in self._named or address in self._named:
            return True
        try:
            number = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(number in network for network in self._networks)

    def _client(self, addresses: list[str]) -> str | None:
        """Return the last address that is not a trusted proxy's: addresses before it may be made up by its owner."""
        found = None
        for address in reversed(addresses):
            if not _is_address(address):
                break
            found = address
            if not self._trusts(address):
                break
        return found


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return the values of a header in order, without empty ones."""
    joined = b",".join(value for other, value in headers if other.lower() == name).decode("latin-1")
    return [value for part in joined.split(",") if (value := part.strip().strip("[]"))]


def _is_address(text: Any) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
