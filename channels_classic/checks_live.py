"""Checks that connect to the channel layers, for `manage.py channels_check`: the results are those of system checks.

They are not registered with Django, whose commands would connect each time; `docs/checks.md` lists their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from channels_classic.exceptions import ChannelsError, LayerUnavailable
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.local.client import NO_HOST
from channels_classic.layers.redis import RedisChannelLayer, RedisLocalChannelLayer
from channels_classic.layers.redis.inspection import Problem, ServerFinding, inspect_servers
from channels_classic.utils import name_that_thing

_MESSAGES: dict[Problem, tuple[type[CheckMessage], str]] = {
    Problem.UNREACHABLE: (Error, "channels_classic.E020"),
    Problem.REFUSED: (Error, "channels_classic.E021"),
    Problem.FORBIDDEN: (Error, "channels_classic.E022"),
    Problem.TOO_OLD: (Error, "channels_classic.E023"),
    Problem.CLUSTER: (Error, "channels_classic.E024"),
    Problem.EVICTION: (Error, "channels_classic.E025"),
    Problem.TIMEOUT: (Warning, "channels_classic.W020"),
    Problem.CLOCK: (Warning, "channels_classic.W021"),
}


@dataclass
class LayerReport:
    """The result for one server or host: its address, facts, and messages."""

    where: str
    facts: list[str] = field(default_factory=list)
    messages: list[CheckMessage] = field(default_factory=list)


def inspect_layer(layer: Any) -> Iterator[LayerReport]:
    """Connect to everything that `layer` uses, and yield what was found."""
    for kind, inspect in _INSPECTIONS:
        if isinstance(layer, kind):
            yield from inspect(layer)
            return
    yield LayerReport(name_that_thing(layer), ["not a layer of channels_classic, so only its settings are checked"])


def _redis(layer: RedisChannelLayer) -> Iterator[LayerReport]:
    for found in inspect_servers(layer):
        yield LayerReport(found.where, found.facts, [_message(finding) for finding in found.findings])


def _message(finding: ServerFinding) -> CheckMessage:
    kind, id = _MESSAGES[finding.problem]
    return kind(finding.sentence, hint=finding.hint, id=id)  # type: ignore[call-arg,arg-type]  # they set the level


def _redis_and_local(layer: RedisLocalChannelLayer) -> Iterator[LayerReport]:
    yield from _redis(layer)
    yield from _local(layer.local_layer)


def _local(layer: LocalChannelLayer) -> Iterator[LayerReport]:
    report = LayerReport(f"The local layer at {layer.path}")
    try:
        layer.open_socket().close()
        report.facts.append("an interface server hosts it")
    except LayerUnavailable as error:
        if isinstance(error.__cause__, NO_HOST):
            problem = f"Nobody hosts the local layer at {layer.path} now."
            report.messages.append(Warning(problem, hint=error.next_step, id="channels_classic.W022"))
        else:
            report.messages.append(Error(error.args[1], hint=error.next_step, id="channels_classic.E020"))
    except (ChannelsError, OSError) as error:
        report.messages.append(Error(str(error), id="channels_classic.E020"))
    yield report


def _memory(layer: ChannelLayer) -> Iterator[LayerReport]:
    yield LayerReport("The memory layer", ["it lives in each process by itself"])


_INSPECTIONS: tuple[tuple[type[Any], Callable[[Any], Iterator[LayerReport]]], ...] = (
    (RedisLocalChannelLayer, _redis_and_local),
    (RedisChannelLayer, _redis),
    (LocalChannelLayer, _local),
    (ChannelLayer, _memory),
)
"""By class, the most special one first."""
