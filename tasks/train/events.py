"""What a trainer says, as numbered events with stage, time, cost and warnings: for the log and for whoever watches."""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tasks.adapters.processes import also_to
from tasks.adapters.run_events import EventLog, RunEvent, Scalar, Stage
from tasks.settings import Settings

OVERRUN = 1.2  # a training that is going to take or cost this much more than was estimated is worth a warning
FLOW = "flow"
ENDINGS = ("finished", "failed", "interrupted")
_WARM_STEPS = 3  # the first steps compile and fill caches: what they say of the time that is left says little
_STAGES: dict[str, Stage] = {
    "begin": "loading", "decisions": "loading", "estimate": "loading", "resumed": "training", "progress": "training",
    "failure": "recovering", "repair": "recovering", "restart": "recovering", "finished": "finalizing",
}  # fmt: skip
_OWN = frozenset(RunEvent.model_fields) - {"run", "writer", "seq", "at", "kind", "stage", "details", "seconds"}
Raw = dict[str, Any]


class Recorder:
    """Makes numbered events of what a trainer says.

    Args:
        run: key of the training.
        writer: who numbers.
        before: the last event of this training so far; numbers, time and counts go on from there.
        keep: called with every event that was made.
    """

    def __init__(
        self,
        run: str,
        writer: str,
        keep: Callable[[RunEvent], object],
        *,
        last: int = 0,
        before: RunEvent | None = None,
    ) -> None:
        self._run, self._writer, self._keep, self._seq = run, writer, keep, last
        self._began, self._seconds_before = time.monotonic(), before.seconds if before else 0.0
        self._interruptions, self._repairs = (before.interruptions, before.repairs) if before else (0, 0)
        if before and before.kind != "finished":
            self._interruptions += 1
        self._stage: Stage = "loading"
        self._price: float | None = None
        self._estimate: float | None = None
        self._warm, self._warned = 0, False

    def __call__(self, raw: Raw) -> None:
        """Record one thing; a warning follows it where one is due."""
        kind = str(raw["event"])
        self._count(kind, raw)
        self._make(kind, raw)
        if kind == "progress":
            self._watch(raw)

    def _count(self, kind: str, raw: Raw) -> None:
        self._stage = _STAGES.get(kind, self._stage)
        if kind == "begin":
            self._price, self._estimate = raw.get("price_per_hour"), raw.get("estimate_seconds")
        elif kind == "estimate":  # the trainer's own word: its device, and the time from its very first step on
            before = 0.0 if raw.get("again") else self._until_now()
            self._price = raw.get("price_per_hour", self._price)
            self._estimate = float(raw["estimate_seconds"]) + before
        elif kind == "restart":
            self._interruptions += 1
        elif kind == "repair":
            self._repairs += 1
        elif kind == "resumed":
            self._interruptions = max(self._interruptions, int(raw.get("interruptions", 0)))

    def _until_now(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _make(self, kind: str, raw: Raw) -> None:
        self._seq += 1
        seconds = self._until_now()
        known = {name: raw[name] for name in _OWN & raw.keys() if name not in ("interruptions", "repairs", "text")}
        event = RunEvent(
            run=self._run,
            writer=self._writer,
            seq=self._seq,
            at=datetime.now(UTC),
            kind=kind,
            stage=self._stage,
            seconds=round(seconds, 3),
            cost=None if self._price is None else round(seconds / 3600 * self._price, 4),
            interruptions=self._interruptions,
            repairs=self._repairs,
            text=in_words(raw),
            details=_details(raw),
            **{k: v for k, v in known.items() if k != "cost"},
        )
        self._keep(event)

    def _watch(self, raw: Raw) -> None:
        """Warn, once, when the estimate is not going to hold."""
        self._warm += 1
        if self._warned or not self._estimate or self._warm < _WARM_STEPS:
            return
        total = self._until_now() + float(raw.get("eta_seconds") or 0.0)
        if total <= OVERRUN * self._estimate:
            return
        self._warned = True
        over = f"{100 * (total / self._estimate - 1):.0f} %"
        text = f"this training is going to take {total / 60:.1f} min, {over} more than was estimated"
        if self._price:
            text += f", and to cost {total / 3600 * self._price:.2f}"
        self._make("warning", {"event": "warning", "text": text, "estimate_seconds": self._estimate})


def in_words(raw: Raw) -> str:
    """One sentence about an event that people should read; empty for the others."""
    kind = raw["event"]
    if raw.get("text"):
        return str(raw["text"])
    if kind == "resumed":
        return f"went on from the checkpoint of step {raw.get('step')}"
    if kind == "restart":
        because = raw.get("code") or (f"signal {raw['signal']}" if "signal" in raw else "")
        return f"started again, attempt {raw.get('attempt')}" + (f", after {because}" if because else "")
    if kind == "repair":
        return f"repaired after {raw.get('code')}: {raw.get('change')}"
    return ""


def _details(raw: Raw) -> dict[str, Scalar]:
    """What has no field of its own; nested values of one level get dotted names."""
    found: dict[str, Scalar] = {}
    for name, value in raw.items():
        if name in _OWN or name == "event":
            continue
        parts = {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        for key, part in parts.items():
            found[key] = part if isinstance(part, str | int | float | bool | None) else json.dumps(part)
    return found


def local_recorder(log: EventLog, run: str, watch: Callable[[RunEvent], object]) -> Recorder:
    """Records into the log of this home; what was kept is handed on to whoever watches."""

    def keep(event: RunEvent) -> None:
        log.append([event])
        watch(event)

    before = log.read()
    return Recorder(run, FLOW, keep, last=log.last(FLOW), before=before[-1] if before else None)


def report_elsewhere(run: str) -> None:
    """Trainer side: where TUNELOOP_EVENTS_URL is set, send everything that is emitted there too, signed.

    What cannot be sent does not hold the trainer up; its outbox lies in HOME/outbox and is sent by the next start.
    """
    settings = Settings()
    if not settings.events_url or os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
        return
    from tasks.adapters.run_events_http import EventSender, Outbox, events_key

    outbox = Outbox(settings.root / "outbox" / run)
    sender = EventSender(settings.events_url, events_key(), outbox, say=lambda text: print(text, file=sys.stderr))
    also_to(Recorder(run, outbox.writer, lambda event: sender.put(event.line()), last=outbox.written))
    atexit.register(sender.close)
