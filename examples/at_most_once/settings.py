"""Settings of the demonstration: consumers only, no site. What the programs share comes from the environment."""

from __future__ import annotations

import os
from pathlib import Path

SECRET_KEY = "public, because this is an example"
USE_TZ = True
INSTALLED_APPS = ["channels_classic"]
ROOT_URLCONF = "urls"

EVIDENCE = Path(os.environ["EVIDENCE"])
"""The folder in which consumers note the messages they have consumed; it outlives the layer."""

EXPIRY = int(os.environ.get("EXPIRY", "8"))

_BACKENDS = {
    True: {
        "BACKEND": "channels_classic.layers.redis.RedisChannelLayer",
        "CONFIG": {"hosts": [os.environ.get("REDIS_URL")], "prefix": "at-most-once:"},
    },
    False: {
        "BACKEND": "channels_classic.layers.local.LocalChannelLayer",
        "CONFIG": {"path": str(EVIDENCE / "layer")},
    },
}
CHANNEL_LAYERS = {"default": {**_BACKENDS["REDIS_URL" in os.environ], "ROUTING": "consumers.channel_routing"}}
CHANNEL_LAYERS["default"]["CONFIG"] |= {"expiry": EXPIRY, "capacity": 1000}
