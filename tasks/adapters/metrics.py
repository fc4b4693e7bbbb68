"""Metrics of a training in MLflow while it works: one batch every few seconds, off the training's way.

The MLflow run is made with the first batch, so that a short training makes none; registration goes on with it
(tasks/adapters/registry_runs.py). A registry that cannot be reached costs these numbers, never the training.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tasks.adapters.registry_client import client, experiment, registry_errors
from tasks.adapters.registry_runs import TRAINING_TAG
from tasks.adapters.run_events import RunEvent
from tasks.errors import TuneloopError

SECONDS_BETWEEN_BATCHES = 5.0
_MOST_IN_A_BATCH = 900  # MLflow takes 1000
_CLOSE_SECONDS = 20.0
_FIELDS = (
    "loss", "validation_loss", "learning_rate", "gradient_norm", "tokens", "mfu", "memory_mb", "cost", "interruptions",
    "repairs",
)  # fmt: skip


class Value(NamedTuple):
    """One point of one metric; the step is the x axis."""

    key: str
    value: float
    milliseconds: int
    step: int


class LiveMetrics:
    """Takes events of a training and writes their numbers to MLflow in batches.

    Args:
        name: experiment, which is the model's name.
        run: key of the training.
        tags: of the MLflow run.
        say: called with a sentence when metrics cannot be written.
    """

    def __init__(
        self,
        name: str,
        run: str,
        tags: Mapping[str, str],
        say: Callable[[str], None],
        *,
        seconds: float = SECONDS_BETWEEN_BATCHES,
    ) -> None:
        self._name, self._tags, self._say, self._seconds = name, {**tags, TRAINING_TAG: run}, say, seconds
        self._waiting: deque[Value] = deque()
        self._closing = threading.Event()
        self._run_id = ""
        self._thread = threading.Thread(target=self._work, name="live metrics", daemon=True)
        self._thread.start()

    def __call__(self, event: RunEvent) -> None:
        """Take in an event; returns at once."""
        self._waiting.extend(values_of(event))

    def close(self) -> None:
        """Write what is left, if a run was made, and end it."""
        self._closing.set()
        self._thread.join(_CLOSE_SECONDS)

    def _work(self) -> None:
        try:
            while not self._closing.wait(self._seconds):
                self._write()
            if self._run_id:
                self._write()
                client().set_terminated(self._run_id)
        except TuneloopError as error:
            self._give_up(error.why or error.what)
        except Exception as error:  # whatever a library raises here: the training goes on
            self._give_up(type(error).__name__)

    def _give_up(self, why: str) -> None:
        self._say(f"metrics are not written to MLflow any more: {why}")

    def _write(self) -> None:
        """One batch, and more only where a second one is needed for what came in meanwhile."""
        while self._waiting:
            with registry_errors():
                self._run_id = self._run_id or live_run(self._name, self._tags)
                count = min(len(self._waiting), _MOST_IN_A_BATCH)
                client().log_batch(self._run_id, metrics=_metrics([self._waiting.popleft() for _ in range(count)]))


def values_of(event: RunEvent) -> list[Value]:
    """The numbers of a progress event."""
    if event.kind != "progress" or event.step is None:
        return []
    at = int(event.at.timestamp() * 1000)
    known = {name: getattr(event, name) for name in _FIELDS} | {"tokens_per_second_now": event.tokens_per_second}
    return [Value(f"train.{name}", float(value), at, event.step) for name, value in known.items() if value is not None]


def _metrics(values: list[Value]) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(v.key, v.value, v.milliseconds, v.step) for v in values]


def live_run(name: str, tags: Mapping[str, str]) -> str:
    """Id of the MLflow run of a training: the one that an earlier attempt made, else a new one."""
    own = experiment(name)
    found = client().search_runs([own], filter_string=f"tags.{TRAINING_TAG} = '{tags[TRAINING_TAG]}'")
    for run in found:
        client().update_run(run.info.run_id, status="RUNNING")
        return str(run.info.run_id)
    made = client().create_run(own, tags=dict(tags), run_name=f"{name} training {tags[TRAINING_TAG][:12]}")
    return str(made.info.run_id)
