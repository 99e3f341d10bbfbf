"""One set of settings for all contenders. What differs comes from the environment: see `benchmarks.contenders`.

`LAYER` says which channel layer, `PAGES` adds the middleware of a site with users, `DATABASE` is where those are;
`UNOBSERVED` leaves out counters and announcements.
"""

from __future__ import annotations

import importlib
import os

if "UNOBSERVED" in os.environ:
    importlib.import_module("benchmarks.project.unobserved")

SECRET_KEY = "a key for benchmarks, and for nothing else"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "benchmarks.project.urls"
WSGI_APPLICATION = "benchmarks.project.wsgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "channels_classic"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DATABASE", ":memory:")}}

MIDDLEWARE: list[str] = []
if "PAGES" in os.environ:
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

_REDIS = os.environ.get("REDIS_URL")
_ROUTING = {"ROUTING": "benchmarks.project.classic.channel_routing"}
# redis-py ends a blocking read after five seconds by default; this peer's layer was written when it did not.
_HOST = {"address": _REDIS, "socket_timeout": None}

_LAYERS: dict[str, dict[str, object]] = {
    "local": {"CONFIG": {"path": os.environ.get("LAYER_PATH")}, **_ROUTING},
    "redis": {
        "BACKEND": "channels_classic.layers.redis.RedisChannelLayer",
        "CONFIG": {"hosts": [_REDIS]},
        **_ROUTING,
    },
    "core": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [_HOST]}},
    "pubsub": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [_HOST]}},
}
if "LAYER" in os.environ:
    CHANNEL_LAYERS = {"default": _LAYERS[os.environ["LAYER"]]}
