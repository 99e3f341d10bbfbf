"""Capacities by the patterns of channel names."""

from __future__ import annotations

import fnmatch
import re

from hypothesis import given
from hypothesis import strategies as st

from channels_classic.layers.capacity import Capacities

names = st.text("ab.!?", min_size=1, max_size=6)
globs = st.text("ab.!*?", min_size=1, max_size=5)


def test_the_patterns_of_the_asgi_draft_give_its_capacities() -> None:
    capacities = Capacities(42, {"http.response!*": 10, "http.request": 100})
    assert capacities.of("http.disconnect") == 42
    assert capacities.of("http.request") == 100
    assert capacities.of("http.response!") == 10


def test_an_expression_is_anchored_at_the_start_only() -> None:
    capacities = Capacities(1, {re.compile(r"http\.res"): 2})
    assert capacities.of("http.response!") == 2
    assert capacities.of("my.http.response!") == 1


def test_globs_know_upper_and_lower_case_and_brackets() -> None:
    capacities = Capacities(1, {"Chat.[ab]": 2})
    assert [capacities.of(name) for name in ("Chat.a", "Chat.c", "chat.a")] == [2, 1, 1]


def test_a_capacity_of_zero_is_kept() -> None:
    assert Capacities(5, {"closed": 0}).of("closed") == 0


@given(st.lists(st.tuples(globs, st.integers(0, 9)), max_size=6), names)
def test_the_first_pattern_that_matches_wins(patterns: list[tuple[str, int]], name: str) -> None:
    given_patterns = dict(patterns)
    expected = next((value for glob, value in given_patterns.items() if fnmatch.fnmatchcase(name, glob)), 99)
    capacities = Capacities(99, dict(patterns))
    assert capacities.of(name) == expected
    assert capacities.of(name) == expected  # and it stays so when it is remembered


def test_more_names_than_are_remembered_are_answered_as_well() -> None:
    capacities = Capacities(1, {"chat.*": 2})
    assert {capacities.of(f"chat.{number}") for number in range(5000)} == {2}
    assert capacities.of("other") == 1
