"""Plots as SVG, drawn by hand: no library is worth a bar chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any, Final

_WIDTH: Final = 760
_LEFT: Final = 90
_RIGHT: Final = 120
_BAR: Final = 22
_GROUP: Final = 86
_MEASURED, _CONTROL, _INK, _LINE = "#c8102e", "#8a8f98", "#333333", "#dddddd"


Arms = tuple[str, Mapping[str, Any], Mapping[str, Any]]
"""Title, measured, control."""


def side_by_side(results: Sequence[Arms], figure: str = "recipients_per_s") -> str:
    """One figure of both arms of each result, on a logarithmic axis."""
    figures = [(title, float(measured[figure]), float(ordinary[figure])) for title, measured, ordinary in results]
    unit = figure.removesuffix("_per_s").replace("_", " ").capitalize()
    values = [value for _, *pair in figures for value in pair]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    scale = (_WIDTH - _LEFT - _RIGHT) / max(1, high - low)
    height = 40 + _GROUP * len(figures) + 30

    def x(value: float) -> float:
        return _LEFT + scale * (log10(value) - low)

    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
    parts = [
        f'{head} font-family="sans-serif" font-size="12" fill="{_INK}">',
        f"<title>{unit} per second, measured and control, logarithmic</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for power in range(low, high + 1):
        at = x(10**power)
        parts.append(f'<line x1="{at:.1f}" y1="24" x2="{at:.1f}" y2="{height - 30}" stroke="{_LINE}"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 14}" text-anchor="middle">{10**power:,}/s</text>')
    for number, (title, measured, control) in enumerate(figures):
        top = 30 + _GROUP * number
        parts.append(f'<text x="{_LEFT}" y="{top + 12}" font-weight="bold">{escape(title)}</text>')
        for row, (name, value, colour) in enumerate(
            (("measured", measured, _MEASURED), ("control", control, _CONTROL))
        ):
            y, end = top + 20 + row * (_BAR + 4), x(value)
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{name}</text>')
            bar = f'x="{_LEFT}" y="{y}" width="{max(1.0, end - _LEFT):.1f}" height="{_BAR}"'
            parts.append(f'<rect {bar} fill="{colour}"/>')
            parts.append(f'<text x="{end + 6:.1f}" y="{y + 15}">{value:,.0f}/s</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
