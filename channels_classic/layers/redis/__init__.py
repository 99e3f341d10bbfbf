"""The Redis layer: several hosts, workers that come and go, interface servers that stay.

`shard` turns steps into commands, `connection` carries them, `layer` is what the settings name.
"""

from __future__ import annotations

from channels_classic.layers.redis.layer import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
