"""Where a Redis is, and how a connection to it is opened: by redis-py, but without anything that repeats a command."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from channels_classic.exceptions import LayerUnavailable

PATIENCE = 5.0
"""Seconds an answer may take, beyond the time a command is allowed to block, before the connection counts as lost."""

NEXT_STEPS = {
    "NOAUTH": "Give the password in `hosts` in CHANNEL_LAYERS, as in redis://:password@host:6379/0.",
    "WRONGPASS": "Check the user and the password in `hosts` in CHANNEL_LAYERS.",
    "NOPERM": "Allow the user what docs/reference/layers.md lists, for keys that begin with `prefix`.",
    "OOM": "Raise `maxmemory`, or find out which channel nobody takes from.",
    "READONLY": "It is a replica: let `hosts` in CHANNEL_LAYERS name the master.",
    "MISCONF": 'It cannot save its data: look into its log, or run it with `save ""`.',
    "LOADING": "It reads its data from disk and is there soon.",
    "MASTERDOWN": "It is a replica without a master: let `hosts` in CHANNEL_LAYERS name the master.",
    "CLUSTERDOWN": "Check the state of the cluster with CLUSTER INFO.",
}
"""What to do about an error of the server, by the code it begins with."""

UNREACHABLE = "Check that the server runs and that `hosts` in CHANNEL_LAYERS names it."

_CODES: dict[type[Exception], str] = {
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
}
"""Errors from whose text redis-py has taken the code."""


class Connector:
    """Where one Redis is, and how to open connections to it; none of them repeats a command by itself."""

    def __init__(self, url: str, connection_kwargs: dict[str, Any]) -> None:
        options = {
            "socket_timeout": PATIENCE,
            "socket_connect_timeout": PATIENCE,
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),  # redis-py knows it for TCP alone
            **connection_kwargs,
            "protocol": 2,
            "decode_responses": False,
            "health_check_interval": 0,
        }
        self._pool = redis.ConnectionPool.from_url(url, **options, retry=redis.retry.Retry(NoBackoff(), 0))
        self._async_pool = redis.asyncio.ConnectionPool.from_url(
            url, **options, retry=redis.asyncio.retry.Retry(NoBackoff(), 0)
        )
        where = self._pool.connection_kwargs
        self.patience: float = where["socket_timeout"] or PATIENCE  # as an argument or in the URL
        self.where = (
            where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}/{where.get('db', 0)}"
        )

    def open(self) -> Any:
        """A connection of redis-py that nobody else uses, not yet connected. Raises `LayerUnavailable`."""
        return self._make(self._pool, self.address())

    async def open_async(self) -> Any:
        """The same for asyncio."""
        return self._make(self._async_pool, await asyncio.to_thread(self.address) if self.dynamic else {})

    def sibling(self, raw: Any) -> Any:
        """Another connection to where `raw` leads."""
        return self._make(self._pool, _address(raw))

    def sibling_async(self, raw: Any) -> Any:
        """The same for asyncio."""
        return self._make(self._async_pool, _address(raw))

    questions: Sequence[Sequence[str]] = ()
    """Commands whose replies tell `place` where in a cluster the server is."""

    def place(self, replies: Sequence[Any]) -> tuple[str, list[str]]:
        """Return the id of the node that was asked, and those of the other masters that are alive; pure."""
        return "", []

    dynamic = False
    """Whether `address` asks others where the server is now."""

    def address(self) -> dict[str, Any]:
        """Host and port of this moment, when they differ from what the URL says. Raises `LayerUnavailable`."""
        return {}

    @staticmethod
    def _make(pool: Any, address: dict[str, Any]) -> Any:
        return pool.connection_class(**{**pool.connection_kwargs, **address})

    def unavailable(self, error: BaseException) -> LayerUnavailable:
        """Return the error to raise when talking to this server failed."""
        reason = str(error).rstrip(".") or type(error).__name__
        return LayerUnavailable(f"Redis {self.where}", reason, next_step(error))


def _address(raw: Any) -> dict[str, Any]:
    return {"host": raw.host, "port": raw.port} if hasattr(raw, "port") else {}


def next_step(error: BaseException) -> str:
    """Return what to do about `error`, which a server answered or which a connection to it raised."""
    code = _CODES.get(type(error)) or str(error).partition(" ")[0]  # type: ignore[arg-type]  # any other gives None
    if isinstance(error, redis.AuthenticationError) and code not in NEXT_STEPS:
        code = "WRONGPASS"
    return NEXT_STEPS.get(code, UNREACHABLE)
