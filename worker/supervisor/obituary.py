"""Logs what a dead worker held and reports `DIED` to waiting clients."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence

from channels_classic.exceptions import ChannelsError
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Report
from channels_classic.layers.steps import GetStatistics

from ..inflight import Held

logger = logging.getLogger("channels_classic.worker")


def report_lost(layer: BaseChannelLayer, pid: int, held: Sequence[Held]) -> None:
    """Log what process `pid` held when it died, report to waiting clients, and count messages without one as lost.

    Reports are sent from a thread, because the layer may be down. The interface server counts messages with a client;
    it ignores a report for a message that was finished.
    """
    channels = Counter(message.channel for message in held)
    logger.error(
        "Worker process %d died holding %d message(s): %s.",
        pid,
        len(held),
        ", ".join(f"{number} of {channel}" for channel, number in sorted(channels.items())),
    )
    reports = []
    for message in held:
        if message.token and message.reply_channel:
            reports.append(Report(message.reply_channel, message.token, Outcome.DIED))
        else:
            layer.losses.count("died", message.channel)
    threading.Thread(target=_report, args=(layer, reports), name="worker-report-lost", daemon=True).start()


def _report(layer: BaseChannelLayer, reports: Sequence[Report]) -> None:
    try:
        # Counted losses are written together with any step.
        layer.run(layer.planner.pushes([], {}, reports) or [GetStatistics(None)])
    except ChannelsError as error:
        logger.error("Could not report lost messages; %d client(s) keep waiting: %s", len(reports), error)
