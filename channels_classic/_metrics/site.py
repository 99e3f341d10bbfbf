"""Samples of what all programs share: the channel layer, and losses, which each process counts for itself."""

from __future__ import annotations

from typing import Any

from channels_classic._metrics.samples import Samples
from channels_classic.exceptions import ChannelsError
from channels_classic.layers.losses import Losses
from channels_classic.layers.names import is_owned
from channels_classic.layers.status import read

INBOXES = "inboxes"
"""The label of all inboxes of interface servers: their names are as many as processes that ever ran."""


def lost(losses: Losses) -> Samples:
    """Return the losses that this process counted."""
    samples = Samples()
    for kind, name, number in losses.by_channel():
        samples.add("lost_messages_total", number, kind, _label(name))
    return samples


def layer_samples(layer: Any) -> Samples:
    """Return what waits in the layer; without an answer, only that it is down."""
    samples = Samples()
    try:
        status = read(layer)
    except ChannelsError:
        samples.add("layer_up", 0)
        return samples
    samples.add("layer_up", 1)
    oldest: dict[str, int] = {}
    for channel in status.channels:
        name = _label(channel.name)
        samples.add("channel_messages_total", channel.messages, name)
        samples.add("channel_refused_sends_total", channel.refused, name)
        samples.add("channel_waiting_messages", channel.waiting, name)
        oldest[name] = max(oldest.get(name, 0), channel.oldest)
        if name != INBOXES:
            samples.add("channel_workers", channel.workers, name)
    for name, age in oldest.items():
        samples.add("channel_oldest_message_age_seconds", age, name)
    return samples


def _label(name: str) -> str:
    return INBOXES if is_owned(name) else name
