"""Fields of configuration classes from which the commands make their options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any


def option(default: Any, text: str, *flags: str, kind: Callable[[str], Any] | None = None, group: str = "") -> Any:
    """Return a dataclass field that describes an option with the help `text` and further `flags`.

    `kind` converts its text where the type of the default does not; `group` is the section of the help that lists it.
    """
    metadata = {"help": text, "flags": flags, "kind": kind or type(default), "group": group}
    return field(default=default, metadata=metadata)
