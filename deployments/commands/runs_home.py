"""What the commands on runs share: the argument, the runs of a home, and a run's details in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from deployments.environment import prepare_home, use_home
from deployments.wording import duration, interval, percent
from tasks.contracts import EvalReport, TrainedModel

if TYPE_CHECKING:
    from deployments.runs.views import Details, Runs

Name = Annotated[str, typer.Argument(help="Id of a run or the beginning of it, its name, or a tag.", metavar="RUN")]
Pairs = list[tuple[str, str]]
_STYLES = {"completed": "green", "refused": "red", "failed": "bold red", "cancelled": "yellow", "recovering": "yellow"}


def open_runs(config: Path | None, *, prepare: bool = True) -> Runs:
    """The runs of the home that the configuration, or the working directory, has.

    Args:
        prepare: end what killed runs left; not where that could be what the command is about.
    """
    from deployments.runs.views import Runs

    home = use_home(config)
    if prepare:
        prepare_home(home)
    return Runs(home)


def state_text(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, "cyan"))


def as_json_values(details: Details) -> dict[str, Any]:
    """A run as JSON values; the events are left to `runs export --events`."""
    from deployments.runs.curves import curve_of_events

    trained = details.trained
    return {
        "run": details.view.model_dump(mode="json"),
        "config": details.config,
        "training": trained.model_dump(mode="json", exclude={"curve"}) if trained else None,
        "evaluation": details.report.model_dump(mode="json") if details.report else None,
        "decisions": _decisions(details),
        "repairs": [event.text for event in details.events if event.kind == "repair"],
        "warnings": [event.text for event in details.events if event.kind == "warning"],
        "estimate": dict(_estimate(details)),
        "steps": len(trained.curve if trained else curve_of_events(details)),
        "events": len(details.events),
    }


def detail_pairs(details: Details) -> Iterator[tuple[str, Pairs]]:
    """Sections of a run's details; empty ones are left out."""
    sections = {
        "run": _facts(details),
        "training": _training(details),
        "what happened": [(f"{e.at.astimezone():%H:%M:%S}", e.text) for e in details.events if e.text],
        "estimate and actual": _estimate(details),
        "decisions": list(_decisions(details).items()),
        "held-out rows": _scores(details.report) if details.report else [],
        "notes": [(f"{n.at.astimezone():%m-%d %H:%M} {n.actor}", n.text) for n in details.view.notes],
    }
    yield from ((title, pairs) for title, pairs in sections.items() if pairs)


def _facts(details: Details) -> Pairs:
    view = details.view
    pairs = [("id", view.id), ("flow", view.flow), ("dataset", view.dataset), ("base model", view.base)]
    pairs += [("detail", view.detail), ("tags", ", ".join(view.tags)), ("training", view.training)]
    pairs += [("started", f"{view.started.astimezone():%Y-%m-%d %H:%M:%S}" if view.started else "")]
    pairs += [("time", duration(view.seconds) if view.seconds is not None else "")]
    return [(name, value) for name, value in pairs if value]


def _training(details: Details) -> Pairs:
    trained = details.trained
    if trained is None:
        view = details.view
        return [("step", str(view.steps)), ("loss", f"{view.loss:.4f}")] if view.loss is not None else []
    looks = "  ".join(f"{look.step}: {look.loss:.4f}" for look in trained.validation[-8:])
    pairs = [
        ("method", f"{trained.method}, {trained.adapter or 'adapter'}"),
        ("steps", f"{trained.steps}, {trained.rows_seen} rows of {trained.rows_available}"),
        ("final loss", f"{trained.final_loss:.4f}"),
        ("validation", looks + (f"  (step {trained.best_step} was written)" if trained.best_step else "")),
        ("speed", f"{trained.tokens_per_second:.0f} tokens/s, {duration(trained.seconds)}"),
        ("interruptions", _interruptions(trained)),
        *((name.replace("_", " "), f"{value:.4f}") for name, value in trained.measures.items()),
        *(("repair", text) for text in trained.repairs),
        *(("history", text) for text in trained.history),
    ]
    return [(name, value) for name, value in pairs if value]


def _interruptions(trained: TrainedModel) -> str:
    return f"interrupted {trained.interruptions}×, resumed" if trained.interruptions else ""


def _estimate(details: Details) -> Pairs:
    from tasks.train.estimate.around import estimate_against_actual

    trained = details.trained
    if trained and trained.estimate:
        return estimate_against_actual(trained.estimate, trained.seconds, trained.peak_memory_bytes)
    said = [event for event in details.events if "estimate_seconds" in event.details]
    estimated = said[-1].details["estimate_seconds"] if said else None
    seconds = details.trained.seconds if details.trained else (details.events[-1].seconds if details.events else 0.0)
    if not isinstance(estimated, int | float) or not estimated:
        return []
    share = 100 * (seconds / estimated - 1)
    pairs = [("estimated", duration(float(estimated))), ("actual", f"{duration(seconds)} ({share:+.0f} %)")]
    costs = [event.cost for event in details.events if event.cost is not None]
    return pairs + ([("cost", f"{costs[-1]:.2f}")] if costs else [])


def _decisions(details: Details) -> dict[str, str]:
    """What was decided at run time; of a training under way, what its log says."""
    if details.trained:
        return dict(details.trained.decisions)
    told = [event for event in details.events if event.kind == "decisions"]
    return {name.removeprefix("decisions."): str(value) for name, value in told[-1].details.items()} if told else {}


def _scores(report: EvalReport) -> Pairs:
    name = report.metric.replace("_", " ")
    means = {system: getattr(scores, report.metric) for system, scores in report.systems.items()}
    return [(system, f"{name} {percent(mean.mean)} ({interval(mean)})") for system, mean in means.items()]
