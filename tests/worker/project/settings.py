"""Settings of the project; the tests say where Redis is."""

from __future__ import annotations

import os

SECRET_KEY = "a key for tests, and for nothing else"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.worker.project.urls"
USE_TZ = True
INSTALLED_APPS = ["channels_classic"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_classic.layers.redis.RedisChannelLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]], "capacity": 100_000},
        "ROUTING": "tests.worker.project.consumers.channel_routing",
    },
}
