"""Limits how many consumers of some channels run at once in a process, so that slow work leaves room for the rest.

Worker threads ask before they take messages and before they start one; a message that may not start is put back.
"""

from __future__ import annotations

import fnmatch
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


def parse_limits(texts: Iterable[str]) -> dict[str, int]:
    """Return `{"thumbnails.*": 1}` for `["thumbnails.*=1"]`. Raises `ValueError`."""
    limits = {}
    for text in texts:
        pattern, _, number = text.partition("=")
        if not pattern or not number.isdecimal() or int(number) < 1:
            raise ValueError(f"--limit is {text!r}: expected a glob and a number from 1, such as 'thumbnails.*=1'.")
        if pattern in limits:
            raise ValueError(f"--limit is given twice for {pattern!r}: write it once.")
        limits[pattern] = int(number)
    return limits


def first_match(channel: str, globs: Iterable[str]) -> str:
    """Return the first glob that matches a channel; the empty text if none does."""
    return next((glob for glob in globs if fnmatch.fnmatchcase(channel, glob)), "")


def without_effect(options: Mapping[str, Collection[str]], channels: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield option and glob, of the globs by option, where a glob is not the first of its option for any channel."""
    for option, globs in options.items():
        used = {first_match(channel, globs) for channel in channels}
        yield from ((option, glob) for glob in globs if glob not in used)


class ChannelLimits:
    """Counts running consumers by pattern; the first pattern that matches a channel counts. Thread-safe."""

    def __init__(self, limits: Mapping[str, int], channels: Sequence[str]) -> None:
        self._free = Counter(limits)
        self._patterns = {channel: glob for channel in channels if (glob := first_match(channel, limits))}
        self._changed = threading.Condition()
        self.any = bool(self._patterns)
        """True if any channel is limited."""

    def open(self, channels: Sequence[str], timeout: float) -> Sequence[str]:
        """Return the channels whose messages may start now; waits at most `timeout` seconds for one."""
        with self._changed:
            if not self._open(channels):
                self._changed.wait(timeout)
            return self._open(channels)

    def _open(self, channels: Sequence[str]) -> list[str]:
        return [channel for channel in channels if self._is_open(channel)]

    def _is_open(self, channel: str) -> bool:
        pattern = self._patterns.get(channel)
        return pattern is None or self._free[pattern] > 0

    def acquire(self, channel: str) -> bool:
        """Return whether a consumer of the channel may start; if so, `release` must follow."""
        with self._changed:
            if not self._is_open(channel):
                return False
            self._free[self._patterns.get(channel, "")] -= 1
            return True

    def release(self, channel: str) -> None:
        """Count a consumer of the channel as ended."""
        with self._changed:
            self._free[self._patterns.get(channel, "")] += 1
            self._changed.notify_all()
