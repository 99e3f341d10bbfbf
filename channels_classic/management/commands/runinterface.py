"""`manage.py runinterface`: owns the client connections of a project, of which it imports only the settings."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_classic import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import ChannelsError
from channels_classic.interface_server import InterfaceConfig
from channels_classic.interface_server.server import Listen, serve
from channels_classic.log import setup_logger
from channels_classic.management.layer import bare_layer_of
from channels_classic.management.options import add_arguments, configuration


class Command(BaseCommand):
    """Turns connections into messages on a channel layer until it is told to stop."""

    help = (
        "Serves HTTP and WebSocket: turns connections into messages for the workers, and their replies into responses."
    )
    # An interface server starts without the code of the project, and must not stop for a mistake in it.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of `Listen` and `InterfaceConfig`."""
        parser.add_argument(
            "--layer", default=DEFAULT_CHANNEL_LAYER, help="The alias of the channel layer, a key of CHANNEL_LAYERS."
        )
        add_arguments(parser, Listen)
        add_arguments(parser, InterfaceConfig)

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve; returns after the first SIGTERM or Ctrl-C."""
        setup_logger("django.channels", options.get("verbosity", 1))
        # uvicorn tells of every connection; what it warns of is worth reading.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        layer = bare_layer_of(options["layer"])
        if "inmemory" in type(layer).__module__:
            raise CommandError(
                f"The layer {options['layer']!r} lives in one process: no worker in another would get a message from "
                "this one. Leave BACKEND out of CHANNEL_LAYERS for the local layer, or name the Redis layer; with the "
                "memory layer, runserver serves and works in one process."
            )
        try:
            serve(layer, self.configuration(options), configuration(Listen, options))
        except ChannelsError as error:
            raise CommandError(str(error)) from error

    def configuration(self, options: dict[str, Any]) -> InterfaceConfig:
        """The configuration from the command line, and where that says nothing, from the settings."""
        config = configuration(InterfaceConfig, options)
        found: dict[str, Any] = {
            "ws_protocols": tuple(getattr(settings, "CHANNELS_WS_PROTOCOLS", None) or ()),
            "root_path": settings.FORCE_SCRIPT_NAME or "",
        }
        defaults = {option.name: option.default for option in fields(InterfaceConfig)}
        return replace(
            config, **{name: value for name, value in found.items() if getattr(config, name) == defaults[name]}
        )
