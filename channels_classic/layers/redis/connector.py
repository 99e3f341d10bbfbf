"""The address of a Redis, and connections to it: opened by redis-py, without anything that repeats a command."""

from __future__ import annotations

import asyncio
import errno
import inspect
import math
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.redis.handover import QUICK, UNPROVEN, Former, find_proof
from channels_classic.layers.redis.tls import check_tls

T = TypeVar("T")

REPLY_TIMEOUT = 5.0
"""Seconds to wait for a reply, beyond the time a command may block, before the connection counts as lost."""

SILENT = 30.0
"""Seconds for which a sentinel, or a node of a cluster, that did not answer is asked last."""

NEXT_STEPS = {
    "NOAUTH": "Give the password in `hosts` in CHANNEL_LAYERS, as in redis://:password@host:6379/0.",
    "WRONGPASS": "Check the user and the password in `hosts` in CHANNEL_LAYERS.",
    "NOPERM": "Allow the user what docs/reference/layers.md lists, for keys that begin with `prefix`.",
    "OOM": "Raise `maxmemory`, or find out which channel nobody takes from.",
    "READONLY": "It is a replica: let `hosts` in CHANNEL_LAYERS name the master.",
    "MISCONF": 'It cannot save its data: look into its log, or run it with `save ""`.',
    "LOADING": "It is reading its data from disk; wait until it has finished.",
    "MASTERDOWN": "It is a replica without a master: let `hosts` in CHANNEL_LAYERS name the master.",
    "MAXCLIENTS": "Raise `maxclients` of the server, or find out who holds connections: CLIENT LIST.",
    "NOREPLICAS": "Start its replicas, or lower `min-replicas-to-write` of the server.",
    "CLUSTERDOWN": "Check the state of the cluster with CLUSTER INFO.",
}
"""The next step after an error of the server, by its code."""

FIXED: Mapping[str, Any] = {"protocol": 2, "decode_responses": False, "health_check_interval": 0}
"""Options of redis-py that are the layer's, whatever is given: it checks connections itself."""

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")

ANSWERED = "The server runs, and answered this: look into its log."

UNREACHABLE = "Check that the server runs and that `hosts` in CHANNEL_LAYERS names it."


class Silent:
    """Servers that did not answer lately. They are asked last: one that hangs would hold up each new connection."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, int], float] = {}

    def last(self, servers: Iterable[T], address: Callable[[T], tuple[str, int]]) -> list[T]:
        """Return servers in the order in which to ask them."""
        oldest = time.monotonic() - SILENT
        return sorted(servers, key=lambda server: self._noted.get(address(server), -math.inf) > oldest)

    def note(self, host: str, port: int) -> None:
        """Record that a server did not answer."""
        self._noted[host, port] = time.monotonic()


class Connector:
    """Opens connections to one Redis; none of them repeats a command by itself."""

    has_lost_scripts = False
    """True after a connection found that scripts are missing although the server has the last one."""

    def __init__(self, url: str, connection_kwargs: dict[str, Any]) -> None:
        options = {
            "socket_timeout": REPLY_TIMEOUT,
            "socket_connect_timeout": REPLY_TIMEOUT,
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),  # redis-py accepts it for TCP only
            **connection_kwargs,
            "protocol": 2,
        }
        if (provider := connection_kwargs.get("credential_provider")) is not None:
            options["credential_provider"] = _Credentials(provider)
        self._pool = redis.ConnectionPool.from_url(url, **options)
        self._async_pool = redis.asyncio.ConnectionPool.from_url(url, **options)
        # Behind the parameters of the URL, which come before arguments.
        self._pool.connection_kwargs.update(FIXED, retry=redis.retry.Retry(NoBackoff(), 0))
        self._async_pool.connection_kwargs.update(FIXED, retry=redis.asyncio.retry.Retry(NoBackoff(), 0))
        # Without the name and version of redis-py it writes nothing before `connection_async` takes over the transport.
        # A server with too many clients closes it at once: redis-py would drop it with an error that nobody looks at.
        self._async_pool.connection_kwargs.setdefault("driver_info", None)
        where = self._pool.connection_kwargs
        self.reply_timeout: float = where["socket_timeout"] or REPLY_TIMEOUT  # an argument or part of the URL
        self.where = (
            where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}/{where.get('db', 0)}"
        )

    def open(self) -> Any:
        """Return a new connection of redis-py, not yet connected. Raise `LayerUnavailable`."""
        return self._make(self._pool, self.address())

    async def open_async(self) -> Any:
        """The same for asyncio."""
        return self._make(self._async_pool, await asyncio.to_thread(self.address) if self.dynamic else {})

    def sibling(self, raw: Any) -> Any:
        """Return another connection to the server of `raw`."""
        return self._make(self._pool, _address(raw))

    def sibling_async(self, raw: Any) -> Any:
        """The same for asyncio."""
        return self._make(self._async_pool, _address(raw))

    def find_proof(self, raw: Any, former: Former, lineage: str) -> str:
        """Return whether the server of `raw`, which was promoted, has all data of the former master: see `handover`."""
        here = _address(raw)
        if not here:
            return UNPROVEN  # a Unix socket: the replicas are elsewhere
        return find_proof(former, lineage, lambda address: self._make(self._pool, {**here, **address, **QUICK}))

    questions: Sequence[Sequence[str]] = ()
    """Commands whose replies tell `place` where in a cluster the server is."""

    def place(self, replies: Sequence[Any]) -> tuple[str, list[str]]:
        """Return the id of the node that was asked, and those of the other masters that are alive; pure."""
        return "", []

    epoch = (0, 0)
    """The highest number of an epoch that a connection was registered at, and the first version of that epoch."""

    dynamic = False
    """True if `address` asks other servers for the present address."""

    def address(self) -> dict[str, Any]:
        """Return the current host and port where they differ from the URL's. Raise `LayerUnavailable`."""
        return {}

    def _make(self, pool: Any, address: dict[str, Any]) -> Any:
        try:
            return pool.connection_class(**{**pool.connection_kwargs, **address})
        except OSError as error:  # redis-py reads its own version from a file, for which no descriptor may be left
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException) -> LayerUnavailable:
        """Return the error to raise when talking to this server failed."""
        return LayerUnavailable(f"Redis {self.where}", described(error), next_step(error))


