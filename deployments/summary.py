"""A run's outcome as one JSON object and as one self-contained HTML page. Every text from data is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from deployments import wording
from deployments.loss_curve import loss_curve_svg
from deployments.wording import duration, interval, percent, printable
from tasks.contracts import Estimate, EvalReport, GateDecision, RunOutcome, SystemScores, TrainedModel
from tasks.evaluate.examples import Example, read_examples

_CSS = Path(__file__).with_name("summary.css")
_EXAMPLES = 6
_LONGEST_TEXT = 1500
_ESTIMATES = ("exact_match", "field_accuracy", "token_f1", "rouge_l")


def summary_json(outcome: RunOutcome) -> dict[str, Any]:
    """The object of `--json`. Shares are in 0..1; what a run did not reach is null."""
    dataset, counts = outcome.dataset, outcome.dataset.counts if outcome.dataset else None
    return {
        "status": outcome.status,
        "exit_code": outcome.exit_code,
        "dataset": dataset.model_dump(include={"version", "digest", "address", "new"}) if dataset else None,
        "rows": {"in": counts.rows_in, **counts.model_dump(exclude={"rows_in"})} if counts else None,
        "base": {"name": outcome.model.base.name, "digest": outcome.model.base.digest} if outcome.model else None,
        "trained": outcome.trained,
        "evaluation": _evaluation_json(outcome.evaluation) if outcome.evaluation else None,
        "gate": outcome.gate.model_dump(mode="json") if outcome.gate else None,
        "model": _model_json(outcome),
        "reasons": list(outcome.reasons),
        "seconds": outcome.seconds,
        "run_url": outcome.run_url,
    }


def summary_html(outcome: RunOutcome, answers: Path | None) -> str:
    """The page about a run.

    Args:
        answers: answers.jsonl of the evaluation, for rows before and after; None where there is none.
    """
    report = outcome.evaluation
    examples = read_examples(answers, report.metric, _EXAMPLES) if answers and report else ()
    sections = [_head(outcome), _rows(outcome)]
    sections += [_evaluation(outcome, report)] if report else []
    sections += [_gate(outcome.gate)] if outcome.gate else []
    sections += [_training(outcome.model, outcome.trained)] if outcome.model else []
    sections += [_examples(examples)] if examples else []
    title = f"Tuneloop: {wording.status_in_words(outcome)}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_CSS.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _evaluation_json(report: EvalReport) -> dict[str, Any]:
    systems = {name: _scores_json(scores) for name, scores in report.systems.items()}
    return {
        **systems,
        "rows": report.rows,
        "rows_available": report.rows_available,
        "metric": report.metric,
        "fields": list(report.fields),
        "differences": {name: d.model_dump() for name, d in report.differences.items()},
        "notes": list(report.notes),
    }


def _scores_json(scores: SystemScores) -> dict[str, Any]:
    estimates = {name: getattr(scores, name) for name in _ESTIMATES}
    return {
        **{name: estimate.mean for name, estimate in estimates.items()},
        **scores.model_dump(exclude=set(_ESTIMATES)),
        "intervals": {name: {"low": e.low, "high": e.high} for name, e in estimates.items()},
    }


def _model_json(outcome: RunOutcome) -> dict[str, Any] | None:
    model = outcome.registered
    return {"name": model.name, "version": model.version, "alias": model.alias} if model else None


def _head(outcome: RunOutcome) -> str:
    tone = {"done": "good", "unchanged": "good", "waiting_for_approval": "warn", "interrupted": "warn"}
    badge = f'<span class="badge {tone.get(outcome.status, "bad")}">{escape(wording.status_in_words(outcome))}</span>'
    name = _text(outcome.dataset.address) if outcome.dataset else "Run"
    reasons = "".join(f"<p>{_text(reason)}</p>" for reason in wording.reasons_to_show(outcome))
    times = ", ".join(f"{_text(stage)} {duration(seconds)}" for stage, seconds in outcome.seconds.items())
    spent = f'<p class="dim">{duration(sum(outcome.seconds.values()))}: {times}</p>' if outcome.seconds else ""
    model = f"<p><b>{escape(wording.model_in_words(outcome))}</b></p>" if outcome.registered else ""
    release = f"<p>{_text(outcome.release.text)}</p>" if outcome.release else ""
    return f"<h1>{name} {badge}</h1>{model}{release}{reasons}{spent}"


def _rows(outcome: RunOutcome) -> str:
    if outcome.dataset is None:
        return ""
    dataset = outcome.dataset
    named = {name.removeprefix("rows_"): count for name, count in dataset.counts.model_dump().items()}
    named |= {"to train": dataset.train_rows, "held out": dataset.test_rows}
    facts = "".join(f"<div><b>{count}</b>{escape(name)}</div>" for name, count in named.items())
    reasons = (
        _table(
            ("why merged or quarantined", "#rows"),
            sorted(
                ((_text(reason), str(count)) for reason, count in dataset.reasons.items()),
                key=lambda r: (-int(r[1]), r[0]),
            ),
        )
        if dataset.reasons
        else ""
    )
    warnings = "".join(f'<p class="warn">{_text(warning)}</p>' for warning in dataset.warnings)
    return f'<section><h2>Rows</h2><div class="facts">{facts}</div>{warnings}{reasons}</section>'


def _evaluation(outcome: RunOutcome, report: EvalReport) -> str:
    of_all = "" if report.rows == report.rows_available else f" of {report.rows_available} (a seeded sample)"
    header = (
        "system",
        "",
        f"#{report.metric.replace('_', ' ')}",
        "#field accuracy",
        "#token F1",
        "#ROUGE-L",
        "#valid form",
        "#perplexity",
        "#general knowledge",
    )
    rows = [(name, _scores(name, report)) for name in wording.systems_in_order(outcome)]
    table = _table(header, [cells for _, cells in rows], [name if name == "tuned" else "" for name, _ in rows])
    differences = "; ".join(
        f"{_text(name)} {100 * d.mean:+.1f} ({interval(d, signed=True)})" for name, d in report.differences.items()
    )
    notes = "".join(f'<p class="warn">{_text(note)}</p>' for note in report.notes)
    return (
        f"<section><h2>{report.rows} held-out rows{of_all}</h2>{table}"
        f'<p class="dim">Percent with 95% intervals. {_text(report.metric_reason)} '
        f"Paired differences, tuned against: {differences}.</p>{notes}</section>"
    )


def _scores(name: str, report: EvalReport) -> tuple[str, ...]:
    scores = report.systems[name]
    main: Estimate = getattr(scores, report.metric)
    bar = f'<span class="bar"><i style="width:{100 * main.mean:.1f}%"></i></span>'
    estimates = (main, scores.field_accuracy, scores.token_f1, scores.rouge_l)
    cells = [f"{percent(e.mean)}<small>{interval(e)}</small>" for e in estimates]
    perplexity = "" if scores.perplexity is None else f"{scores.perplexity:.2f}"
    retention = "" if scores.retention is None else percent(scores.retention)
    label = f'<span class="name">{_text(wording.SYSTEM_WORDS.get(name, name))}</span>'
    return (label, bar, *cells, percent(scores.valid_format), perplexity, retention)


def _gate(decision: GateDecision) -> str:
    verdict = '<span class="good">passed</span>' if decision.passed else '<span class="bad">refused</span>'
    rows = [
        ('<span class="good">✓</span>' if r.passed else '<span class="bad">✗</span>', _text(r.rule), _text(r.text))
        for r in decision.reasons
    ]
    return f"<section><h2>Gate: {verdict}</h2>{_table(('', 'rule', 'what was seen'), rows)}</section>"


def _training(model: TrainedModel, trained: bool) -> str:
    repeated = "" if trained else " Not repeated in this run: the adapter was there already."
    facts = (
        f"{_text(model.base.name)} ({model.base.parameters / 1e6:.0f}M parameters, {model.quantization}), "
        f"{model.steps} steps, {model.rows_seen} rows seen of {model.rows_available}, "
        f"{model.tokens_per_second:.0f} tokens/s, "
        f"final loss {model.final_loss:.3f}, {duration(model.seconds)}.{repeated}"
    )
    decisions = _table(
        ("decided at run time", "what and why"), [(_text(k), _text(v)) for k, v in model.decisions.items()]
    )
    return f'<section><h2>Training</h2><p class="dim">{facts}</p>{loss_curve_svg(model.curve)}{decisions}</section>'


def _examples(examples: Sequence[Example]) -> str:
    rows = [
        (
            f"<pre>{_text(e.prompt)}</pre>",
            f"<pre>{_text(e.reference)}</pre>",
            _answer(e.before, e.before_right),
            _answer(e.after, e.after_right),
        )
        for e in examples
    ]
    return f"<section><h2>Before and after</h2>{_table(('prompt', 'reference', 'base', 'tuned'), rows)}</section>"


def _answer(text: str, right: bool) -> str:
    mark = '<b class="good">✓</b>' if right else '<b class="bad">✗</b>'
    return f"{mark} <pre>{_text(text)}</pre>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """A table of cells that are HTML already; a header that begins with # is of a column of numbers."""
    kinds = [' class="n"' if name.startswith("#") else "" for name in header]
    head = "".join(f"<th{kind}>{escape(name.lstrip('#'))}</th>" for name, kind in zip(header, kinds, strict=True))
    body = "".join(
        f'<tr class="{classes[i] if classes else ""}">'
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for i, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _text(text: str) -> str:
    """Text from anywhere, shortened, without control characters, escaped."""
    short = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return escape("\n".join(printable(line) for line in short.splitlines()))
