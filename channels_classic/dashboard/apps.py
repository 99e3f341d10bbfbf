"""The optional Django app `channels_classic.dashboard`."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["DashboardConfig"]


class DashboardConfig(AppConfig):
    """Shows what runs on the channel layer."""

    name = "channels_classic.dashboard"
    label = "channels_dashboard"
    verbose_name = "Channels Dashboard"
