"""The work of a consumer that needs a processor."""

from __future__ import annotations


def compute() -> int:
    """About ten milliseconds of work in Python, beside which the way of a message is short."""
    return sum(number * number % 7 for number in range(250_000))
