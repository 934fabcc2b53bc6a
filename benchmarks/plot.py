"""Curves as SVG, by hand: small multiples over one logarithmic axis, readable on light and on dark ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from math import ceil, log10

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 260, 48, 44, 40, 44  # of one panel, and of what surrounds its curves
_COLOURS = (
    "#2f81f7",
    "#e0692b",
)  # told apart by the colour-blind, too; like the grey, with contrast on white and on black
_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #6e7781 } .title { font-size: 14px; font-weight: 600 }
.grid { stroke: #8c959f; stroke-opacity: .35 } polyline { fill: none; stroke-width: 2.5; stroke-linejoin: round }"""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: what it shows, and a value for each place of the horizontal axis."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves on one vertical axis, which begins at 0."""

    title: str
    curves: Sequence[Curve]


def svg(places: Sequence[int], axis: str, panels: Sequence[Panel]) -> str:
    """A picture of panels side by side over the same places, each a power of ten or between two."""
    drawn = [line for number, panel in enumerate(panels) for line in _panel(panel, places, axis, number * WIDTH)]
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}" viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *drawn, "</svg>", ""])


def _panel(panel: Panel, places: Sequence[int], axis: str, offset: int) -> Iterator[str]:
    left, right, bottom = offset + LEFT, offset + WIDTH - RIGHT, HEIGHT - BOTTOM
    low, high = log10(places[0]), log10(places[-1])
    step = _step(max(value for curve in panel.curves for value in curve.values))
    most = step * 4

    def x(place: float) -> float:
        return left + (right - left) * (log10(place) - low) / max(high - low, 1)

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * value / most

    yield _text(left, TOP - 18, panel.title, "title")
    for level in (step * number for number in range(5)):
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>'
        yield _text(left - 8, y(level) + 4, f"{level:g}", anchor="end")
    for power in range(ceil(low), int(high) + 1):
        yield _text(
            x(10**power), bottom + 18, f"{10**power:,}".replace(",000,000", "M").replace(",000", "k"), anchor="middle"
        )
    yield _text((left + right) / 2, bottom + 36, axis, anchor="middle")
    heights = _apart([y(curve.values[-1]) for curve in panel.curves])
    for curve, colour, height in zip(panel.curves, _COLOURS, heights, strict=False):
        points = [(x(place), y(value)) for place, value in zip(places, curve.values, strict=True)]
        yield f'<polyline stroke="{colour}" points="{" ".join(f"{across:.1f},{down:.1f}" for across, down in points)}"/>'
        yield from (f'<circle fill="{colour}" cx="{across:.1f}" cy="{down:.1f}" r="3.5"/>' for across, down in points)
        yield _text(right + 8, height + 4, curve.name, colour=colour)


def _step(most: float) -> float:
    """A round number, four of which reach beyond `most`."""
    return next(step for power in count(-3) for nice in (1, 2, 2.5, 5) if 4 * (step := nice * 10.0**power) >= most)


def _apart(heights: list[float]) -> list[float]:
    """The heights of two labels, moved apart if they would lie on each other."""
    if len(heights) != 2 or abs(heights[0] - heights[1]) >= 14:
        return heights
    middle, half = sum(heights) / 2, 7 if heights[0] > heights[1] else -7
    return [middle + half, middle - half]


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start", colour: str = "") -> str:
    marks = (f' class="{kind}"' if kind else "") + (f' style="fill:{colour};font-weight:600"' if colour else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{marks}>{escape(text)}</text>'
