"""The garbage collector of an interface server: it looks at few objects at a time, and still finds all garbage."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from channels_classic.interface_server.server.garbage import INTERVAL, Freezer


class Node:
    """An object that is part of a cycle if `other` is itself."""

    other: object = None


@pytest.fixture
def clock() -> Iterator[list[float]]:
    now = [0.0]
    freezer = Freezer(lambda: now[0])
    gc.callbacks.append(freezer)
    yield now
    gc.callbacks.remove(freezer)
    gc.unfreeze()


def test_what_survives_a_full_collection_is_left_out_of_the_next(clock: list[float]) -> None:
    node = Node()
    gc.collect()
    assert all(each is not node for each in gc.get_objects())


def test_what_nothing_refers_to_any_more_is_freed_at_once(clock: list[float]) -> None:
    node = Node()
    ended = weakref.ref(node)
    gc.collect()
    del node
    assert ended() is None


def test_a_cycle_among_old_objects_is_freed_within_the_interval(clock: list[float]) -> None:
    node = Node()
    node.other = node
    ended = weakref.ref(node)
    gc.collect()
    del node
    gc.collect()
    assert ended() is not None
    clock[0] = INTERVAL
    gc.collect()
    gc.collect()
    assert ended() is None
