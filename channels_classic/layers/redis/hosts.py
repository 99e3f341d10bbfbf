"""The `hosts` of a Redis layer: every form that users of asgi_redis, channels_redis and redis-py write. Pure.

A form that cannot be understood is refused with the one that can, when the layer is made, so before anything connects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

SCHEMES = ("redis", "rediss", "unix")
LONGEST_PATH = 107
"""Bytes of the path of a Unix socket on Linux; see `unix(7)`."""

EXPECTED = "a URL such as 'redis://:password@localhost:6379/0', or a pair ('localhost', 6379)"

_REPLACEMENTS = {
    "tcp": "write 'redis://' for it",
    "redis+tls": "write 'rediss://' for it",
    "redis+ssl": "write 'rediss://' for it",
    "redis+socket": "write 'unix:///path/of/the/socket?db=0'",
    "redis+unix": "write 'unix:///path/of/the/socket?db=0'",
    "valkey": "write 'redis://' for it, which Valkey understands",
    "valkeys": "write 'rediss://' for it, which Valkey understands",
}
"""Schemes of other libraries, and what is written here."""

_ENCODE = "percent-encode '#', '/', '?', '@', '[', ']' and '%' in a password"
_SENTINEL = "use RedisSentinelChannelLayer, with the sentinels as `hosts` and the master's name in `services`"


@dataclass(frozen=True)
class Host:
    """One server: its URL, and arguments for redis-py that the URL does not hold."""

    url: str = field(repr=False)  # it may hold a password
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """The URL without user, password and options, for logs."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def parse_hosts(hosts: Any) -> list[Host]:
    """Return what `hosts` names, in order; localhost when it is empty. Raise `ValueError`."""
    if hosts == "":
        raise ValueError(f"`hosts` is empty: expected a list, each item {EXPECTED}.")
    if isinstance(hosts, str) and re.search(r",\s*\w+://", hosts):
        raise ValueError(f"`hosts` is text with several URLs: expected a list, each item {EXPECTED}.")
    if isinstance(hosts, (str, bytes, Mapping)):
        shown = hidden(hosts)
        raise ValueError(f"`hosts` is a list; {shown} is a single host: write [{shown}].")
    if hosts is None:
        hosts = []
    if not isinstance(hosts, Iterable):
        raise ValueError(f"`hosts` is of type {type(hosts).__name__}: expected a list, each item {EXPECTED}.")
    if isinstance(hosts, Set):
        raise ValueError("`hosts` is a set, whose order differs from process to process: write a list.")
    found = list(hosts)
    if len(found) == 2 and isinstance(found[0], str) and isinstance(found[1], int):
        shown = hidden(tuple(found))
        raise ValueError(f"`hosts` is {shown}, a single pair: write [{shown}].")
    return [_parse(host) for host in found] or [_from_pair(("localhost", 6379))]


def parse_sentinels(hosts: Any) -> list[tuple[str, int]]:
    """Return the sentinels that `hosts` names, as pairs of host and port. Raise `ValueError`."""
    example = "[('sentinel1', 26379), ('sentinel2', 26379)]"
    for host in hosts if isinstance(hosts, (list, tuple)) else ():
        if isinstance(host, Mapping) and {"sentinels", "master_name"} & set(host):
            raise ValueError(
                f"A dict in `hosts` names sentinels and their master: write hosts={hidden(host.get('sentinels', []))} "
                f"and services={[host.get('master_name', 'mymaster')]!r} in CONFIG; other keys are `connection_kwargs`."
            )
    if isinstance(hosts, (str, bytes, Mapping)):
        raise ValueError(
            f"`hosts` is a list of (host, port) pairs of sentinels, such as {example}, not {hidden(hosts)}."
        )
    pairs = []
    if not isinstance(hosts, (Iterable, type(None))):
        raise ValueError(f"`hosts` is of type {type(hosts).__name__}: expected pairs of sentinels, such as {example}.")
    for host in hosts or [("localhost", 26379)]:
        if isinstance(host, (str, bytes)) or not isinstance(host, Sequence) or len(host) != 2:
            raise ValueError(
                f"`hosts` names sentinels as (host, port) pairs, such as {example}; {hidden(host)} is not one."
            )
        _from_pair(host)  # raises what is wrong with it
        pairs.append((host[0], _port(host[1])))
    return pairs


