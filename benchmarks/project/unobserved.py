"""Programs that count and announce nothing, to measure what that costs: imported by the settings with `UNOBSERVED`."""

from __future__ import annotations

from channels_classic.interface_server.layer.announcements import Announcements
from channels_classic.worker.stats import ConsumerStats
from channels_classic.worker.status import StatusReporter


def _nothing(*_: object) -> None:
    """Do nothing."""


for owner, name in ((Announcements, "announce"), (StatusReporter, "_send"), (ConsumerStats, "add")):
    setattr(owner, name, _nothing)
