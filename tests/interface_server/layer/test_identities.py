"""The identities of the clients of one process."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.layer.identities import Identities
from channels_classic.layers.results import Identity

ADA, BOB = Identity("ada", b"\x80"), Identity("bob", b"\x80")


@pytest.fixture
def identities() -> Identities:
    found = Identities()
    found.note("room", "a", *ADA)
    found.note("hall", "a", *ADA)
    found.note("room", "b", *BOB)
    return found


def test_each_client_has_one_in_each_group(identities: Identities) -> None:
    identities.note("room", "a", *BOB)
    assert identities.of("room") == {"a": BOB, "b": BOB}
    assert identities.of("hall") == {"a": ADA}
    assert identities.of("nowhere") == {}


@pytest.mark.parametrize(("who", "info"), [(None, b""), ("ada", None), (1, b""), ("ada", {"a": 1})])
def test_one_that_another_release_writes_differently_is_ignored(who: object, info: object) -> None:
    identities = Identities()
    identities.note("room", "a", who, info)
    assert identities.groups() == []


def test_a_group_without_any_is_forgotten(identities: Identities) -> None:
    identities.forget("hall", "a")
    identities.forget("hall", "a")
    assert identities.groups() == ["room"]


def test_a_client_that_is_gone_is_nowhere(identities: Identities) -> None:
    identities.drop("a")
    assert identities.groups() == ["room"]
    assert identities.of("room") == {"b": BOB}


def test_the_layer_knows_better(identities: Identities) -> None:
    identities.take_over("room", {"b": ADA, "c": BOB})
    assert identities.of("room") == {"b": ADA, "c": BOB}
    identities.drop("a")
    assert identities.groups() == ["room"]


def test_nothing_is_left_when_it_is_cleared(identities: Identities) -> None:
    identities.clear()
    assert identities.groups() == []
    identities.drop("a")