def _parse(host: Any) -> Host:
    if isinstance(host, str):
        return _from_url(host)
    if isinstance(host, Mapping):
        return _from_dict(host)
    if isinstance(host, Sequence) and not isinstance(host, bytes):
        if len(host) == 2:
            return _from_pair(host)
        raise ValueError(f"{hidden(tuple(host))} in `hosts` has {len(host)} items: expected {EXPECTED}.")
    raise ValueError(f"{hidden(host)} in `hosts` is of type {type(host).__name__}: expected {EXPECTED}.")


def _from_pair(pair: Sequence[Any]) -> Host:
    name, port = pair
    if not isinstance(name, str):
        raise ValueError(f"The host {hidden(name)} in `hosts` is of type {type(name).__name__}: expected text.")
    if "://" in name:
        raise ValueError(
            f"A pair or dict in `hosts` has the URL {hidden(name)} as its host: write the URL alone, or as 'address'."
        )
    if not name or set("/@ ") & set(name) or (":" in name and not _is_ipv6(name)) or not _can_be_looked_up(name):
        example = name.strip("[]") if _is_ipv6(name.strip("[]")) else "localhost"
        raise ValueError(f"The host {hidden(name)} in `hosts` is not a name or an address: expected {example!r}.")
    return Host(f"redis://{f'[{name}]' if ':' in name else name}:{_port(port)}")


def _is_ipv6(name: str) -> bool:
    try:
        IPv6Address(name)
    except ValueError:
        return False
    return True


def _can_be_looked_up(name: str) -> bool:
    try:
        name.encode("idna")  # as `getaddrinfo` does: for a part that is empty, or longer than 63 characters, it raises
    except UnicodeError:
        return False
    return True


def _from_url(url: str) -> Host:
    scheme, mark, rest = url.partition("://")
    if not mark or "@" in scheme:
        raise ValueError(f"{hidden(url)} in `hosts` is not a URL: {_as_url(url)}.")
    if scheme not in SCHEMES:
        hint = _REPLACEMENTS.get(scheme, f"expected one of {', '.join(SCHEMES)}")
        hint = _SENTINEL if "sentinel" in scheme else hint
        raise ValueError(f"A URL in `hosts` begins with {scheme!r}: {hint}.")
    if "#" in rest:
        raise ValueError(f"A URL in `hosts` has a '#', which ends the part that is read: {_ENCODE} ('#' is '%23').")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"A URL in `hosts` has '[' or ']', but not around an IPv6 address: {_ENCODE}.") from None
    # Without a user and password the path of a Unix socket may have one.
    if "@" in parts.path + parts.query and (scheme != "unix" or parts.netloc):
        raise ValueError(f"A URL in `hosts` has a '/' or '?' before its '@': {_ENCODE}.")
    return _from_unix_url(url, parts) if scheme == "unix" else _from_tcp_url(url, parts)


def _from_tcp_url(url: str, parts: SplitResult) -> Host:
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"A URL in `hosts` has no valid port: expected {EXPECTED}; {_ENCODE}.") from None
    if set(parts.hostname or "") & set(" ,\t") or not _can_be_looked_up(unquote(parts.hostname or "")):
        raise ValueError(f"A URL in `hosts` names the host {parts.hostname!r}: expected one name or address.")
    if port == 0:
        raise ValueError(f"A URL in `hosts` names port 0: expected {EXPECTED}.")
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdecimal()):
        raise ValueError(f"A URL in `hosts` names the database {database!r}: expected a number, as in '…:6379/0'.")
    _check_parameters(parts, {"db": database, "host": parts.hostname, "port": port})
    return Host(url)


