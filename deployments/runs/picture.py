"""Overlaid curves of several trainings as an image."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

from deployments.runs.curves import Comparison
from deployments.runs.drawing import COLOURS, Line, Measure, lines_of, smoothed
from deployments.wording import printable

_DPI, _PANEL_INCHES = 110, (6.4, 3.8)
_DASHES = ("-", "--", ":", "-.")
_TITLES: dict[Measure, str] = {"loss": "Training loss (smoothed)", "validation_loss": "Validation loss"}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "text.parse_math": False,
}  # fmt: skip


def picture(comparison: Comparison) -> bytes:
    """PNG with a panel for the training loss, and one for the validation loss where a run has it."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measures: tuple[Measure, ...] = ("loss", "validation_loss")
    panels = [(measure, found) for measure in measures if (found := lines_of(comparison.runs, "step", measure))]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        size = (_PANEL_INCHES[0] * max(1, len(panels)), _PANEL_INCHES[1])
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        for place, (measure, lines) in enumerate(panels, start=1):
            _panel(figure.add_subplot(1, len(panels), place), measure, lines)
        stream = io.BytesIO()
        with warnings.catch_warnings():  # a name in letters that the font lacks is drawn as boxes
            warnings.filterwarnings("ignore", message="Glyph")
            figure.savefig(stream, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _panel(axes: Any, measure: Measure, lines: Sequence[Line]) -> None:
    for line in lines:
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        colour, dash = COLOURS[line.colour], _DASHES[line.colour]
        if measure == "loss":
            axes.plot(xs, ys, color=colour, alpha=0.2, linewidth=0.8)
            axes.plot(xs, smoothed(ys), color=colour, linestyle=dash, linewidth=1.8, label=printable(line.name))
        else:
            axes.plot(xs, ys, color=colour, linestyle=dash, marker="o", markersize=3.5, label=printable(line.name))
    axes.set_title(_TITLES[measure], loc="left")
    axes.set_xlabel("optimiser steps")
    axes.set_xlim(left=0)
    axes.yaxis.grid(visible=True, color="#e3e7eb")
    axes.legend(frameon=False, fontsize=8)
