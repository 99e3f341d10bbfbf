"""The status of the default layer as the page and its sockets are sent it."""

from __future__ import annotations

import time
from typing import Any

from channels_classic.asgi import channel_layers
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import ChannelsError
from channels_classic.layers.diagnosis import as_dict
from channels_classic.layers.status import read


def current() -> dict[str, Any]:
    """Return the status, or with `error` the reason why the layer cannot be asked."""
    layer: Any = channel_layers[DEFAULT_CHANNEL_LAYER].channel_layer
    found = {"time": time.time()}
    try:
        return {**found, **as_dict(read(layer))}
    except ChannelsError as error:
        return {**found, "error": str(error)}
