"""A comparison of trainings as one self-contained HTML page: no script, no network. Every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from deployments.runs.curves import Comparison, Row
from deployments.runs.drawing import COLOURS, DASHES, Axis, Measure, chart, end_of, lines_of
from deployments.wording import duration, printable

_CSS = (Path(__file__).parents[1] / "summary.css", Path(__file__).with_name("compare.css"))
_PARTS: tuple[Measure, ...] = ("loss", "validation_loss")
_WORDS: dict[Measure, str] = {"loss": "Training loss, raw and smoothed", "validation_loss": "Validation loss"}


def comparison_html(comparison: Comparison, title: str = "Trainings side by side") -> str:
    """The page."""
    style = "".join(file.read_text(encoding="utf-8") for file in _CSS)
    sections = (_head(comparison, title), _curves(comparison), _measures(comparison), _settings(comparison))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Tuneloop: {_text(title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(comparison: Comparison, title: str) -> str:
    names = "".join(f'<span class="run">{_swatch(i)}{_text(r.name)}</span>' for i, r in enumerate(comparison.runs))
    return f'<h1>{_text(title)}</h1><p class="dim">{names}</p>'


def _swatch(index: int) -> str:
    """A piece of the run's line."""
    line = f'<line x1="0" x2="28" y1="5" y2="5" stroke="{COLOURS[index]}" stroke-dasharray="{DASHES[index]}"/>'
    return f'<svg class="swatch" viewBox="0 0 28 10" aria-hidden="true">{line}</svg>'


def _curves(comparison: Comparison) -> str:
    """Both drawings over steps and over tokens; two radio buttons choose, without a script."""
    choose = (
        '<input class="axis" type="radio" name="axis" id="by-step" checked>'
        '<input class="axis" type="radio" name="axis" id="by-tokens">'
        '<div class="switch"><label for="by-step">over steps</label><label for="by-tokens">over tokens</label></div>'
    )
    axes: tuple[Axis, ...] = ("step", "tokens")
    drawn = "".join(f'<div class="over-{axis}">{_drawings(comparison, axis)}</div>' for axis in axes)
    return f"<section><h2>Curves</h2>{choose}{drawn}</section>"


def _drawings(comparison: Comparison, axis: Axis) -> str:
    found, end = "", end_of(comparison.runs, axis)
    for measure in _PARTS:
        drawn = chart(lines_of(comparison.runs, axis, measure), axis, measure, end)
        found += f"<h3>{_WORDS[measure]}</h3>{drawn}" if drawn else ""
    return found or '<p class="dim">No run has two steps with a finite loss.</p>'


def _measures(comparison: Comparison) -> str:
    rows = [(_text(row.name), [_cell(row, i) for i in range(len(row.values))]) for row in comparison.measures]
    note = '<p class="dim">★ the best of the row</p>'
    return f"<section><h2>Measures</h2>{_table('measure', comparison, rows, numbers=True)}{note}</section>"


def _cell(row: Row, index: int) -> str:
    text = value_text(row.name, row.values[index])
    return f'<span class="best">{text}</span>' if row.best == index else text


def value_text(name: str, value: float | None) -> str:
    """A value as people read it: times in words, counts whole, the rest with four digits."""
    if value is None:
        return ""
    if name == "seconds":
        return duration(value)
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"


def _settings(comparison: Comparison) -> str:
    if not comparison.differences:
        return '<section><h2>Settings</h2><p class="dim">All settings are the same.</p></section>'
    rows = [(f"<code>{_text(name)}</code>", [_text(v) or "–" for v in values])
            for name, values in comparison.differences.items()]  # fmt: skip
    return f"<section><h2>Settings that differ</h2>{_table('setting', comparison, rows, numbers=False)}</section>"


def _table(first: str, comparison: Comparison, rows: Sequence[tuple[str, list[str]]], *, numbers: bool) -> str:
    kind = ' class="n"' if numbers else ""
    head = "".join(f"<th{kind}>{_swatch(i)}<br>{_text(run.name)}</th>" for i, run in enumerate(comparison.runs))
    body = "".join(
        f'<tr><td class="setting">{name}</td>{"".join(f"<td{kind}>{cell}</td>" for cell in cells)}</tr>'
        for name, cells in rows
    )
    return f'<div class="scroll"><table><tr><th>{first}</th>{head}</tr>{body}</table></div>'


def _text(text: str) -> str:
    return escape(printable(text))
