"""One configuration of bench.estimate: a training as the trainer runs it, with a calibration between its steps."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

LONG, SHORT = (120, 480), (50, 95)  # tokens of a row; half of them is learned


def run_case(case: dict[str, Any], steps: int, short: bool, seed: int) -> dict[str, Any]:
    """Estimated and actual seconds and bytes of one configuration."""
    with tempfile.TemporaryDirectory(prefix="tuneloop-bench-") as name:
        return _case(Path(name), case, steps, short, seed).result()


def first_step(case: dict[str, Any], steps: int, short: bool, seed: int, *, warm: bool) -> float:
    """Seconds of a training that is stopped after its first step; `warm`: after the first passes of a calibration."""
    with tempfile.TemporaryDirectory(prefix="tuneloop-bench-") as name:
        made = _case(Path(name), case, steps, short, seed)
        made.stop_after_one()
        if warm:
            made.calibration.begin()
        began = time.perf_counter()
        made.train()
        return time.perf_counter() - began


def _case(folder: Path, case: dict[str, Any], steps: int, short: bool, seed: int) -> Case:
    fields = dict(case)
    rows = fields.pop("rows", "short")
    base = base_of(folder, short)
    recipe = recipe_of(fields)
    pairs = recipe.method == "dpo"
    lengths, vocabulary = LONG if rows == "long" else SHORT, vocabulary_of(base)
    examples = examples_of(steps * recipe.batch_rows, lengths, pairs, vocabulary, seed)
    return Case(base, recipe, examples, folder)


def base_of(folder: Path, short: bool) -> Any:
    from tasks.adapters.base_models import resolve

    if not short:
        return resolve("smollm2-135m")
    from tests.tiny_model import make_tiny_model

    return resolve(str(make_tiny_model(folder / "tiny")))


def vocabulary_of(base: Any) -> int:
    """Tokens that random rows are drawn from."""
    from tasks.train.shape import read_shape

    return min(40_000, read_shape(Path(base.path)).vocabulary)


def recipe_of(fields: dict[str, Any]) -> Any:
    from tasks.train.recipe import Recipe

    usual = {"compile": "off", "epochs": 1.0, "batch_rows": 16, "micro_batch_rows": 16, "checkpoint_steps": 10}
    return Recipe.model_validate(usual | fields)


def examples_of(count: int, lengths: tuple[int, int], pairs: bool, vocabulary: int, seed: int) -> list[Any]:
    from tasks.tokens import Encoded
    from tasks.train.preference import Pair

    chance = random.Random(seed)

    def row(prompt: list[int], answer: int) -> Any:
        ids = prompt + [chance.randrange(10, vocabulary) for _ in range(answer)]
        return Encoded(ids, [at >= len(prompt) for at in range(len(ids))])

    found: list[Any] = []
    for _ in range(count):
        half = chance.randint(*lengths) // 2
        prompt = [chance.randrange(10, vocabulary) for _ in range(half)]
        found.append(Pair(row(prompt, half), row(prompt, half + 3)) if pairs else row(prompt, half))
    return found


class Case:
    """A training with the objects of the trainer process; its calibration takes its turns between two steps."""

    def __init__(self, base: Any, recipe: Any, examples: list[Any], folder: Path) -> None:
        from tasks.train.adapter import build
        from tasks.train.engines.ranks import chosen
        from tasks.train.estimate.calibration import Calibration
        from tasks.train.methods import objective_of
        from tasks.train.plan import Job, plan_steps
        from tasks.train.run import Run
        from tasks.train.worker import decide_for

        work = folder / "work"
        work.mkdir()
        job = Job(base=base, rows=folder / "none", dataset_digest="", config=recipe, work=work, key="f" * 64)
        objective = objective_of(recipe, 8192, 2)
        steps = plan_steps([objective.tokens(example) for example in examples], recipe)
        self.run = Run(job=job, objective=objective, examples=examples, steps=steps, say=self._between, stop_asked=bool)
        self.run.look_for_checkpoint()
        self.decisions = decide_for(self.run, chosen(job))
        self.run.decisions = self.decisions.model_dump_json()
        objective.decided(self.decisions)
        self.model = build(job, self.decisions)
        objective.prepare(self.model, examples, self.run.checkpoints)
        self.calibration = Calibration(self.run, self.model, self.decisions)
        rounds = self.calibration.rounds
        self.every = max(1, len(steps) // (rounds + 1))
        self.left, self.outside, self.peak = rounds, 0.0, 0
        self.step_seconds: list[float] = []
        self.since = 0.0  # when the last step ended; 0: none has

    def _between(self, event: dict[str, Any]) -> None:
        """After a step: what it took, and now and then a turn of the calibration."""
        if event["event"] != "progress":
            return
        if self.since:
            self.step_seconds.append(time.perf_counter() - self.since)
        if self.left and event["step"] % self.every == 0:
            self._turn()
        self.since = time.perf_counter()

    def _turn(self) -> None:
        """A turn of the calibration; its time and its memory are not the run's."""
        from tasks.train.estimate.peak import begin_peak, peak

        began = time.perf_counter()
        self.peak = max(self.peak, peak())
        if self.calibration.affordable():
            self.calibration.round()
        self.left -= 1
        begin_peak()
        self.outside += time.perf_counter() - began

    def stop_after_one(self) -> None:
        """Stop as somebody's request does, after the first step; nothing is measured between."""
        self.left, self.run.stop_asked = 0, lambda: self.run.step > 0

    def train(self) -> None:
        from tasks.tokens import load_tokenizer
        from tasks.train.trainer import train

        train(self.run, self.model, load_tokenizer(Path(self.run.job.base.path)))

    def result(self) -> dict[str, Any]:
        from tasks.adapters.store import Store
        from tasks.train.estimate.before import forecast_of, looks_of
        from tasks.train.estimate.peak import begin_peak, peak
        from tasks.train.estimate.saving import try_saving
        from tasks.train.shape import read_shape

        run, job = self.run, self.run.job
        one = looks_of(run, read_shape(Path(job.base.path))).save_bytes
        saving = try_saving(job.work, Store(str(job.work.parent / "store"), job.work.parent), job.key, one)
        self.calibration.begin()
        begin_peak()
        self.train()
        actual = run.seconds - self.outside
        self.peak = max(self.peak, peak())
        known = job.known.model_copy(update={"saving_bytes_per_second": saving.bytes_per_second})
        run.job = job.model_copy(update={"known": known})
        found = forecast_of(run, self.decisions, self.calibration.rates())
        return {
            "estimated_seconds": found.seconds,
            "actual_seconds": actual,
            "estimated_bytes": found.memory_bytes,
            "actual_bytes": self.peak,
            "calibrated": found.calibrated,
            "calibration_share": self.calibration.seconds / actual,
            "rates": self.calibration.rates().model_dump(),
            "time_parts": found.time_parts,
            "memory_parts": found.memory_parts,
            "tokens": run.tokens,
            "step_seconds": [round(seconds, 3) for seconds in self.step_seconds],
            "step_flops": self._step_flops(),
            "decisions": {name: decision.value for name, decision in self.decisions},
        }

    def _step_flops(self) -> list[float]:
        """FLOPs of the steps that `step_seconds` has; the first step has no beginning."""
        from tasks.train.estimate.work import flops, load_of, planned
        from tasks.train.shape import read_shape

        run = self.run
        load = load_of(run.job.config, read_shape(Path(run.job.base.path)), self.decisions)
        steps = planned(run.steps[1:], run.examples, run.objective)
        return [sum(flops(micro, load) for micro in step) for step in steps]
