"""The loss curve as people see it: a table and a drawing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from tasks.contracts import LossPoint, TrainedModel

_WIDTH, _HEIGHT, _MARGIN = 640, 240, 36
_ROWS = 12


def curve_svg(curve: Sequence[LossPoint]) -> str:
    """The loss over the steps as an SVG drawing."""
    top = max(point.loss for point in curve) * 1.05 or 1.0
    last = max(curve[-1].step, 2)
    points = " ".join(f"{_x(p.step, last):.1f},{_y(p.loss, top):.1f}" for p in curve)
    grid = "".join(
        f'<line x1="{_MARGIN}" x2="{_WIDTH - 8}" y1="{_y(v, top):.1f}" y2="{_y(v, top):.1f}" stroke="#ddd"/>'
        f'<text x="4" y="{_y(v, top) + 4:.1f}">{v:.2f}</text>'
        for v in (0.0, top / 3, 2 * top / 3, top)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="#444"><rect width="100%" height="100%" fill="#fff"/>{grid}'
        f'<polyline points="{points}" fill="none" stroke="#2a6fdb" stroke-width="2"/>'
        f'<text x="{_WIDTH // 2 - 40}" y="{_HEIGHT - 6}">optimiser step (to {last})</text></svg>'
    )


def _x(step: int, last: int) -> float:
    return _MARGIN + (step - 1) / (last - 1) * (_WIDTH - _MARGIN - 8)


def _y(loss: float, top: float) -> float:
    return 10 + (1 - loss / top) * (_HEIGHT - 34)


def svg_address(svg: str) -> str:
    """The drawing as a data address, so that it needs no file server."""
    return "data:image/svg+xml," + quote(svg)


def training_markdown(trained: TrainedModel) -> str:
    """Numbers, decisions and loss curve of a training."""
    facts = {
        "dataset": trained.dataset,
        "base model": f"{trained.base.name} ({trained.base.parameters / 1e6:.0f} million weights)",
        "rows": f"{trained.rows_seen} of {trained.rows_available}",
        "steps": str(trained.steps),
        "final loss": f"{trained.final_loss:.3f}",
        "time": f"{trained.seconds:.0f} s, {trained.tokens_per_second:.0f} tokens/s",
        "interruptions": interruptions_in_words(trained),
        "adapter": f"`{trained.adapter_digest[:16]}`",
    } | trained.decisions
    facts |= {f"repair {number}": text for number, text in enumerate(trained.repairs, 1)}
    lines = ["| | |", "|---|---|", *(f"| {name.replace('_', ' ')} | {text} |" for name, text in facts.items())]
    lines += ["", "| step | loss | learning rate | tokens |", "|---:|---:|---:|---:|"]
    lines += [f"| {p.step} | {p.loss:.3f} | {p.learning_rate:.2e} | {p.tokens} |" for p in thinned(trained.curve)]
    return "\n".join(lines)


def interruptions_in_words(trained: TrainedModel) -> str:
    """`interrupted 2×, resumed` with what was said of each; `none`."""
    if not trained.interruptions and not trained.history:
        return "none"
    count = f"interrupted {trained.interruptions}×, resumed" if trained.interruptions else "none"
    return "<br>".join((count, *trained.history))


def thinned(curve: Sequence[LossPoint], rows: int = _ROWS) -> list[LossPoint]:
    """At most `rows` points at even distances, the first and the last always among them."""
    if len(curve) <= rows:
        return list(curve)
    return [curve[round(i * (len(curve) - 1) / (rows - 1))] for i in range(rows)]
