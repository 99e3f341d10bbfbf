"""The memory that a piece of code takes, whatever other threads of this process do meanwhile."""

from __future__ import annotations

import tracemalloc
from types import ModuleType


def allocated_by(*modules: ModuleType | str) -> int:
    """Return the bytes that were allocated in these files since `tracemalloc.start`, and are held."""
    names = [module if isinstance(module, str) else str(module.__file__) for module in modules]
    own = [tracemalloc.Filter(True, name) for name in names]
    found = tracemalloc.take_snapshot().filter_traces(own).statistics("filename")
    return sum(each.size for each in found)
