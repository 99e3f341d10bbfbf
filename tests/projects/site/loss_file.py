"""Writes each loss that a process counts to the file `LOSS_FILE`, where it outlives the process and its Redis."""

from __future__ import annotations

import os

from channels_classic.layers import base
from channels_classic.layers.losses import Losses


class NotedLosses(Losses):
    """Counts and writes."""

    def count(self, kind: str, channel: str, number: int = 1) -> None:
        super().count(kind, channel, number)
        if number > 0:
            _write(kind, channel, number)

    def take_back(self, kind: str, channel: str) -> None:
        super().take_back(kind, channel)
        _write(kind, channel, -1)


def _write(kind: str, channel: str, number: int) -> None:
    with open(os.environ["LOSS_FILE"], "a") as file:
        file.write(f"{os.getpid()} {kind} {channel} {number}\n")


base.Losses = NotedLosses  # type: ignore[attr-defined]  # layers that this process makes from now on
