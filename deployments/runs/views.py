"""Runs as people look at them: Prefect's history joined with what they made, their training and what people noted."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from deployments.runs.prefect_history import FlowRun, History, open_history
from deployments.runs.states import ENDED, Standing, State, standing
from tasks.adapters.run_events import EventLog, RunEvent
from tasks.adapters.runs import Note, RunNotes, notes_of_runs
from tasks.adapters.store import Store
from tasks.contracts import EvalReport, Record, TrainedModel
from tasks.errors import UsageError

_SHORT = 8
_LATE = datetime.timedelta(seconds=5)  # the last event of a run may be written after Prefect has noted its end
_CLOSE = 3


class RunView(Record):
    """One run, as `tuneloop runs` shows it."""

    id: str
    flow: str
    name: str
    project: str
    state: State
    detail: str = Field("", description="What else is to be said of the state.")
    created: datetime.datetime
    started: datetime.datetime | None
    ended: datetime.datetime | None
    dataset: str = ""
    base: str = ""
    training: str = Field("", description="Key of its training; empty: none yet.")
    steps: int | None = None
    loss: float | None = Field(None, description="Final training loss, or the last one of a training under way.")
    validation_loss: float | None = None
    metric: str = Field("", description="Name of the metric that the gate compares.")
    score: float | None = Field(None, description="The candidate's mean in that metric, on held-out rows.")
    interruptions: int = 0
    repairs: int = 0
    seconds: float | None = Field(None, description="From start to end, or until now.")
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def short(self) -> str:
        """The first characters of the id, enough to name the run in a command."""
        return self.id[:_SHORT]

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


class Details(Record):
    """A run with everything that is known of it."""

    view: RunView
    config: dict[str, Any] = Field(description="The run's configuration as JSON values; empty where it has none.")
    trained: TrainedModel | None
    report: EvalReport | None
    events: tuple[RunEvent, ...]


class Runs:
    """All runs of a home.

    Args:
        home: absolute path of TUNELOOP_HOME.
    """

    def __init__(self, home: Path, history: History | None = None) -> None:
        self.home = home
        self.history = history or open_history(home)
        self.store = Store.open()
        self.all = self.history.runs()
        self.noted = notes_of_runs()
        self.parents = self._parents()

    def _parents(self) -> dict[str, str]:
        """Subflow run → the run above it."""
        inner = {run.parent_task_run: run.id for run in self.all if run.parent_task_run}
        found = self.history.parents(list(inner))
        return {inner[task_run]: parent for task_run, parent in found.items()}

    def top(self) -> list[FlowRun]:
        """Runs that were started by themselves, the newest first."""
        return [run for run in self.all if run.parent_task_run is None]

    def views(self) -> list[RunView]:
        return [self.view(run) for run in self.top()]

    def with_subflows(self, run_id: str) -> list[str]:
        """The run and every run below it."""
        below = [child for child, parent in self.parents.items() if parent == run_id]
        return [run_id, *(each for child in below for each in self.with_subflows(child))]

    def find(self, name: str) -> FlowRun:
        """The run with this id, or whose id alone begins so, or the newest one of this name or tag.

        Raises:
            UsageError: there is none, or several ids begin so.
        """
        wanted = name.lower()
        ids = [run for run in self.all if run.id.startswith(wanted)] if len(wanted) >= 4 else []
        if len(ids) == 1:
            return ids[0]
        if len(ids) > 1:
            raise UsageError("several runs begin like this", where=name, why=", ".join(r.id for r in ids[:5]),
                             remedy="give more of the id")  # fmt: skip
        named = [run for run in self.top() if run.name == name or name in self.notes(run.id).tags]
        if named:
            return named[0]
        remedy = "`tuneloop runs list` shows all; `tuneloop runs search WORD` looks at names, tags, notes, datasets"
        raise UsageError("there is no such run", where=name, why=self._close_to(name), remedy=remedy)

    def _close_to(self, name: str) -> str:
        known = {run.name: run.id[:_SHORT] for run in reversed(self.top())}
        known |= {run.id[: max(len(name), _SHORT)]: run.id[:_SHORT] for run in self.all}
        known |= {tag: run[:_SHORT] for run, noted in self.noted.items() for tag in noted.tags}
        close = difflib.get_close_matches(name, known, n=_CLOSE, cutoff=0.5)
        return f"close to it: {', '.join(f'{known[c]} ({c})' for c in close)}" if close else "no run is like it"

    def notes(self, run_id: str) -> RunNotes:
        return self.noted.get(run_id, RunNotes())

    def training_of(self, run_id: str) -> str:
        """Key of the training of a run; empty: none."""
        output = self.notes(run_id).output("train")
        return output.output.rsplit("/", 1)[-1] if output else ""

    def events(self, run: FlowRun) -> list[RunEvent]:
        """What the training of a run said until the run ended: later runs may have gone on with the same training."""
        key = self.training_of(run.id)
        told = EventLog.of(self.home, key).read() if key else []
        return [event for event in told if run.ended is None or event.at <= run.ended + _LATE]

    def trained(self, run: FlowRun, events: Sequence[RunEvent]) -> TrainedModel | None:
        """The finished training of a run; None where this run did not see its end."""
        output = self.notes(run.id).output("train")
        cut_short = events and not any(event.kind == "finished" for event in events)
        return self.store.find_at(output.output, TrainedModel) if output and not cut_short else None

    def report(self, run_id: str) -> EvalReport | None:
        output = self.notes(run_id).output("evaluate")
        return self.store.find_at(output.output, EvalReport) if output else None

    def details(self, run: FlowRun) -> Details:
        events = tuple(self.events(run))
        config = run.parameters.get("config")
        return Details(
            view=self.view(run),
            config=config if isinstance(config, dict) else {},
            trained=self.trained(run, events),
            report=self.report(run.id),
            events=events,
        )

    def view(self, run: FlowRun) -> RunView:
        noted, report, events = self.notes(run.id), self.report(run.id), self.events(run)
        trained = self.trained(run, events)
        now = self.standing(run, events[-1] if events else None)
        end = run.ended or (None if now.state in ENDED else datetime.datetime.now(datetime.UTC))
        seconds = (end - run.started).total_seconds() if run.started and end else None
        about = [output.about for output in noted.outputs if output.about]
        measured = _from_record(trained) if trained else _from_events(events)
        scored = {"metric": report.metric, "score": _score(report)} if report else {}
        config = run.parameters.get("config") or {}
        return RunView(
            id=run.id,
            flow=run.flow,
            name=run.name,
            project=str(config.get("project", "")),
            state=now.state,
            detail=now.detail,
            created=run.created,
            started=run.started,
            ended=run.ended,
            dataset=about[-1] if about else str(run.parameters.get("dataset", "")),
            base=str((config.get("model") or {}).get("base", "")),
            training=self.training_of(run.id),
            seconds=seconds,
            tags=noted.tags,
            notes=noted.notes,
            **measured,
            **scored,
        )

    def standing(self, run: FlowRun, last_event: RunEvent | None) -> Standing:
        """Where a run stands now."""
        running = run.state_type == "RUNNING"
        process = self.notes(run.id).process
        alive = process.alive if running and process and process.here else None
        at_work = self.history.tasks_at_work(self.with_subflows(run.id)) if running else []
        return standing(run, process_alive=alive, tasks_at_work=at_work, last_event=last_event)


def _from_record(trained: TrainedModel) -> dict[str, Any]:
    looks = [look.loss for look in trained.validation if look.step == trained.best_step] or [
        look.loss for look in trained.validation
    ]
    return {
        "steps": trained.steps,
        "loss": trained.final_loss,
        "validation_loss": looks[-1] if looks else None,
        "interruptions": trained.interruptions,
        "repairs": len(trained.repairs),
    }


def _from_events(events: Sequence[RunEvent]) -> dict[str, Any]:
    steps = [event for event in events if event.kind == "progress"]
    if not steps:
        return {"interruptions": events[-1].interruptions, "repairs": events[-1].repairs} if events else {}
    looks = [event.validation_loss for event in steps if event.validation_loss is not None]
    return {
        "steps": steps[-1].step,
        "loss": steps[-1].loss,
        "validation_loss": looks[-1] if looks else None,
        "interruptions": events[-1].interruptions,
        "repairs": events[-1].repairs,
    }


def _score(report: EvalReport) -> float | None:
    tuned = report.systems.get("tuned")
    return float(getattr(tuned, report.metric).mean) if tuned else None


def search(views: Sequence[RunView], words: Sequence[str]) -> list[RunView]:
    """Runs in which every word occurs: in id, name, flow, project, state, dataset, base model, a tag or a note."""
    return [view for view in views if all(word.lower() in _said_of(view) for word in words)]


def _said_of(view: RunView) -> str:
    parts = (view.id, view.name, view.flow, view.project, view.state, view.dataset, view.base, *view.tags)
    return "\n".join((*parts, *(note.text for note in view.notes))).lower()
