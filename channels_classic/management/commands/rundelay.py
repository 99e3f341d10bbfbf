"""`manage.py rundelay`: the delay server, which stores the messages of `asgi.delay` and sends each at its time."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_classic._options import LARGEST_TIME
from channels_classic._supervisor.signal_pipe import ignore_until_caught
from channels_classic.log import setup_logger
from channels_classic.management.layer import layer_of
from channels_classic.management.options import add_layer
from channels_classic.worker.shutdown import renew


class Command(BaseCommand):
    """Runs the delay server until a signal stops it."""

    help = "Runs the delay server: takes messages from the channel asgi.delay and sends each when its time comes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        add_layer(parser)
        parser.add_argument(
            "--sleep",
            type=float,
            default=1,
            help="Seconds between two searches of the database for due messages. Default: 1.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run; returns after SIGTERM or Ctrl-C."""
        ignore_until_caught(signal.SIGUSR1)
        logger = setup_logger("django.channels", options.get("verbosity", 1))
        if not 0 < options["sleep"] <= LARGEST_TIME:
            raise CommandError(f"--sleep is {options['sleep']:g}: expected a number above 0 to {LARGEST_TIME:g}.")
        if "channels_delay" not in apps.app_configs:
            raise CommandError(
                "The delay server needs a table: add 'channels_classic.delay' to INSTALLED_APPS and run "
                "`manage.py migrate`."
            )
        layer = layer_of(options["layer"])
        if layer.local_only():
            raise CommandError(
                f"The layer {layer} lives in one process, so a delay server in another gets nothing from it. Leave "
                f"BACKEND out of CHANNEL_LAYERS[{options['layer']!r}] for the local layer, or name the Redis layer."
            )
        from channels_classic.delay.worker import Worker  # its model can be imported where the app is installed

        logger.info("Running the delay server on the channel layer %s", layer.channel_layer)
        worker = Worker(channel_layer=layer, database_sleep_duration=options["sleep"])
        with suppress(KeyboardInterrupt):  # before the worker catches the signal itself
            worker.run()
        if worker.to_be_replaced:
            logger.info("Restarting.")
            renew()
