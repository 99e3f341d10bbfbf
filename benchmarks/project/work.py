"""What a consumer that needs a processor does."""

from __future__ import annotations


def compute() -> int:
    """Some milliseconds of work in Python."""
    return sum(number * number % 7 for number in range(60_000))
