"""The image of a dataset card: how long the rows are, how good, and how their classes are spread.

The image is one of the version's files and so part of its manifest: the same numbers have to give the same bytes.
Font, resolution and metadata are therefore fixed here and not taken from the machine's matplotlib settings.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

from tasks.similarity.profile import Profile
from tasks.version.distributions import QUALITY_STEP, Distributions, Lengths, length_names, quality_class

_TRAIN, _TEST, _INK, _GRID = "#2f6f9f", "#e2a03f", "#30363d", "#e3e7eb"
_COLUMNS, _PANEL_INCHES, _DPI = 3, (3.6, 2.5), 100
# Inches left, right, below, above: given, since working them out from what is drawn took half of the time.
_MARGINS, _MARGINS_OF_BARS = (0.55, 0.1, 0.6, 0.28), (0.15, 0.1, 0.1, 0.28)
_SQUARE, _CAPITAL, _LETTER = 0.13, 0.092, 0.071  # inches of a letter at the font's size
_FIRST_SQUARE = 0x1100  # from here on most letters are as wide as high, and so are the boxes of missing ones
_MAX_BARS, _LABEL_CHARACTERS = 8, 18
_LABEL_PANELS = 3
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 9, "axes.titleweight": "bold",
    "axes.titley": 1.0, "axes.edgecolor": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "text.hinting": "none",
    "text.parse_math": False, "path.simplify": False, "axes.formatter.useoffset": False,
}  # fmt: skip


def picture(numbers: Distributions, labels: Profile) -> bytes:
    """PNG with one panel for each distribution that the version has."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(numbers, labels)
    rows = max(1, math.ceil(len(panels) / _COLUMNS))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(_PANEL_INCHES[0] * _COLUMNS, _PANEL_INCHES[1] * rows))
        FigureCanvasAgg(figure)
        for place, (draw, *arguments) in enumerate(panels):
            margins = _margins_of_bars(*arguments) if draw is _bars else _MARGINS
            draw(figure.add_axes(_room(place, rows, margins)), *arguments)
        stream = io.BytesIO()
        with warnings.catch_warnings():  # a label in letters that the font lacks is drawn as a box
            warnings.filterwarnings("ignore", message="Glyph")
            figure.savefig(stream, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _room(place: int, rows: int, margins: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of a panel's axes, as shares of the figure."""
    (width, height), (left, right, below, above) = _PANEL_INCHES, margins
    row, column = divmod(place, _COLUMNS)
    return (
        (column * width + left) / (_COLUMNS * width),
        ((rows - 1 - row) * height + below) / (rows * height),
        (width - left - right) / (_COLUMNS * width),
        (height - below - above) / (rows * height),
    )


def _margins_of_bars(_title: str, bars: Sequence[tuple[str, int, str]]) -> tuple[float, float, float, float]:
    """Room for the longest label on the left."""
    left, right, below, above = _MARGINS_OF_BARS
    return left + max((sum(map(_inches, label)) for label, *_ in bars), default=0), right, below, above


def _inches(letter: str) -> float:
    return _SQUARE if ord(letter) >= _FIRST_SQUARE else _CAPITAL if letter.isupper() else _LETTER


def _panels(numbers: Distributions, labels: Profile) -> list[Any]:
    made: list[Any] = [
        (_length_panel, title, numbers.lengths.get(f"train {side}"), numbers.lengths.get(f"test {side}"))
        for side, title in (("prompt", "Prompt length (words)"), ("answer", "Answer length (words)"))
    ]
    made.append(
        (_quality_panel, numbers.quality)
        if numbers.quality
        else (_bars, "What became of the rows", _chosen(_fate(numbers)))
    )
    chosen = sorted(labels.answers, key=lambda name: (-sum(labels.answers[name].values()), name))[:_LABEL_PANELS]
    return made + [(_bars, f"Training rows by {name or 'answer'}", _chosen(labels.answers[name])) for name in chosen]


def _fate(numbers: Distributions) -> dict[str, int]:
    return {**numbers.splits, **numbers.reasons}


def _length_panel(axes: Any, title: str, train: Lengths | None, test: Lengths | None) -> None:
    """Shares of rows in each class of lengths, training and held-out side by side."""
    names, first, end = _shown_classes([side for side in (train, test) if side])
    for shift, lengths, colour, name in ((-0.2, train, _TRAIN, "train"), (0.2, test, _TEST, "test")):
        if lengths is not None:
            total = sum(lengths.classes)
            heights = [100 * count / total for count in lengths.classes[first:end]]
            axes.bar([i + shift for i in range(end - first)], heights, 0.4, color=colour, label=f"{name} ({total})")
    axes.set_xticks(range(end - first), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=6.5)
    axes.set_ylabel("% of rows")
    axes.yaxis.grid(visible=True, color=_GRID)
    axes.set_title(title, loc="left")
    if train or test:
        axes.legend(frameon=False, fontsize=7)


def _shown_classes(sides: Sequence[Lengths]) -> tuple[list[str], int, int]:
    """Names of the classes that are drawn, and their range: those that have rows, with an empty one on either side."""
    names = length_names()
    filled = [i for i in range(len(names)) if any(side.classes[i] for side in sides)] or [0]
    first, end = max(0, filled[0] - 1), min(len(names), filled[-1] + 2)
    return names[first:end], first, end


def _quality_panel(axes: Any, quality: dict[str, int]) -> None:
    names = [quality_class(step) for step in range(100 // QUALITY_STEP)]
    axes.bar(range(len(names)), [quality.get(name, 0) for name in names], 0.8, color=_TRAIN)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=6.5)
    axes.set_ylabel("rows")
    axes.yaxis.grid(visible=True, color=_GRID)
    axes.set_title("Quality score", loc="left")


def _chosen(values: dict[str, int]) -> list[tuple[str, int, str]]:
    """Label, count and colour of bars, the most frequent first; what does not fit is one bar."""
    ranked = sorted(((v, n) for v, n in values.items() if n), key=lambda item: (-item[1], item[0]))
    shown, rest = (ranked, []) if len(ranked) <= _MAX_BARS else (ranked[: _MAX_BARS - 1], ranked[_MAX_BARS - 1 :])
    bars = [(_short(value), count, _TRAIN) for value, count in shown]
    return bars + ([(f"{len(rest)} more", sum(n for _, n in rest), "#9aa5b1")] if rest else [])


def _bars(axes: Any, title: str, bars: Sequence[tuple[str, int, str]]) -> None:
    """Horizontal bars, the first one on top."""
    places = list(range(len(bars)))
    drawn = axes.barh(places, [count for _, count, _ in bars], 0.7, color=[colour for *_, colour in bars])
    axes.bar_label(drawn, padding=2, fontsize=7)
    axes.set_yticks(places, [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(title, loc="left")


def _short(value: str) -> str:
    line = " ".join(value.split()) or "(empty)"
    return line if len(line) <= _LABEL_CHARACTERS else line[: _LABEL_CHARACTERS - 1] + "…"
