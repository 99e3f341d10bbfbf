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
    `least`, `above` and `most` are the bounds of a number, which `check_values` enforces.
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


def check_values(config: Any) -> None:
    """Raise `ValueError` for the first value of a configuration that is of another type than its option has.

    Likewise for a number that its option does not allow, or is infinite. Commands convert the texts that they are
    given; a program that makes a configuration itself may give anything.
    """
    for described in fields(config):
        value, bounds = getattr(config, described.name), described.metadata
        if bounds:
            _check_type(f"{type(config).__name__}.{described.name}", value, type(described.default))
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


def _check_type(name: str, value: Any, expected: type) -> None:
    """Raise `ValueError` unless a value is of the type that its default has; a whole number is a number."""
    allowed = (int, float) if expected is float else expected
    is_right = isinstance(value, allowed) and (expected is bool or not isinstance(value, bool))
    if expected is tuple:
        is_right = is_right and all(isinstance(item, str) for item in value)
    if not (is_right or expected is type(None)):
        words = "a tuple of texts" if expected is tuple else expected.__name__
        raise ValueError(f"{name} is {value!r}, of type {type(value).__name__}: expected {words}.")


def parse_address(name: str, text: str) -> tuple[str, int]:
    """Return host and port of the option `name`, which is `HOST:PORT` or `[HOST]:PORT`. Raises `ValueError`."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"{name} is {text!r}: expected a host and a port, such as 127.0.0.1:8001 or [::1]:8001.")
    return found["ipv6"] or found["host"], int(found["port"])
