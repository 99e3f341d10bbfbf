"""Settings of the site: the embedded layer, or the servers that `REDIS_URL` names, with commas between; no database."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

if "LOSS_FILE" in os.environ:
    importlib.import_module("tests.projects.site.loss_file")
if os.path.exists(os.environ.get("BROKEN", "")):
    raise RuntimeError("this release is broken")

SECRET_KEY = "a key for tests, and for nothing else"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.projects.site.urls"
USE_TZ = True
INSTALLED_APPS = ["channels_classic"]
DATABASES: dict[str, object] = {}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "channels_classic.log.JSONFormatter"}, "plain": {}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": os.environ.get("LOG_FORMAT", "plain")},
    },
    "root": {"handlers": ["console"], "level": "INFO"},
}

CHANNEL_LAYERS: dict[str, dict[str, object]] = {"default": {"ROUTING": "tests.projects.site.routing.channel_routing"}}
config: dict[str, object] = {"expiry": int(os.environ.get("EXPIRY", "60"))}
if "REDIS_URL" in os.environ:
    CHANNEL_LAYERS["default"]["BACKEND"] = "channels_classic.layers.redis.RedisChannelLayer"
    moved = Path(os.environ.get("MOVED_REDIS_URL", "/nonexistent"))  # where releases from now on find it
    hosts = moved.read_text() if moved.exists() else os.environ["REDIS_URL"]
    CHANNEL_LAYERS["default"]["CONFIG"] = config | {"hosts": hosts.split(",")}
else:
    CHANNEL_LAYERS["default"]["CONFIG"] = config | {"path": os.environ.get("LAYER_PATH")}
