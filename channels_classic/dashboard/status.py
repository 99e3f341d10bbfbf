"""The status of the default layer as the page and its sockets are sent it: as much of it as a page has room for."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from typing import Any

from channels_classic.asgi import channel_layers
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import ChannelsError
from channels_classic.layers.diagnosis import SILENT_AFTER, as_dict, problems
from channels_classic.layers.status import LayerStatus, read

MOST_ROWS = 100
"""Most rows of a table. A status goes to each page through the layer, where a message has a largest size."""


def current() -> dict[str, Any]:
    """Return the status, or with `error` the reason why the layer cannot be asked."""
    layer: Any = channel_layers[DEFAULT_CHANNEL_LAYER].channel_layer
    found = {"time": time.time()}
    try:
        return {**found, **bounded(read(layer))}
    except ChannelsError as error:
        return {**found, "error": str(error)}


def bounded(status: LayerStatus) -> dict[str, Any]:
    """Return a status with the most urgent rows of each table, the sums of all rows, and how many rows there are."""
    plain = status.plain_channels
    shown = replace(
        status,
        interface_servers=sorted(status.interface_servers, key=lambda one: one.heard <= SILENT_AFTER)[:MOST_ROWS],
        workers=[
            replace(one, channels=[])
            for one in sorted(status.workers, key=lambda one: one.heard <= SILENT_AFTER)[:MOST_ROWS]
        ],
        channels=status.channels_by_urgency[:MOST_ROWS],
        groups=dict(islice(status.groups.items(), MOST_ROWS)),
    )
    return {
        **as_dict(shown),
        "problems": problems(status),
        "totals": {
            "sockets": sum(server.facts.sockets for server in status.interface_servers),
            "messages": sum(channel.messages for channel in plain),
            "waiting": sum(channel.waiting for channel in plain),
            "oldest": max((channel.oldest for channel in plain), default=0),
            "busy": sum(worker.busy for worker in status.workers),
            "lost": sum(status.losses.values()),
        },
        "rows": {
            "channels": len(status.channels),
            "workers": len(status.workers),
            "interface_servers": len(status.interface_servers),
        },
    }
