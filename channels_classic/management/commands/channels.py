"""`manage.py channels`: shows what runs on a channel layer, and checks it for health checks."""

from __future__ import annotations

from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_classic.management.layer import bare_layer_of
from channels_classic.management.options import add_arguments, add_layer, configuration
from channels_classic.management.status import UNKNOWN, StatusConfig, run


class Command(BaseCommand):
    """Shows interface servers, workers, channels and groups."""

    help = "Shows what runs on a channel layer: interface servers, workers, channels and groups."
    # It is needed most when something is wrong.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of `StatusConfig`."""
        add_layer(parser)
        add_arguments(parser, StatusConfig)

    def handle(self, *args: Any, **options: Any) -> None:
        """Show the status. The exit status is 1 when a check failed, 2 when the layer cannot be asked."""
        try:
            config = configuration(StatusConfig, options)
            layer = bare_layer_of(options["layer"])
        except (ValueError, CommandError) as error:
            raise CommandError(str(error), returncode=UNKNOWN) from error
        run(layer, config, cast(Any, self.stdout))
