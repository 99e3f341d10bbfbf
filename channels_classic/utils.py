"""Names of objects for log lines and error messages. Projects written for Channels 1.x import this module."""

from __future__ import annotations

from types import ModuleType
from typing import Any

__all__ = ["name_that_thing"]


def name_that_thing(thing: Any) -> str:
    """Return the dotted name of a function, class or method, or of the class of any other object. Never raises.

    A bound classmethod has the name of the class it is bound to, because that is how class-based consumers are routed.
    """
    if type(thing).__module__ == "unittest.mock":
        return "<mock>"  # A mock has every attribute, so that the name would be a mock too.
    owner = getattr(thing, "__self__", None)
    if isinstance(owner, type):
        return _dotted(owner)
    if owner is not None and not isinstance(owner, ModuleType) and hasattr(thing, "__name__"):
        return f"{_dotted(type(owner))}.{thing.__name__}"
    if isinstance(getattr(thing, "__name__", None), str):
        return _dotted(thing)
    return _dotted(type(thing))


def _dotted(named: Any) -> str:
    module = getattr(named, "__module__", None)
    name = getattr(named, "__qualname__", None) or named.__name__
    return f"{module}.{name}" if module else str(name)
