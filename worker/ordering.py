"""The order of what one worker thread sends: pure decisions.

As in Channels 1.1.8 what a consumer sent is on its channels before a receiver of `consumer_finished` runs, and before
the next consumer of the thread does. But a worker collects it and writes it together, on a connection of its own, a
little later. What a consumer or a receiver does by itself meanwhile (a send with `immediately=True`, a send after the
consumer has ended, a group it joins or leaves) takes another connection at once, and would overtake it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import Flush, Join, JoinAs, Leave, Publish, Push, Record, Step


def must_wait(steps: Sequence[Step], collected: Iterable[Outgoing]) -> bool:
    """Return True if `steps` must wait until the messages in `collected` are written.

    That is so for every message, since it may go to the same channel, or make a reader expect one of the collected
    messages. A membership concerns the messages to its group alone: consumers of `websocket.connect` join groups, and
    need not wait otherwise.
    """
    sends = list(collected)
    if not sends:
        return False
    groups = {send.name for send in sends if send.group}
    return any(_sends(step) or (isinstance(step, (Join, JoinAs, Leave)) and step.group in groups) for step in steps)


def _sends(step: Step) -> bool:
    if isinstance(step, Push):
        return any(entry.origin is not None for entry in step.entries)
    return isinstance(step, (Flush, Publish, Record))
