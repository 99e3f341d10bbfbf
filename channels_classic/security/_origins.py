"""Decide whether a web page may open a WebSocket, from the headers of the handshake and the settings; pure functions.

Browsers let a page of any site open a WebSocket to any host, send that host's cookies along, and name the site of the
page in the `Origin` header (RFC 6455, section 10.2). Other clients send any `Origin` they like, or none. The header
therefore protects visitors from foreign pages; it does not protect the site from its clients.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from django.http.request import validate_host

__all__ = ["Origin", "is_host_allowed", "is_origin_allowed", "is_trusted_origin_valid", "parse_origin"]

ANY = "*"

_OPAQUE = ("null", "file://")
"""The origins of pages without a host: those in a sandbox, of any site, and local files."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
"""The schemes of web pages, and the ports that their origins leave out."""

_HOST = r"(?P<host>[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?"
_HOST_PATTERN = re.compile(_HOST, re.ASCII)
_ORIGIN_PATTERN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://" + _HOST, re.ASCII)


class Origin(NamedTuple):
    """A scheme, a host and a port, in lower case and without a final dot; an IPv6 address has its brackets.

    A port that is not named is the default port of the scheme, or `None` for schemes other than http and https.
    """

    scheme: str
    host: str
    port: int | None


def parse_origin(text: str) -> Origin | None:
    """Return the origin that `text` serialises, or `None`: for `null`, for paths, users and non-ASCII hosts.

    The grammar is that of RFC 6454, section 6.2. Browsers send names with other letters in their ASCII form (punycode).
    """
    match = _ORIGIN_PATTERN.fullmatch(text.lower())
    return None if match is None else _origin(match["scheme"], match["host"], match["port"])


def is_origin_allowed(
    origins: Sequence[bytes], host: str | None, allowed_hosts: Sequence[str], trusted_origins: Sequence[str]
) -> bool:
    """Return whether a handshake may go on whose `Origin` headers have the values `origins`.

    `host` is the host the client asks for, with its port; `allowed_hosts` is read as `ALLOWED_HOSTS`,
    `trusted_origins` as `CSRF_TRUSTED_ORIGINS`, with `"*"` for all. Browsers always send one `Origin`: a
    handshake without is that of another client; one with two is refused, because a proxy may have checked the other.
    """
    if ANY in trusted_origins or not origins:
        return True
    if len(origins) > 1:
        return False
    # Neither an origin nor a host has other than ASCII letters, so it does not matter how such bytes are decoded.
    text = origins[0].decode("latin-1")
    origin = parse_origin(text)
    return (
        any(_is_trusted(text, origin, entry) for entry in trusted_origins)
        or _is_same_host(origin, host)
        # Pages of extensions and apps (chrome-extension://…, capacitor://localhost) are not pages of an allowed host.
        or (origin is not None and origin.scheme in _DEFAULT_PORTS and is_host_allowed(origin, allowed_hosts))
    )


def is_host_allowed(origin: Origin | None, allowed_hosts: Sequence[str]) -> bool:
    """Return whether the host of `origin` matches `allowed_hosts`, whatever its scheme and port."""
    return origin is not None and validate_host(origin.host, allowed_hosts)


def is_trusted_origin_valid(entry: object) -> bool:
    """Return whether `entry` can match: an origin, `scheme://*.domain`, `"*"`, `"null"` or `"file://"`."""
    if not isinstance(entry, str):
        return False
    return entry in (ANY, *_OPAQUE) or parse_origin(entry.replace("://*.", "://", 1)) is not None


def _origin(scheme: str, host: str, port: str | None) -> Origin | None:
    host = host.removesuffix(".")
    number = int(port) if port else _DEFAULT_PORTS.get(scheme)
    return Origin(scheme, host, number) if host and (number is None or number < 65536) else None


def _is_same_host(origin: Origin | None, host: str | None) -> bool:
    """Return whether `origin` is the host asked for.

    The scheme is not compared: behind a proxy that ends TLS a page of https:// reaches a server of http://. A host
    without a port has the default port of the page.
    """
    match = _HOST_PATTERN.fullmatch((host or "").lower())
    if origin is None or match is None or origin.scheme not in _DEFAULT_PORTS:
        return False
    return origin == _origin(origin.scheme, match["host"], match["port"])


def _is_trusted(text: str, origin: Origin | None, entry: str) -> bool:
    if origin is None:
        return entry in _OPAQUE and text == entry
    domain = parse_origin(entry.replace("://*.", "://", 1))
    if domain is None or "://*." not in entry:
        return origin == domain
    # As in CSRF_TRUSTED_ORIGINS: "*.example.com" is example.com and every domain below.
    same_scheme = (origin.scheme, origin.port) == (domain.scheme, domain.port)
    return same_scheme and f".{origin.host}".endswith(f".{domain.host}")
