"""The closing table of a run: what happened to the rows, how good the model is, what the gate said, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from deployments import wording
from deployments.wording import duration, interval, percent, printable
from tasks.contracts import EvalReport, GateDecision, RunOutcome, SystemScores

_STYLES = {"done": "green", "unchanged": "green", "waiting_for_approval": "yellow", "interrupted": "yellow"}
_WIDE, _BAR = 92, 12


def closing_table(outcome: RunOutcome, next_commands: Sequence[str]) -> RenderableType:
    """Everything a person has to know about a run that has ended."""
    style = _STYLES.get(outcome.status, "red")
    title = Text(f" {wording.status_in_words(outcome)} ", style=f"bold {style}")
    return Group("", Rule(title, style=style, align="left"), *_sections(outcome, next_commands), "")


def _sections(outcome: RunOutcome, next_commands: Sequence[str]) -> Iterator[RenderableType]:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", width=10, no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(outcome):
        facts.add_row(name, value)
    yield Padding(facts, (1, 0, 0, 1))
    if outcome.evaluation:
        yield Padding(_Evaluation(outcome, outcome.evaluation), (1, 0, 0, 1))
    if outcome.gate:
        yield _gate(outcome.gate)
    yield _next(next_commands)


def _facts(outcome: RunOutcome) -> Iterator[tuple[str, RenderableType]]:
    if outcome.dataset:
        yield from _dataset_facts(outcome)
    if outcome.model:
        model = outcome.model
        trained = f"{model.steps} steps, {model.rows_seen} rows seen, {model.tokens_per_second:.0f} tokens/s, loss "
        done = f"{trained}{model.final_loss:.3f}, {duration(model.seconds)}"
        done += f", interrupted {model.interruptions}×, resumed" if model.interruptions else ""
        done += f", repaired: {'; '.join(map(printable, model.repairs))}" if model.repairs else ""
        yield "training", Text(done if outcome.trained else f"not repeated: this adapter was there already ({done})")
    if outcome.registered:
        yield "model", Text(wording.model_in_words(outcome), style="bold")
    if outcome.release:
        yield "release", Text(printable(outcome.release.text))
    if reasons := wording.reasons_to_show(outcome):
        yield "because", Text("\n".join(printable(reason) for reason in reasons))
    if outcome.seconds:
        spent = "  ".join(f"{printable(name)} {duration(value)}" for name, value in outcome.seconds.items())
        yield "time", Text(f"{duration(sum(outcome.seconds.values()))}  ({spent})", style="dim")


def _dataset_facts(outcome: RunOutcome) -> Iterator[tuple[str, RenderableType]]:
    assert outcome.dataset is not None
    dataset, counts = outcome.dataset, outcome.dataset.counts
    rows = Text.assemble(
        (f"{counts.rows_in}", "bold"),
        " in → ",
        (f"{counts.kept} kept", "bold green"),
        ", ",
        (f"{counts.merged} merged", "cyan"),
        ", ",
        (f"{counts.quarantined} quarantined", "yellow"),
        f"; {counts.redacted} redacted",
    )
    if dataset.reasons:
        rows.append(f"\n{wording.reasons_in_words(dataset.reasons)}", style="dim")
    yield "rows", rows
    state = "new version" if dataset.new else "as before"
    split = f"  {state}, {dataset.train_rows} to train, {dataset.test_rows} held out"
    yield "dataset", Text.assemble((printable(dataset.address), "bold"), split)
    if dataset.warnings:
        yield "warnings", Text("\n".join(printable(w) for w in dataset.warnings), style="yellow")


class _Evaluation:
    """The table of all systems; bars are drawn only where there is room for them."""

    def __init__(self, outcome: RunOutcome, report: EvalReport) -> None:
        self.names, self.report = wording.systems_in_order(outcome), report

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        report, wide = self.report, options.max_width >= _WIDE
        of_all = "" if report.rows == report.rows_available else f" of {report.rows_available} (seeded sample)"
        table = Table(
            box=SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
            header_style="dim",
            title_style="dim",
            title=f"{report.rows} held-out rows{of_all}, in percent, with 95% intervals",
            title_justify="left",
        )
        table.add_column("system", no_wrap=True)
        if wide:
            table.add_column("", width=_BAR)
        for name in (report.metric.replace("_", " "), "fields", "F1", "ROUGE-L", "perpl.", "retain"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in self.names:
            cells = _scores(name, report)
            table.add_row(*(cells if wide else (cells[0], *cells[2:])), style="bold green" if name == "tuned" else "")
        yield table
        yield _differences(report)


def _scores(name: str, report: EvalReport) -> tuple[RenderableType, ...]:
    scores: SystemScores = report.systems[name]
    main = getattr(scores, report.metric)
    style = "green" if name == "tuned" else "blue"
    return (
        Text(wording.SYSTEM_WORDS.get(name, printable(name))),
        ProgressBar(1.0, main.mean, width=_BAR, complete_style=style, finished_style=style),
        Text.assemble(f"{percent(main.mean):>5} ", (f"{interval(main):>11}", "dim not bold")),
        percent(scores.field_accuracy.mean),
        percent(scores.token_f1.mean),
        percent(scores.rouge_l.mean),
        "" if scores.perplexity is None else f"{scores.perplexity:.2f}",
        "" if scores.retention is None else f"{100 * scores.retention:.0f}",
    )


def _differences(report: EvalReport) -> Text:
    parts = [f"{name} {100 * d.mean:+.1f} ({interval(d, signed=True)})" for name, d in report.differences.items()]
    return Text("tuned against " + "; ".join(printable(p) for p in parts), style="dim")


def _gate(decision: GateDecision) -> RenderableType:
    word = Text("passed", style="bold green") if decision.passed else Text("refused", style="bold red")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for reason in sorted(decision.reasons, key=lambda r: r.passed):
        mark = Text("✔", style="green") if reason.passed else Text("✘", style="bold red")
        grid.add_row(mark, Text(printable(reason.text), style="dim" if reason.passed else ""))
    return Padding(Group(Text.assemble(("gate ", "bold"), word), grid), (1, 0, 0, 1))


def _next(commands: Sequence[str]) -> RenderableType:
    lines = [Text(f"  {printable(command)}", style="cyan", overflow="fold") for command in commands]
    return Padding(Group(Text("next", style="bold"), *lines), (1, 0, 0, 1))
