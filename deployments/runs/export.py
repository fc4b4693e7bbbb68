"""Numbers and events of a run as files that other programs read. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from tasks.adapters.run_events import RunEvent
from tasks.contracts import LossPoint

_FIELDS = ("step", "tokens", "loss", "validation_loss", "learning_rate", "gradient_norm")


def metrics_csv(curve: Sequence[LossPoint]) -> str:
    """One line a step; empty where something was not measured at that step."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.model_dump(include=set(_FIELDS)) for point in curve)
    return stream.getvalue()


def metrics_json(run: dict[str, Any], curve: Sequence[LossPoint]) -> str:
    """The run and its steps as one object; a loss that is no number is null."""
    points = [json.loads(point.model_dump_json()) for point in curve]
    return json.dumps({"run": run, "steps": points}, ensure_ascii=False, indent=1) + "\n"


def events_jsonl(events: Sequence[RunEvent]) -> str:
    """One event a line, as the log holds them."""
    return "".join(event.line() + "\n" for event in events)
