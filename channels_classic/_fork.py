"""Objects that are reset in a forked child.

A fork copies a lock as it is, but not the thread that holds it: in the child nobody would ever release it. And two
processes on one connection would read each other's replies.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """An object with locks, threads or connections."""

    def after_fork(self) -> None:
        """Replace what belongs to the parent. Called in the child, before anything else runs there."""


_objects: WeakSet[ForkAware] = WeakSet()


def renew_after_fork(owner: ForkAware) -> None:
    """Call `owner.after_fork` in every child that is forked while `owner` lives."""
    _objects.add(owner)


def _renew() -> None:
    for owner in list(_objects):
        owner.after_fork()


os.register_at_fork(after_in_child=_renew)
