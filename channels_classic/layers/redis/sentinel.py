"""Redis under Sentinel: a shard is a service, and sentinels know which server is its master now."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff

from channels_classic._fork import renew_after_fork
from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.redis.connector import Connector, Silent, check_options
from channels_classic.layers.redis.hosts import Host, parse_sentinels
from channels_classic.layers.redis.layer import RedisChannelLayer

SENTINEL_TIMEOUT = 1.0
"""Seconds to wait for a sentinel before asking the next one."""

_NEXT_STEP = "Check that `hosts` in CHANNEL_LAYERS names the sentinels, and `services` their services."

T = TypeVar("T")


class RedisSentinelChannelLayer(RedisChannelLayer):
    """A channel layer on masters that sentinels watch.

    `hosts` are `(host, port)` pairs of sentinels. Each of `services` is a shard; left out, all services the sentinels
    know, in alphabetical order. The master is asked for whenever a connection is made; `sentinel_refresh_interval`
    keeps the answer for this many seconds, unless it turns out wrong. `connection_kwargs` goes to the connections to
    masters, and those of its options that begin with `socket_` or `ssl` to those to sentinels. A fail-over drops the
    messages that wait: a replica that lags may hold some that were taken already.
    """

    def __init__(
        self,
        expiry: float = 60,
        hosts: Iterable[Any] | None = None,
        prefix: str = "asgi:",
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
        symmetric_encryption_keys: Sequence[str] | None = None,
        stats_prefix: str | None = None,
        connection_kwargs: dict[str, Any] | None = None,
        services: Sequence[str] | None = None,
        sentinel_refresh_interval: float = 0,
    ) -> None:
        super().__init__(
            expiry=expiry,
            hosts=hosts,
            prefix=prefix,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            symmetric_encryption_keys=symmetric_encryption_keys,
            stats_prefix=stats_prefix,
            connection_kwargs=connection_kwargs,
        )
        if services is not None:
            _check_services(services)
        if not isinstance(sentinel_refresh_interval, (int, float)) or not 0 <= sentinel_refresh_interval < math.inf:
            raise ValueError(
                f"`sentinel_refresh_interval` is {sentinel_refresh_interval!r}: expected seconds, 0 or more."
            )
        self.services = list(services or ())
        self.sentinel_refresh_interval = sentinel_refresh_interval
        self._sentinels = Sentinels(self._pairs, self.connection_kwargs)

    def _parse_hosts(self, hosts: Any) -> list[Host]:
        self._pairs = parse_sentinels(hosts)
        return [Host(f"sentinel://{host}:{port}") for host, port in self._pairs]

    def _check_options(self) -> None:
        check_options(*_master(self.connection_kwargs))

    def _connectors(self) -> list[tuple[Connector, str]]:
        services = self.services or self._sentinels.services()
        return [
            (
                SentinelConnector(service, self._sentinels, self.sentinel_refresh_interval, self.connection_kwargs),
                str(index),
            )
            for index, service in enumerate(services)
        ]


def _master(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL of a master whose address is not known yet, with TLS if any option says so, and its options."""
    others = {name: value for name, value in options.items() if name != "ssl"}
    secure = options.get("ssl", any(name.startswith("ssl") for name in others))
    return "rediss://" if secure else "redis://", others


def _check_services(services: object) -> None:
    if not isinstance(services, (list, tuple)) or not all(isinstance(name, str) and name for name in services):
        raise ValueError(f"`services` is {services!r}: expected a list of names of services.")
    if not services:
        raise ValueError("`services` is empty: name the services, or leave it out to use all that the sentinels know.")
    if len(set(services)) < len(services):
        raise ValueError(f"`services` is {services!r}: expected each service once, since each is a shard.")


class Sentinels:
    """Asks sentinels one after the other; the first answer counts."""

    def __init__(self, hosts: Sequence[tuple[str, int]], connection_kwargs: dict[str, Any]) -> None:
        self._hosts = hosts
        self._silent = Silent()
        self._options = {
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            **{name: value for name, value in connection_kwargs.items() if name.startswith(("socket_", "ssl"))},
            "protocol": 2,
        }

    def services(self) -> list[str]:
        """Return the names of all services. Raise `LayerUnavailable`."""

        def names(reply: Any) -> list[str]:
            found = [dict(zip(master[::2], master[1::2], strict=True)) for master in reply]
            return sorted(master[b"name"].decode() for master in found)

        return self._ask(("SENTINEL", "MASTERS"), names, "they watch no service")

    def master(self, service: str) -> tuple[str, int]:
        """Return host and port of the master of a service. Raise `LayerUnavailable`."""

        def pair(reply: Any) -> tuple[str, int] | None:
            return (reply[0].decode(), int(reply[1])) if reply else None

        command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        return self._ask(command, pair, f"they know no service {service!r}")

    def _ask(self, command: Sequence[str], read: Callable[[Any], T | None], nothing: str) -> T:
        failures = []
        for host, port in self._silent.last(self._hosts, lambda address: address):
            try:
                found = read(self._answer(host, port, command))
            except (redis.RedisError, OSError) as error:
                self._silent.note(host, port)
                failures.append(f"{host}:{port}: {error}")
                continue
            if found:
                return found
            failures.append(f"{host}:{port}: {nothing}")
        raise LayerUnavailable("Redis Sentinel", "; ".join(failures), _NEXT_STEP)

    def _answer(self, host: str, port: int, command: Sequence[str]) -> Any:
        url, options = _master(self._options)
        kind = redis.SSLConnection if url == "rediss://" else redis.Connection
        raw: Any = kind(host=host, port=port, retry=redis.retry.Retry(NoBackoff(), 0), **options)
        try:
            raw.connect()
            raw.send_command(*command)
            return raw.read_response(disable_decoding=True)
        finally:
            raw.disconnect()


class SentinelConnector(Connector):
    """Opens connections to the master of a service."""

    dynamic = True

    def __init__(
        self, service: str, sentinels: Sentinels, refresh_interval: float, connection_kwargs: dict[str, Any]
    ) -> None:
        super().__init__(*_master(connection_kwargs))
        self.where = f"service {service}"
        self._service = service
        self._sentinels = sentinels
        self._interval = refresh_interval
        self._known: tuple[str, int] | None = None
        self._asked = 0.0
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with a lock that nobody holds."""
        self._lock = threading.Lock()

    def address(self) -> dict[str, Any]:
        with self._lock:
            known = self._known  # which `unavailable` may forget meanwhile, in another thread
            if known is None or time.monotonic() - self._asked >= self._interval:
                self._known = known = self._sentinels.master(self._service)
                self._asked = time.monotonic()
            return {"host": known[0], "port": known[1]}

    def unavailable(self, error: BaseException) -> LayerUnavailable:
        self._known = None  # another server may be the master now
        return super().unavailable(error)
