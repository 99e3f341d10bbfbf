"""Fields of configuration classes from which the commands make their options."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import field, fields
from typing import Any

LARGEST_TIME, LARGEST_NUMBER = 1e9, 1e15
"""The largest values of options that give no other: larger ones overflow in timers, or in C."""

_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})", re.ASCII)


def option(
    default: Any,
    text: str,
    *flags: str,
    kind: Callable[[str], Any] | None = None,
    group: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Any:
    """Return a dataclass field that describes an option with the help `text` and further `flags`.

    `kind` converts its text where the type of the default does not; `group` is the section of the help that lists it.
    `least`, `above` and `most` are the bounds of a number, which `check_numbers` enforces.
    """
    metadata = {
        "help": text,
        "flags": flags,
        "kind": kind or type(default),
        "group": group,
        "least": least,
        "above": above,
        "most": most,
    }
    return field(default=default, metadata=metadata)


def check_numbers(config: Any) -> None:
    """Raise `ValueError` for the first number of a configuration that its option does not allow, or is infinite."""
    for described in fields(config):
        value, bounds = getattr(config, described.name), described.metadata
        least, above = bounds.get("least"), bounds.get("above")
        if value is None or (least is None and above is None):
            continue
        is_enough = value >= least if above is None else value > above
        most = bounds.get("most")
        largest = LARGEST_TIME if isinstance(described.default, float) else LARGEST_NUMBER
        if most is None and largest < value < math.inf:
            most = largest
        if not is_enough or value == math.inf or (most is not None and value > most):
            expected = f"from {least:g}" if above is None else f"above {above:g}"
            expected += "" if most is None else f" to {most:g}"
            raise ValueError(f"--{described.name.replace('_', '-')} is {value:g}: expected a number {expected}.")


def parse_address(name: str, text: str) -> tuple[str, int]:
    """Return host and port of the option `name`, which is `HOST:PORT` or `[HOST]:PORT`. Raises `ValueError`."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"{name} is {text!r}: expected a host and a port, such as 127.0.0.1:8001 or [::1]:8001.")
    return found["ipv6"] or found["host"], int(found["port"])
