"""A training while it works: each event into its log and onto the terminal, at a bounded rate to Prefect and MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks import progress
from tasks.adapters.metrics import LiveMetrics
from tasks.adapters.run_events import EventLog, RunEvent
from tasks.errors import TuneloopError
from tasks.train.events import Recorder, local_recorder
from tasks.train.unfinished import STAGE

Watcher = Callable[[RunEvent], object]


class LiveTraining:
    """What `training` calls with every event. Used as a context: it notes how the training ended.

    Args:
        home: where the event log lies.
        model_name: experiment in MLflow that gets the metrics; empty: none does.
        began: called with the training's key when there is something to train.
        watch: called with every event of progress, and whenever people should read something.
    """

    def __init__(
        self, home: Path, model_name: str, began: Callable[[str], None], watch: Watcher = lambda _: None
    ) -> None:  # fmt: skip
        self._home, self._model_name, self._began, self._watch = home, model_name, began, watch
        self._recorder: Recorder | None = None
        self._metrics: LiveMetrics | None = None

    def __call__(self, raw: dict[str, Any]) -> None:
        if raw["event"] == "begin":
            self._begin(raw)
        if self._recorder:
            self._recorder(raw)

    def _begin(self, raw: dict[str, Any]) -> None:
        key = str(raw["training"])
        self._recorder = local_recorder(EventLog.of(self._home, key), key, self._spread)
        if self._model_name:
            tags: dict[str, str] = {name: str(raw[name]) for name in ("dataset", "base") if name in raw}
            self._metrics = LiveMetrics(self._model_name, key, tags, self._warn)
        self._began(key)

    def _spread(self, event: RunEvent) -> None:
        """Hand a kept event to everybody who watches."""
        if self._metrics:
            self._metrics(event)
        if event.kind == "progress" or event.text:
            progress.publish(as_progress(event))
            self._watch(event)

    def _warn(self, text: str) -> None:
        progress.publish(progress.Progress(stage=STAGE, state="running", text=text, remark=True))

    def __enter__(self) -> LiveTraining:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._recorder:
            self._recorder(ending(error))
        if self._metrics:
            self._metrics.close()


def ending(error: BaseException | None) -> dict[str, Any]:
    """The last event of a training, from what ended it."""
    if error is None:
        return {"event": "finished"}
    if isinstance(error, TuneloopError):
        return {"event": "failed", "text": error.what, "code": error.code, "remedy": error.remedy}
    kind = "failed" if isinstance(error, Exception) else "interrupted"
    return {"event": kind, "text": "" if kind == "failed" else "ended by a person", "error": type(error).__name__}


def as_progress(event: RunEvent) -> progress.Progress:
    """An event as the terminal shows it: what is no progress stays on the screen, above it."""
    return progress.Progress(
        stage=STAGE,
        state="running",
        text=in_short(event),
        done=event.step or 0,
        total=event.total or 0,
        loss=event.loss,
        eta_seconds=event.eta_seconds,
        remark=event.kind != "progress",
    )


def in_short(event: RunEvent) -> str:
    """`488 tokens/s, validation 0.412, MFU 41%, 1.9 GB, cost 0.12, interrupted 1×`; or what an event says in words."""
    if event.kind != "progress":
        return event.text
    parts = [f"{event.tokens_per_second:.0f} tokens/s" if event.tokens_per_second is not None else ""]
    parts += [f"validation {event.validation_loss:.3f}" if event.validation_loss is not None else ""]
    parts += [f"MFU {100 * event.mfu:.0f}%" if event.mfu is not None else ""]
    parts += [f"{event.memory_mb / 1000:.1f} GB" if event.memory_mb is not None else ""]
    parts += [f"cost {event.cost:.2f}" if event.cost is not None else ""]
    parts += [f"interrupted {event.interruptions}×" if event.interruptions else ""]
    return ", ".join(part for part in parts if part)
