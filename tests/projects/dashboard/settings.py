"""Settings of the site: users in SQLite, sessions, the dashboard, the layer that the environment names."""

from __future__ import annotations

import os
from pathlib import Path

SECRET_KEY = "a key for tests, and for nothing else"
DEBUG = True  # serves static files
ALLOWED_HOSTS = ["127.0.0.1"]
CHANNELS_TRUSTED_ORIGINS = ["https://trusted.example"]
ROOT_URLCONF = "tests.projects.dashboard.urls"
LOGIN_URL = "/login/"
USE_TZ = True
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "channels_classic",  # before staticfiles, for its runserver
    "channels_classic.dashboard",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; nothing here is secret
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DASHBOARD_DB", ":memory:")}}
CHANNEL_LAYERS: dict[str, dict[str, object]] = {
    "default": {"ROUTING": "tests.projects.dashboard.routing.channel_routing"}
}
if "REDIS_URL" in os.environ:
    CHANNEL_LAYERS["default"]["BACKEND"] = "channels_classic.layers.redis.RedisChannelLayer"
    CHANNEL_LAYERS["default"]["CONFIG"] = {"hosts": [os.environ["REDIS_URL"]]}
else:
    CHANNEL_LAYERS["default"]["CONFIG"] = {"path": os.environ.get("LAYER_PATH")}
