"""Conditions on the status of a layer, as `--check` takes them: `workers>=2`. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from channels_classic.layers.diagnosis import problems
from channels_classic.layers.status import LayerStatus

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}

VALUES: Mapping[str, Callable[[LayerStatus], float]] = {
    "interface_servers": lambda status: len(status.interface_servers),
    "sockets": lambda status: sum(server.facts.sockets for server in status.interface_servers),
    "workers": lambda status: sum(worker.processes for worker in status.workers),
    "threads": lambda status: sum(worker.threads for worker in status.workers),
    "busy": lambda status: sum(worker.busy for worker in status.workers),
    "waiting": lambda status: sum(channel.waiting for channel in status.plain_channels),
    "oldest": lambda status: max((channel.oldest for channel in status.plain_channels), default=0),
    "unserved": lambda status: sum(1 for channel in status.plain_channels if channel.waiting and not channel.workers),
    "inbox": lambda status: max((channel.waiting for channel in status.channels if channel.owner), default=0),
    "lost": lambda status: sum(status.losses.values()),
    "problems": lambda status: len(problems(status)),
}
"""The names that a condition may have."""

_CONDITION = re.compile(rf"\s*(\w+)\s*({'|'.join(map(re.escape, _OPERATORS))})\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one value."""

    name: str
    comparison: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return the condition in a text. Raise `ValueError`."""
        found = _CONDITION.fullmatch(text)
        if found is None or found[1] not in VALUES:
            raise ValueError(
                f"--check {text!r} is not a condition: expected one of {', '.join(VALUES)}, a comparison such as >= "
                "and a number, in quotation marks: --check 'workers>=2'."
            )
        return cls(found[1], found[2], float(found[3]))

    def failure(self, status: LayerStatus) -> str | None:
        """Return a sentence if the condition does not hold."""
        value = VALUES[self.name](status)
        if _OPERATORS[self.comparison](value, self.limit):
            return None
        return f"{self.name} is {value:g}, expected {self.comparison} {self.limit:g}."
