"""What a supervisor does about the messages of a process that died: it says so, and reports to those who wait."""

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

logger = logging.getLogger("django.channels")


def tell(layer: BaseChannelLayer, pid: int, held: Sequence[Held]) -> None:
    """Log what process `pid` held when it died, report for it, and count what nobody waits for as lost.

    In a thread of its own, because the layer may be away. A report for a message that was finished after all does
    nothing: who gets the others counts them.
    """
    channels = Counter(message.channel for message in held)
    logger.error(
        "Worker process %d took %d message(s) with it: %s.",
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
    threading.Thread(target=_report, args=(layer, reports), name="worker-obituary", daemon=True).start()


def _report(layer: BaseChannelLayer, reports: Sequence[Report]) -> None:
    try:
        # What was counted goes along with whatever is asked.
        layer.run(layer.planner.pushes([], {}, reports) or [GetStatistics(None)])
    except ChannelsError as error:
        logger.error("What was lost cannot be told, to %d client(s) among others: %s", len(reports), error)
