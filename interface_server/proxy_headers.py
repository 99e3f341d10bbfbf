"""Headers in which a proxy describes the client: its address, its scheme, and the root path of the site.

Trusted only from the proxies named in the configuration: anybody else's header is a client's own claim. Pure.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable
from urllib.parse import unquote

from channels_classic._throttled_log import ThrottledLog

from .asgi import Scope
from .config import InterfaceConfig

logger = logging.getLogger("channels_classic.interface_server")

FOR, PROTO = b"x-forwarded-for", b"x-forwarded-proto"

_BRACKETED = re.compile(r"\[([^\[\]]*:[^\[\]]*)\](?::([0-9]{1,5}))?")
_IPV4 = re.compile(r"([0-9.]+):([0-9]{1,5})")
_ROOT_PATH = re.compile(r"(?!//)(?!.*(?:^|/)\.\.?(?:/|$))/[^\x00-\x20\x7f-\xa0\u2028-\u202e\\?#<>\"'`{}|^]*")

UNIX = "unix"
"""Stands for proxies that connect through a Unix socket and so have no address."""

EVERYBODY = "*"

MOST_PROXIES = 32
"""Addresses of `X-Forwarded-For`, from its end, that are looked at: a header has room for thousands."""

SCHEMES = {"http": ("http", "ws"), "ws": ("http", "ws"), "https": ("https", "wss"), "wss": ("https", "wss")}
"""A forwarded scheme → its names for requests and for WebSockets."""


class ProxyHeaders:
    """Applies the headers of trusted proxies to ASGI scopes."""

    def __init__(self, config: InterfaceConfig) -> None:
        """Raises `ValueError` for an invalid address or network."""
        self._active = config.proxy_headers
        self._root_path_header = config.root_path_header.lower().encode("latin-1")
        self._log = ThrottledLog()
        self._named = {name for name in config.forwarded_allow_ips if name in (UNIX, EVERYBODY)}
        self._networks = [_network(name) for name in config.forwarded_allow_ips if name not in self._named]

    def apply(self, scope: Scope) -> None:
        """Replace `client`, `scheme` and `root_path` by the headers of a trusted proxy."""
        client = scope.get("client")
        if not (self._active or self._root_path_header) or not self._trusts(client[0] if client else UNIX):
            return
        headers = scope.get("headers") or ()
        if self._active:
            scope["client"] = self._client(_values(headers, FOR)) or client
            # A proxy that adds its value behind the client's own leaves several: only where all agree is one believed.
            schemes = {value.lower() for value in _values(headers, PROTO)}
            if len(schemes) == 1 and (found := SCHEMES.get(schemes.pop())):
                scope["scheme"] = found[scope["type"] == "websocket"]
        if self._root_path_header:
            self._apply_root_path(scope, [value for name, value in headers if name.lower() == self._root_path_header])

    def _apply_root_path(self, scope: Scope, values: list[bytes]) -> None:
        """Take the root path from its header; one that is not a path would end up in links and redirects."""
        if not values:
            return
        root_path = unquote(values[-1].strip().decode("latin-1"))
        if len(values) == 1 and (not root_path or _ROOT_PATH.fullmatch(root_path)):
            scope["root_path"] = root_path.rstrip("/")
        else:
            self._log.warn(
                logger,
                "Ignored the header %s: %r. Expected one path that begins with a single slash; see --root-path-header.",
                self._root_path_header.decode("latin-1"),
                b", ".join(values)[:200],
            )

    def _trusts(self, address: str) -> bool:
        if EVERYBODY in self._named or address in self._named:
            return True
        number = _parse(address)
        return number is not None and any(number in network for network in self._networks)

    def _client(self, values: list[str]) -> tuple[str, int] | None:
        """Return the last address that is not a trusted proxy's: addresses before it may be made up by its owner."""
        found = None
        for value in reversed(values[-MOST_PROXIES:]):
            address = _address(value)
            if address is None:
                break
            found = address
            if not self._trusts(address[0]):
                break
        return found


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        raise ValueError(f"--forwarded-allow-ips is {name!r}: expected an address, a network, `unix` or `*`.") from None


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return the values of a header in order, without empty ones."""
    joined = b",".join(value for other, value in headers if other.lower() == name).decode("latin-1")
    return [value for part in joined.split(",") if (value := part.strip())]


def _address(text: str) -> tuple[str, int] | None:
    """Return an address and its port, 0 if it has none: `9.9.9.9`, `9.9.9.9:4711`, `::1`, `[::1]`, `[::1]:4711`.

    Scope ids are refused: behind the `%` of an IPv6 address anything may stand.
    """
    parts = _BRACKETED.fullmatch(text) or _IPV4.fullmatch(text)
    host, port = parts.groups() if parts else (text, None)
    address = None if "%" in host else _parse(host)
    if address is None:
        return None
    number = int(port or 0)
    return str(address), number if number < 65536 else 0


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address; that of an IPv4 client on an IPv6 socket (`::ffff:9.9.9.9`) is its IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
