"""Overlaid curves of several trainings as inline SVG: no library, no script, no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Literal, NamedTuple

from deployments.runs.curves import Compared
from deployments.wording import printable

COLOURS = ("#2a6fdb", "#d9480f", "#0f8a5f", "#a03fb5")
DASHES = ("", "7 3", "2 3", "9 3 2 3")  # told apart without colours too
WIDTH, HEIGHT = 1000, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 40
_SMOOTHING, _MOST_POINTS, _MOST_MARKS, _LINES = 0.6, 600, 40, 5
Axis = Literal["step", "tokens"]
Measure = Literal["loss", "validation_loss"]


class Line(NamedTuple):
    """One curve: what it is called, its points and which of the colours it has."""

    name: str
    points: list[tuple[float, float]]
    colour: int


class Range(NamedTuple):
    """What a drawing shows."""

    left: float
    right: float
    low: float
    high: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.left) / max(self.right - self.left, 1e-9)
        up = (y - self.low) / max(self.high - self.low, 1e-9)
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)


def lines_of(runs: Sequence[Compared], axis: Axis, measure: Measure) -> list[Line]:
    """The curves of one measure, those runs left out that have fewer than two finite points of it."""
    found = []
    for colour, run in enumerate(runs):
        points = [(float(getattr(p, axis)), v) for p in run.curve if (v := getattr(p, measure)) is not None]
        finite = [(x, y) for x, y in points if math.isfinite(y)]
        if len(finite) > 1:
            found.append(Line(run.name, finite[:: max(1, math.ceil(len(finite) / _MOST_POINTS))], colour))
    return found


def chart(lines: Sequence[Line], axis: Axis, measure: Measure, end: float) -> str:
    """The drawing from 0 to `end`; empty without lines. Training loss is raw and smoothed, looks as they are."""
    if not lines:
        return ""
    seen = _range(lines, end)
    drawn = "".join(_drawn(line, seen, marks=measure == "validation_loss") for line in lines)
    label = f"{measure.replace('_', ' ')} over {'optimiser steps' if axis == 'step' else 'tokens'}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{_grid(seen)}{_bottom(seen, axis)}{drawn}</svg>"
    )


def end_of(runs: Sequence[Compared], axis: Axis) -> float:
    """The last step, or the most tokens: drawings below one another share it."""
    return max(float(getattr(point, axis)) for run in runs for point in run.curve)


def _range(lines: Sequence[Line], end: float) -> Range:
    ys = [y for line in lines for _, y in line.points]
    room = 0.06 * (max(ys) - min(ys)) or 0.1
    return Range(0.0, end, max(0.0, min(ys) - room), max(ys) + room)


def _drawn(line: Line, seen: Range, *, marks: bool) -> str:
    colour, dash = COLOURS[line.colour], DASHES[line.colour]
    style = f'fill="none" stroke="{colour}" stroke-dasharray="{dash}"'
    if marks:
        return f'<polyline points="{_path(line.points, seen)}" {style} stroke-width="2"/>{_marks(line, seen)}'
    faint = f'<polyline points="{_path(line.points, seen)}" fill="none" stroke="{colour}" opacity=".25"/>'
    smooth = list(zip((x for x, _ in line.points), smoothed([y for _, y in line.points]), strict=True))
    return f'{faint}<polyline points="{_path(smooth, seen)}" {style} stroke-width="2"/>'


def _marks(line: Line, seen: Range) -> str:
    """A dot for each look, with its numbers where the pointer rests on it."""
    step = max(1, math.ceil(len(line.points) / _MOST_MARKS))
    dots = []
    for x, y in line.points[::step]:
        across, down = seen.place(x, y)
        title = f"{escape(printable(line.name))}: {y:.4f} at {x:.0f}"
        dots.append(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4" fill="{COLOURS[line.colour]}">')
        dots.append(f"<title>{title}</title></circle>")
    return "".join(dots)


def _path(points: Sequence[tuple[float, float]], seen: Range) -> str:
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in (seen.place(x, y) for x, y in points))


def _grid(seen: Range) -> str:
    parts, values = [], round_values(seen.low, seen.high)
    digits = max(1, -math.floor(math.log10(values[1] - values[0])))
    for value in values:
        _, y = seen.place(seen.left, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>')
    return "".join(parts)


def _bottom(seen: Range, axis: Axis) -> str:
    y, words = HEIGHT - 22, "optimiser steps" if axis == "step" else "tokens"
    parts = [f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{words}</text>']
    for value in round_values(seen.left, seen.right):
        x, _ = seen.place(value, seen.low)
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{short(value)}</text>')
    return "".join(parts)


def round_values(low: float, high: float) -> list[float]:
    """Some four to nine multiples of 1, 2 or 5 times a power of ten between two numbers, at least two."""
    rough = max(high - low, 1e-9) / _LINES
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, max(math.floor(high / step + 1e-9), first + 1) + 1)]


def short(value: float) -> str:
    """`930`, `12.5k`, `3.1M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.0f}"


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average, started at the first value: a guide to the eye."""
    found = [values[0]]
    for value in values[1:]:
        found.append(_SMOOTHING * found[-1] + (1 - _SMOOTHING) * value)
    return found
