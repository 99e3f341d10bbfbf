"""The Redis layer: several hosts, workers that come and go, interface servers that stay.

`commands` turns steps into commands, `replies` turns replies into results, `connection` carries both. `routes` decides
which of several shards does what, `sharded` talks to all of them. `layer` is what the settings name.
"""

from __future__ import annotations

from channels_classic.layers.redis.cluster import RedisClusterChannelLayer
from channels_classic.layers.redis.layer import RedisChannelLayer
from channels_classic.layers.redis.local import RedisLocalChannelLayer
from channels_classic.layers.redis.sentinel import RedisSentinelChannelLayer

__all__ = [
    "RedisChannelLayer",
    "RedisClusterChannelLayer",
    "RedisLocalChannelLayer",
    "RedisSentinelChannelLayer",
]
