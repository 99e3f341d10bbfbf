"""Capacities of channels, in unread messages: patterns from the settings, the first match wins. Pure, no I/O."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from channels_classic.layers.names import check_glob


class _Pattern(Protocol):
    def match(self, string: str, /) -> object | None: ...


LARGEST = 2**31
"""The largest number of seconds or messages that a setting may give: larger ones do not fit everywhere."""

Patterns = Mapping["str | re.Pattern[str]", int]


class Capacities:
    """The capacity of every channel.

    A text key is a case-sensitive glob over the whole name, a compiled expression is anchored at the start.
    Process-local channels are looked up by their inbox (the name up to and including `!`), as in Channels 1.x.
    """

    def __init__(self, default: int, patterns: Patterns | None = None) -> None:
        if not isinstance(patterns, (Mapping, type(None))):
            raise ValueError(f"`channel_capacity` is {patterns!r}: expected a dict of pattern to capacity.")
        self.default = default
        self.patterns: list[tuple[_Pattern, int]] = list(self._compile((patterns or {}).items()))
        self._known: dict[str, int] = {}

    @staticmethod
    def _compile(items: Iterable[tuple[str | re.Pattern[str], int]]) -> Iterable[tuple[_Pattern, int]]:
        for pattern, capacity in items:
            if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 0:
                raise ValueError(
                    f"`channel_capacity` has {capacity!r} for {pattern!r}: expected a whole number, 0 or more."
                )
            if capacity > LARGEST:
                raise ValueError(f"`channel_capacity` has {capacity!r} for {pattern!r}: expected at most {LARGEST}.")
            if isinstance(pattern, str):
                check_glob("`channel_capacity`", pattern)
                yield re.compile(fnmatch.translate(pattern)), capacity
            elif isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
                yield pattern, capacity
            else:
                raise ValueError(
                    f"`channel_capacity` has the pattern {pattern!r}: expected text such as 'http.response!*', or a "
                    "compiled regular expression."
                )

    def of(self, name: str) -> int:
        """Entries that the list `name` may hold; for an inbox: entries that each of its clients may hold."""
        capacity = self._known.get(name)
        if capacity is None:
            capacity = next((value for pattern, value in self.patterns if pattern.match(name)), self.default)
            if len(self._known) < 4096:
                self._known[name] = capacity
        return capacity
