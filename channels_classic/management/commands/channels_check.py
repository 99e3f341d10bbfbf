"""`manage.py channels_check`: connects to the channel layers and checks what the settings cannot show."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_classic.asgi import channel_layers, is_foreign
from channels_classic.checks_live import LayerReport, inspect_layer
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import ChannelsError
from channels_classic.management.layer import missing_layers


class Command(BaseCommand):
    """Connects to the channel layers of the project and reports what will not work."""

    help = "Connects to the channel layers: permissions, version, eviction, timeout, clock. Status 1 for an error."
    requires_system_checks = ("channels_classic",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the aliases and the level from which the command fails."""
        parser.add_argument("alias", nargs="*", help="Aliases of channel layers. Default: all of the project.")
        parser.add_argument(
            "--fail-level",
            choices=["ERROR", "WARNING"],
            default="ERROR",
            help="The least level of a message that makes the command fail. Default: ERROR.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Inspect the layers. Raises `CommandError` for messages of the level that fails."""
        aliases = options["alias"] or [
            alias for alias, entry in channel_layers.configs.items() if not is_foreign(entry)
        ]
        if not aliases:
            raise missing_layers(DEFAULT_CHANNEL_LAYER)
        least = checks.WARNING if options["fail_level"] == "WARNING" else checks.ERROR
        failures = sum(self.inspect(alias, least) for alias in aliases)
        if failures:
            raise CommandError(f"{failures} problem(s) found: see above.")

    def inspect(self, alias: str, least: int) -> int:
        """Print the reports about a layer; return how many of their messages are of the `least` level."""
        try:
            layer = channel_layers.make_layer(alias)
        except ChannelsError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{alias}: {layer}")
        failures = 0
        for report in inspect_layer(layer):
            failures += self.print_report(report, least)
        return failures

    def print_report(self, report: LayerReport, least: int) -> int:
        """Print a report; return how many of its messages are of the `least` level."""
        messages = [message for message in report.messages if not message.is_silenced()]
        facts = "; ".join(report.facts) or "nothing is known"
        self.stdout.write(f"  {report.where}: {facts if messages else self.style.SUCCESS(facts)}")
        for message in messages:
            style = self.style.ERROR if message.is_serious() else self.style.WARNING
            self.stdout.write("    " + style(str(message).removeprefix("?: ").replace("\n", "\n    ")))
        return sum(message.level >= least for message in messages)
