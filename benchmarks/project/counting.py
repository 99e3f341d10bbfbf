"""Counts disconnects in Redis, beside what the layers keep there: how many were consumed, and of which sockets."""

from __future__ import annotations

import os
from functools import cache

import redis

CONSUMED, SOCKETS = "benchmarks:disconnects", "benchmarks:disconnected"


@cache
def _counters() -> redis.Redis:
    return redis.Redis.from_url(os.environ["REDIS_URL"])


def count_disconnect(path: str) -> None:
    """Count the disconnect of the socket at `path`."""
    with _counters().pipeline() as pipeline:
        pipeline.incr(CONSUMED)
        pipeline.sadd(SOCKETS, path)
        pipeline.execute()
