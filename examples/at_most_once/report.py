"""The fate of every message: a table, and a picture with one square for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

ONCE, LOST, TWICE = "#7fb88f", "#d9534f", "#222222"

_COLUMNS = 200
_SQUARE = 5


@dataclass(frozen=True)
class Phase:
    """A part of the demonstration: what went wrong, the numbers sent meanwhile, and why some of them can be lost."""

    name: str
    numbers: range
    reason: str


def table(phases: Sequence[Phase], consumed: Mapping[int, int]) -> str:
    """The fate of the messages by part, as lines that a README can quote."""
    head = f"| {'while':33} | {'sent':>6} | {'once':>6} | {'lost':>5} | {'twice':>5} | {'why lost':42} |"
    lines = [head, "|" + "|".join("-" * (len(cell)) for cell in head.strip("|").split("|")) + "|"]
    totals = [0, 0, 0, 0]
    for phase in phases:
        times = [consumed.get(number, 0) for number in phase.numbers]
        counts = [len(times), times.count(1), times.count(0), sum(time > 1 for time in times)]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        lines.append(_row(phase.name, counts, phase.reason if counts[2] else ""))
    return "\n".join([*lines, _row("together", totals, "")])


def _row(name: str, counts: Sequence[int], reason: str) -> str:
    sent, once, lost, twice = counts
    return f"| {name:33} | {sent:6} | {once:6} | {lost:5} | {twice:5} | {reason:42} |"


def picture(phases: Sequence[Phase], consumed: Mapping[int, int]) -> str:
    """An SVG: one square per message, in the order in which they were sent, each part under its name."""
    y, parts = 30, [_legend()]
    for phase in phases:
        parts.append(f'<text x="0" y="{y + 12}">{_caption(phase, consumed)}</text>')
        y += 20
        for start in range(phase.numbers.start, phase.numbers.stop, _COLUMNS):
            row = [consumed.get(n, 0) for n in range(start, min(start + _COLUMNS, phase.numbers.stop))]
            parts += _squares(row, y)
            y += _SQUARE
        y += 10
    width = _COLUMNS * _SQUARE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -10 {width + 20} {y + 10}" '
        'font-family="sans-serif" font-size="14">\n'
        f'<rect x="-10" y="-10" width="{width + 20}" height="{y + 10}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def explanation(phases: Sequence[Phase], consumed: Mapping[int, int]) -> str:
    """Return how to read the picture, and what this one shows."""
    shown = "\n".join(f"  * {_caption(phase, consumed)}" for phase in phases)
    return (
        "Each square is one message. Read it like a text, in the order in which they were sent: green was consumed "
        f"once, red was lost, black would have been consumed twice. The fault strikes in the middle of each "
        f"part.\n{shown}"
    )


def _caption(phase: Phase, consumed: Mapping[int, int]) -> str:
    lost = sum(not consumed.get(number, 0) for number in phase.numbers)
    twice = sum(consumed.get(number, 0) > 1 for number in phase.numbers)
    return (
        f"{phase.name}: {f'{lost} of {len(phase.numbers)} lost, because {phase.reason}' if lost else 'nothing lost'}, "
        f"{twice or 'none'} twice"
    )


def _squares(row: Sequence[int], y: int) -> list[str]:
    """The squares of a row, neighbours of one colour in one piece."""
    found, column = [], 0
    for times, same in groupby(row, key=lambda times: min(times, 2)):
        length = len(list(same))
        colour = (LOST, ONCE, TWICE)[times]
        x, width = column * _SQUARE, length * _SQUARE
        found.append(f'<rect x="{x}" y="{y}" width="{width}" height="{_SQUARE - 1}" fill="{colour}"/>')
        column += length
    return found


def _legend() -> str:
    labels = [(ONCE, "delivered exactly once"), (LOST, "lost"), (TWICE, "delivered twice")]
    return "".join(
        f'<rect x="{index * 220}" y="0" width="12" height="12" fill="{colour}"/>'
        f'<text x="{index * 220 + 18}" y="11">{label}</text>'
        for index, (colour, label) in enumerate(labels)
    )
