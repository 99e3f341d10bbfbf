"""The optional Django app `channels_classic.delay`."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["DelayConfig"]


class DelayConfig(AppConfig):
    """Stores delayed messages. Its label in Channels 1.x, `channels.delay`, has a dot: Django refuses it."""

    name = "channels_classic.delay"
    label = "channels_delay"
    verbose_name = "Channels Delay"
    default_auto_field = "django.db.models.AutoField"
