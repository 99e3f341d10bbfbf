"""`manage.py runinterface`: owns the client connections of a project, and reads only its settings."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_classic.exceptions import ChannelsError
from channels_classic.management.interface import PARTS, configured, run
from channels_classic.management.layer import bare_layer_of
from channels_classic.management.options import add_arguments, add_layer


class Command(BaseCommand):
    """Turns connections into messages on a channel layer until a signal stops it."""

    help = (
        "Serves HTTP and WebSocket: turns connections into messages for the workers, and their replies into responses."
    )
    # An interface server runs no code of the project, so a mistake there must not keep it from starting.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of `Listen` and `InterfaceConfig`."""
        add_layer(parser)
        for part in PARTS:
            add_arguments(parser, part)

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve; returns after the first SIGTERM or Ctrl-C."""
        layer = bare_layer_of(options["layer"])
        try:
            run(layer, configured(options), options)
        except (ChannelsError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
