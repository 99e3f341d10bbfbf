"""Runs an interface server with command line options, for `manage.py runinterface` and `channels-classic interface`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from channels_classic.conf import CHANNELS_WS_PROTOCOLS
from channels_classic.exceptions import ChannelsError
from channels_classic.interface_server import InterfaceConfig
from channels_classic.interface_server.config import ClientLimits
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Program, serve
from channels_classic.log import setup_logger
from channels_classic.management.options import configuration

PARTS = (Program, Listen, InterfaceConfig, ClientLimits)
"""The dataclasses whose fields are options of the commands."""


def configured(options: Mapping[str, Any], has_project: bool = True) -> InterfaceConfig:
    """Return the configuration from parsed options and, for those not given, the settings of Channels 1.x.

    Raises `ImproperlyConfigured` for values that make no sense.
    """
    try:
        config = configuration(InterfaceConfig, options)
        return _with_settings(config) if has_project else config
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from error


def _with_settings(config: InterfaceConfig) -> InterfaceConfig:
    from django.conf import settings

    protocols, root_path = CHANNELS_WS_PROTOCOLS.get() or (), settings.FORCE_SCRIPT_NAME or ""
    # `runinterface` runs no system checks, which say the same.
    if not isinstance(protocols, (list, tuple)) or not all(isinstance(name, str) for name in protocols):
        raise ValueError(f"The setting CHANNELS_WS_PROTOCOLS is {protocols!r}: expected a list of strings.")
    if not isinstance(root_path, str):
        raise ValueError(f"The setting FORCE_SCRIPT_NAME is {root_path!r}: expected a string.")
    return replace(
        config,
        ws_protocols=config.ws_protocols or tuple(protocols),
        root_path=config.root_path or root_path,
    )


def set_up_log(options: Mapping[str, Any]) -> logging.Logger:
    """Configure logging for a command and return its logger."""
    uvicorn = logging.getLogger("uvicorn")
    if uvicorn.level == logging.NOTSET:
        uvicorn.setLevel(logging.WARNING)  # at INFO it logs every connection
    return setup_logger("django.channels", options.get("verbosity", 1))


def run(layer: Any, config: InterfaceConfig, options: Mapping[str, Any]) -> None:
    """Configure logging and serve until a signal stops the server.

    Raises `CannotListen`, `InvalidChannelLayerError`, and `ImproperlyConfigured` for invalid options.
    """
    set_up_log(options)
    try:
        program = configuration(Program, options)
        serve(layer, config, configuration(Listen, options), configuration(ClientLimits, options), program)
    except ChannelsError:
        raise
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(str(error)) from error
