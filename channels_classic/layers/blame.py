"""The key of a message that cannot be sent, for the error about it. Pure.

A message may do anything when it is looked at, and may contain itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgpack

_DEPTH = 20
"""Levels of a message in which a key is looked for."""


def refusal(message: Any, pack: Callable[[Any], Any], error: Exception) -> str:
    """Return why `pack` refused a message with `error`: the key of the innermost value that it refuses, if any."""
    with suppress(Exception):
        path, value = _refused(message, pack, "", _DEPTH)
        if path:
            return f"the key {path} has a value of type {type(value).__name__} ({error})"
    return str(error)


def _refused(value: Any, pack: Callable[[Any], Any], path: str, depth: int) -> tuple[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, inner in items if depth else ():
        try:
            pack(inner)
        except Exception:
            return _refused(inner, pack, f"{path}[{key!r}]", depth - 1)
    return path, value


def largest_key(message: Mapping[str, Any]) -> str:
    """Return the representation of the key with the largest value; empty where it cannot be found."""
    with suppress(Exception):
        return repr(max(message, key=lambda key: len(msgpack.packb(message[key]))))
    return ""
