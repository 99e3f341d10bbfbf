"""A picture (SVG) of results: for each scenario a bar for everyone, with the spread over rounds as a thin line."""

from __future__ import annotations

from xml.sax.saxutils import escape

from benchmarks.contenders import CONTENDERS
from benchmarks.results import Middle, Results
from benchmarks.scenarios import SCENARIOS, Scenario

OURS, PEER, FLOOR = "#2f7d5b", "#9aa7b5", "#d8cfa8"
FLOORS = ("bare", "handler", "redis-benchmark")

WIDTH, NAMES, NUMBERS = 900, 330, 110
BAR, GAP = 16, 4


def picture(results: Results) -> str:
    """All scenarios, one below the other."""
    y, parts = 0, []
    for scenario in SCENARIOS:
        for figure in dict.fromkeys(goal.figure for goal in scenario.goals):
            bars = _bars(results, scenario, figure)
            if any(middle.high for _, middle in bars):
                parts += _chart(f"{scenario.title}: {figure}", bars, y)
                y += 30 + len(bars) * (BAR + GAP) + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -10 {WIDTH + 20} {y + 10}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect x="-10" y="-10" width="{WIDTH + 20}" height="{y + 10}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bars(results: Results, scenario: Scenario, figure: str) -> list[tuple[str, Middle]]:
    found = [(key, results.middle(scenario.key, key, figure)) for key in scenario.contenders]
    return [(key, middle) for key, middle in found if middle is not None]


def _chart(title: str, bars: list[tuple[str, Middle]], y: int) -> list[str]:
    largest = max(middle.high for _, middle in bars) or 1.0
    scale = (WIDTH - NAMES - NUMBERS) / largest
    parts = [f'<text x="0" y="{y + 16}" font-weight="bold" font-size="14">{escape(title)}</text>']
    for place, (key, middle) in enumerate(bars):
        top = y + 26 + place * (BAR + GAP)
        middle_y, end = top + BAR / 2, NAMES + middle.high * scale
        parts += [
            f'<text x="{NAMES - 8}" y="{top + 12}" text-anchor="end">{escape(CONTENDERS[key].name)}</text>',
            f'<rect x="{NAMES}" y="{top}" width="{max(middle.value * scale, 1):.1f}" height="{BAR}" '
            f'fill="{_colour(key)}"/>',
            f'<line x1="{NAMES + middle.low * scale:.1f}" y1="{middle_y}" x2="{end:.1f}" y2="{middle_y}" '
            'stroke="black"/>',
            f'<text x="{end + 8:.1f}" y="{top + 12}">{_label(middle.value)}</text>',
        ]
    return parts


def _colour(key: str) -> str:
    if key in FLOORS:
        return FLOOR
    return OURS if CONTENDERS[key].name.startswith("channels_classic") else PEER


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
