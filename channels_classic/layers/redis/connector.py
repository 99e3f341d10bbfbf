"""Where a Redis is, and how a connection to it is opened: by redis-py, but without anything that repeats a command."""

from __future__ import annotations

import asyncio
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from channels_classic.exceptions import LayerUnavailable

PATIENCE = 5.0
"""Seconds an answer may take, beyond the time a command is allowed to block, before the connection counts as lost."""

_NEXT_STEP = "Check that the server runs and that `hosts` in CHANNEL_LAYERS names it."


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

    dynamic = False
    """Whether `address` asks others where the server is now."""

    def address(self) -> dict[str, Any]:
        """Host and port of this moment, when they differ from what the URL says. Raises `LayerUnavailable`."""
        return {}

    @staticmethod
    def _make(pool: Any, address: dict[str, Any]) -> Any:
        return pool.connection_class(**{**pool.connection_kwargs, **address})

    def unavailable(self, error: BaseException) -> LayerUnavailable:
        """The error to raise when talking to this server failed."""
        return LayerUnavailable(f"Redis {self.where}", str(error).rstrip(".") or type(error).__name__, _NEXT_STEP)


def _address(raw: Any) -> dict[str, Any]:
    return {"host": raw.host, "port": raw.port} if hasattr(raw, "port") else {}
