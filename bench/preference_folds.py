"""One fold of the preference bench: SFT, then DPO and IPO from it, each measured on the pairs that were held out."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.contracts import BaseModelRef, Message, Row
from tasks.digest import digest_of

# What follows SFT, and by which method.
AFTER_SFT: dict[str, str] = {"sft_longer": "sft", "dpo": "dpo", "ipo": "ipo"}
VARIANTS = ("base", "sft", *AFTER_SFT)
Measured = dict[str, list[float]]


def train_variant(
    variant: str, base: BaseModelRef, rows: Sequence[Row], settings: dict[str, Any], seed: int, work: Path
) -> Path | None:
    """Folder of the variant's adapter; what is there already is taken. None: the base alone."""
    if variant == "base":
        return None
    if variant == "sft":
        return _train(base, rows, _recipe("sft", settings["sft"], seed), None, work / variant)
    start = train_variant("sft", base, rows, settings, seed, work)
    method = AFTER_SFT[variant]
    chosen = settings["preference"]
    if method == "sft":  # a pass over the chosen answers is about half of a pass over pairs
        chosen = {**settings["sft"], "epochs": 2 * chosen["epochs"]}
    return _train(base, rows, _recipe(method, chosen, seed), start, work / variant)


def _recipe(method: str, settings: dict[str, Any], seed: int) -> Any:
    from tasks.train.recipe import Recipe

    return Recipe.model_validate({"method": method, "seed": seed, "validation_share": 0.0, **settings})


def _train(base: BaseModelRef, rows: Sequence[Row], recipe: Any, start: Path | None, work: Path) -> Path:
    from tasks.train.plan import Job
    from tasks.train.worker import RESULT, run_job

    if not (work / RESULT).is_file():
        work.mkdir(parents=True, exist_ok=True)
        file = work.with_name(f"{work.name}.rows.jsonl")
        file.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
        digest = digest_of([row.model_dump(mode="json") for row in rows])
        key = digest_of([digest, recipe.learning_part(), str(start)])
        job = Job(base=base, rows=file, dataset_digest=digest, config=recipe, start=start, work=work, key=key)
        with work.with_name(f"{work.name}.log").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            run_job(job, lambda: False)
        file.unlink()
    return work


def measure(base: BaseModelRef, adapter: Path | None, rows: Sequence[Row]) -> Measured:
    """For each held-out pair the log-probability of both answers and their tokens, by row id."""
    from tasks.inference.engine import Engine

    engine = Engine.load(base, adapter, "nf4")
    chosen = [row.messages for row in rows]
    rejected = [(*row.prompt, Message(role="assistant", content=row.rejected)) for row in rows]
    found = [engine.answer_losses(side, 16) for side in (chosen, rejected)]
    return {
        row.row_id: [-good[0], good[1], -bad[0], bad[1]]
        for row, good, bad in zip(rows, found[0], found[1], strict=True)
    }


def forget(work: Path) -> None:
    """Remove a fold's adapters."""
    shutil.rmtree(work, ignore_errors=True)
