"""Settings of a site with both libraries: `CHANNEL_LAYERS` as users of Channels 4 write it, and ours beside it.

`SHARED` puts ours into `CHANNEL_LAYERS`, as users of Channels 1.x write it; `FOREIGN` leaves ours out.
"""

from __future__ import annotations

import os

from tests.projects.site.settings import *  # noqa: F403
from tests.projects.site.settings import CHANNEL_LAYERS

INSTALLED_APPS = os.environ.get("APPS", "channels_classic,channels").split(",")
ASGI_APPLICATION = "tests.hosting.channels_4.application"

if "SHARED" not in os.environ:
    if "FOREIGN" not in os.environ:
        CHANNELS_CLASSIC_LAYERS = CHANNEL_LAYERS
        if os.environ.get("CLASSIC_ON") == "local":
            CHANNELS_CLASSIC_LAYERS["default"] = {"CONFIG": {"path": os.environ["LAYER_PATH"]}}
        CHANNELS_CLASSIC_LAYERS["default"]["ROUTING"] = "tests.hosting.channels_4_routing.channel_routing"
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {
                "hosts": [{"address": os.environ.get("REDIS_URL", "redis://localhost"), "socket_timeout": None}]
            },
        },
    }