class NoCredentials(redis.ConnectionError):
    """The credential provider of a project failed."""


class _Credentials(redis.CredentialProvider):
    """The credential provider of a project. Its failures are those of a connection, so that programs try again."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def get_credentials(self) -> Any:
        with self._reported():
            return self._provider.get_credentials()

    async def get_credentials_async(self) -> Any:
        with self._reported():
            return await self._provider.get_credentials_async()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            name = type(self._provider).__name__
            raise NoCredentials(f"its credential provider {name} raised {type(error).__name__}: {error}") from error


def parameters_of(url: str) -> dict[str, Any]:
    """Return the arguments of a connection of redis-py that a URL holds. Raise `ValueError`."""
    found: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    return found


def check_options(url: str, connection_kwargs: Mapping[str, Any]) -> None:
    """Raise `ValueError` for arguments that no connection of redis-py to `url` takes. Connects to nothing."""
    try:
        parameters = parameters_of(url)
        _check_values({**connection_kwargs, **parameters})
        twice = [name for name, value in connection_kwargs.items() if parameters.get(name, value) != value]
        if twice:
            raise ValueError(f"{twice[0]!r} is given twice, in a URL and beside it, with two values: write it once")
        connector = Connector(url, dict(connection_kwargs))
        connector._make(connector._pool, {})
        check_tls({**connection_kwargs, **parameters})
    except (AttributeError, TypeError, ValueError, redis.RedisError) as error:
        unexpected = _UNEXPECTED.search(str(error))
        problem = _unexpected_argument(unexpected[1], url) if unexpected else str(error).rstrip(".")
        raise ValueError(f"`hosts` or `connection_kwargs`: {problem}.") from error


def _unexpected_argument(name: str, url: str) -> str:
    query = parse_qs(urlsplit(url).query)
    if "password" in query and name in query:  # it may be a part of the password, so it is not shown
        return "a URL has 'password', and an argument that redis-py does not know: write '%26' for '&' in a password"
    if name.startswith("ssl") and not url.startswith("rediss:"):
        return f"{name!r} is for TLS, for which a URL begins with 'rediss://'"
    known = sorted(_parameters(redis.SSLConnection) | _parameters(redis.UnixDomainSocketConnection))
    if name in known:
        return (
            f"{name!r} does not go with a Unix socket" if url.startswith("unix:") else f"{name!r} is for Unix sockets"
        )
    near = get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{name!r} is not an argument of redis-py's connection{hint}"


_SECRETS = ("credential_provider", "password", "username")
"""Arguments whose values are not shown."""


def _check_values(options: Mapping[str, Any]) -> None:
    """Raise `ValueError` for values that redis-py takes and that fail when it connects or reads, or do nothing."""
    for name, (is_valid, expected) in _VALUES.items():
        value = options.get(name)
        if value is not None and not is_valid(value):
            shown = f"of type {type(value).__name__}" if name in _SECRETS else repr(value)
            raise ValueError(f"{name!r} is {shown}, expected {expected}")


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _is_database(value: object) -> bool:
    return str(value).isascii() and str(value).isdecimal()


def _is_client_name(value: object) -> bool:
    return isinstance(value, str) and all("!" <= character <= "~" for character in value)


def _are_socket_options(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, int) and isinstance(number, (int, bytes)) for name, number in value.items()
    )


def _exists(path: Any) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True  # another user than this one may see it
    except (OSError, TypeError, ValueError):
        return False
    return True


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "client_name": (_is_client_name, "ASCII text without spaces"),
    "credential_provider": (lambda value: hasattr(value, "get_credentials"), "a CredentialProvider of redis-py"),
    "db": (_is_database, "the number of a database"),
    "decode_responses": (lambda value: not value, "False, because messages are bytes"),
    "password": (lambda value: isinstance(value, (str, bytes)), "text"),
    "protocol": (lambda value: value == 2, "2, the protocol that the layer speaks"),
    "retry": (lambda value: False, "none: a command is never repeated, so that no message arrives twice"),
    "socket_connect_timeout": (_is_time, "seconds above 0"),
    "socket_keepalive_options": (_are_socket_options, "a dict of numbers, such as {socket.TCP_KEEPIDLE: 60}"),
    "socket_timeout": (_is_time, "seconds above 0"),
    "socket_type": (lambda value: isinstance(value, int), "an address family, such as socket.AF_INET"),
    "ssl_ca_certs": (_exists, "the path of a file that exists"),
    "ssl_ca_path": (_exists, "the path of a folder that exists"),
    "ssl_certfile": (_exists, "the path of a file that exists"),
    "ssl_keyfile": (_exists, "the path of a file that exists"),
    "ssl_min_version": (lambda value: isinstance(value, ssl.TLSVersion), "a member of ssl.TLSVersion"),
    "username": (lambda value: isinstance(value, (str, bytes)), "text"),
}
"""Arguments that are often wrong, with the rule for each."""


def _parameters(kind: type[Any]) -> set[str]:
    return {name for base in kind.__mro__[:-1] for name in inspect.signature(base.__init__).parameters} - {"self"}  # type: ignore[misc]  # a look at its arguments


def _address(raw: Any) -> dict[str, Any]:
    return {"host": raw.host, "port": raw.port} if hasattr(raw, "port") else {}


def error_code(error: BaseException) -> str:
    """Return the code of an error that a server answered, such as `NOPERM`; empty for others."""
    # redis-py strips the code from the text of most errors that it reads itself.
    first = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return first if isinstance(error, redis.RedisError) and first.isalpha() and first.isupper() else ""


def described(error: BaseException) -> str:
    """Return the text of `error`, which begins with its code if the server answered it."""
    text, code = str(error).rstrip(".") or type(error).__name__, error_code(error)
    return text if code in ("", "ERR") or text.startswith(code) else f"{code} {text}"


def next_step(error: BaseException) -> str:
    """Return the next step after `error`, that a server answered or its connection raised."""
    if any(getattr(each, "errno", None) in (errno.EMFILE, errno.ENFILE) for each in (error, error.__context__)):
        return "This process, or the system, has no descriptor left for a connection: see `ulimit -n`."
    if isinstance(error, NoCredentials):
        return "Check `connection_kwargs` in CHANNEL_LAYERS, and where the provider gets the credentials from."
    # The only refusal of its kind without a code.
    code = "MAXCLIENTS" if "max number of clients" in str(error) else error_code(error)
    if isinstance(error, redis.AuthenticationError) and code not in NEXT_STEPS:
        code = "WRONGPASS"
    if "DB index" in str(error):
        return "The server has fewer databases: name one from 0 to 15, or raise its `databases`."
    if any(isinstance(each, ssl.SSLError) for each in (error, error.__context__)):
        return "Check the certificates, and that the server speaks TLS at this port."
    return NEXT_STEPS.get(code, ANSWERED if isinstance(error, redis.ResponseError) else UNREACHABLE)
