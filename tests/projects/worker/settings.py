"""Settings of the project; the tests say where Redis is, and what is wrong."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

if Path(os.environ.get("BROKEN", "/nowhere")).exists():
    raise SystemExit(1)
if "WATCHED" in os.environ:
    importlib.import_module(os.environ["WATCHED"])

SECRET_KEY = "a key for tests, and for nothing else"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.projects.worker.urls"
USE_TZ = True
INSTALLED_APPS = ["channels_classic"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DATABASE"), "CONN_MAX_AGE": None}
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_classic.layers.redis.RedisChannelLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]], "capacity": 100_000, "channel_capacity": {"tiny": 1}},
        "ROUTING": "tests.projects.worker.consumers.channel_routing",
    },
}
