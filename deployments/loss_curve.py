"""The loss curve as inline SVG: no library, no network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.contracts import LossPoint

WIDTH, HEIGHT = 1000, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 28
_SMOOTHING = 0.6
_LINES = 4
_MOST_POINTS = 800


def loss_curve_svg(curve: Sequence[LossPoint]) -> str:
    """Loss over optimiser steps, raw and smoothed; empty for fewer than two finite points."""
    points = [p for p in curve if math.isfinite(p.loss)]
    points = points[:: max(1, math.ceil(len(points) / _MOST_POINTS))]
    if len(points) < 2:
        return ""
    top = max(p.loss for p in points) * 1.05 or 1.0
    first, last = points[0].step, points[-1].step

    def place(step: float, loss: float) -> str:
        x = _LEFT + (step - first) / max(1, last - first) * (WIDTH - _LEFT - _RIGHT)
        return f"{x:.1f},{_height(loss, top):.1f}"

    raw = " ".join(place(p.step, p.loss) for p in points)
    smooth = " ".join(place(p.step, y) for p, y in zip(points, _smoothed([p.loss for p in points]), strict=True))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Training loss over optimiser steps">'
        f"{_grid(top)}{_step_labels(first, last)}"
        f'<polyline class="raw" points="{raw}"/><polyline class="smooth" points="{smooth}"/></svg>'
    )


def _height(loss: float, top: float) -> float:
    return HEIGHT - _BOTTOM - loss / top * (HEIGHT - _TOP - _BOTTOM)


def _grid(top: float) -> str:
    parts = []
    for i in range(_LINES + 1):
        value = top * i / _LINES
        y = _height(value, top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    return "".join(parts)


def _step_labels(first: int, last: int) -> str:
    y = HEIGHT - 8
    return (
        f'<text x="{_LEFT}" y="{y}">step {first}</text>'
        f'<text x="{WIDTH - _RIGHT}" y="{y}" text-anchor="end">step {last}</text>'
    )


def _smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average, started at the first value: a guide to the eye."""
    smooth = [values[0]]
    for value in values[1:]:
        smooth.append(_SMOOTHING * smooth[-1] + (1 - _SMOOTHING) * value)
    return smooth
