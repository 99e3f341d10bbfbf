"""Names of things, for log lines and error sentences. The module exists because 1.x projects import it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

__all__ = ["name_that_thing"]


def name_that_thing(thing: Any) -> str:
    """The dotted name of a function, class or method; of an instance, that of its class. Never raises.

    A bound classmethod is named after the class it is bound to, which is how class-based consumers appear in routing.
    """
    if type(thing).__module__ == "unittest.mock":
        return "<mock>"  # a mock makes up any attribute that is asked for
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
