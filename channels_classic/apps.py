"""The Django app configuration of `channels_classic`."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

from channels_classic.log import enable_loggers
from channels_classic.package_checks import check_all

__all__ = ["ChannelsConfig"]


class ChannelsConfig(AppConfig):
    """Registers the system checks and the bindings, without reading settings or making a layer."""

    name = "channels_classic"
    label = "channels_classic"
    verbose_name = "Channels Classic"

    def ready(self) -> None:
        """Register the system checks, and the bindings, whose models are loaded by now; let our loggers log.

        Raises `RuntimeError` when a library is too old, and `ValueError` for an incomplete binding.
        """
        check_all()
        enable_loggers()
        import_module("channels_classic.checks")
        import_module("channels_classic.binding.base").BindingMetaclass.register_all()