def _from_unix_url(url: str, parts: SplitResult) -> Host:
    if parts.netloc.rpartition("@")[2] or len(parts.path) < 2:  # it may be a part of a password, so it is not shown
        raise ValueError("A URL in `hosts` names no absolute path of a socket: write 'unix:///path/of/it?db=0'.")
    if len(os.fsencode(unquote(parts.path))) > LONGEST_PATH:
        raise ValueError(f"A URL in `hosts` has a path of more than {LONGEST_PATH} bytes: too long for a Unix socket.")
    _check_parameters(parts, {"path": parts.path})
    return Host(url)


def _check_parameters(parts: SplitResult, named: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a query parameter that is empty, or that the URL gives twice: redis-py drops one."""
    named = {**named, "password": parts.password, "username": parts.username}
    given = parse_qs(parts.query, keep_blank_values=True)
    for name, values in given.items():
        if "password" in given and name not in named and not (values[0] and len(values) == 1):
            raise ValueError(f"A URL in `hosts` has an '&' behind its 'password': {_ENCODE} ('&' is '%26').")
        if len(values) > 1 or named.get(name):
            raise ValueError(f"A URL in `hosts` gives {name!r} twice: write it once.")
        if not values[0]:
            raise ValueError(f"A URL in `hosts` has no value for {name!r}: give one, or leave it out.")


def _as_url(text: str) -> str:
    """Return how to write as a URL what is not one."""
    name, _, port = text.rpartition(":")
    if hidden(text) != repr(text):
        return f"expected {EXPECTED}"
    if text.startswith("/"):
        return f"write 'unix://{text}?db=0'"
    if name and port.isdecimal() and ":" not in name.strip("[]"):
        return f"write 'redis://{text}/0'"
    return f"expected {EXPECTED}"


def _from_dict(given: Mapping[str, Any]) -> Host:
    """Understand the dicts of channels_redis 4 (`address`, with arguments of redis-py) and those arguments alone."""
    options = dict(given)
    if "sentinels" in options or "master_name" in options:
        raise ValueError(f"A dict in `hosts` names sentinels: {_SENTINEL}.")
    if "address" in options:
        base = _parse(options.pop("address"))
    elif "unix_socket_path" in options or "path" in options:
        path = options.pop("unix_socket_path", None) or options.pop("path", None)
        if not isinstance(path, str):
            raise ValueError(f"The path {path!r} of a dict in `hosts` is of type {type(path).__name__}: expected text.")
        base = _from_url(f"unix://{quote(path)}")
    elif "host" in options:
        base = _from_pair((options.pop("host"), options.pop("port", 6379)))
    else:
        keys = ", ".join(map(hidden, options)) or "nothing"
        raise ValueError(f"A dict in `hosts` has {keys}: expected 'address' or 'host', or {EXPECTED}.")
    secure = options.pop("ssl", False)
    if not isinstance(secure, bool):
        raise ValueError(
            f"The 'ssl' of a dict in `hosts` is of type {type(secure).__name__}: expected True, with arguments of "
            "redis-py such as 'ssl_ca_certs' and 'ssl_cert_reqs' beside it."
        )
    if secure and base.url.startswith("unix:"):
        raise ValueError("A dict in `hosts` has 'ssl' for a Unix socket, which has no TLS: remove it.")
    if secure:
        base = Host(base.url.replace("redis://", "rediss://", 1), base.options)
    return Host(base.url, {**base.options, **options})


def _port(port: Any) -> int:
    number = int(port) if isinstance(port, str) and port.isdecimal() else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise ValueError(f"The port {hidden(port)} in `hosts` is not valid: expected a number from 1 to 65535.")
    return number


def hidden(host: Any) -> str:
    """Show what was given, unless it may hold a password."""
    text = repr(host)
    may_hold_one = "@" in text or "pass" in text or (isinstance(host, tuple) and str in map(type, host[2:]))
    return f"what it holds (of type {type(host).__name__})" if may_hold_one else text
