"""What the statistics extension tells, from what a layer counts. Pure. ASGI draft, "Statistics"."""

from __future__ import annotations

from collections.abc import Mapping

from channels_classic.layers.losses import KINDS


def describe(counts: Mapping[str, int], pending: int | None = None, age: float = 0.0) -> dict[str, int]:
    """The answer for counts of `messages`, `full` and `lost_…`; `pending` and `age` (seconds) for one channel alone.

    Losses, beyond the draft, are named when there were any: a channel that lost nothing is described as in 1.x.
    """
    found = {"messages_count": counts.get("messages", 0), "channel_full_count": counts.get("full", 0)}
    if pending is not None:
        found |= {"messages_pending": pending, "messages_max_age": max(0, int(age)) if pending else 0}
    return found | {name: counts[name] for kind in KINDS if counts.get(name := f"lost_{kind}")}
