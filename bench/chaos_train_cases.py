"""What `make chaos-train` trains: a pairwise covering set of all that could break a resumption, and the data."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Values = dict[str, Any]
AXES: dict[str, tuple[tuple[str, Values], ...]] = {
    "method": (("sft", {"method": "sft"}), ("dpo", {"method": "dpo"})),
    "adapter": (("qlora", {"adapter": "qlora", "expand_nf4": "off"}), ("lora", {"adapter": "lora"})),
    "packing": (("packed", {"packing": "on"}), ("padded", {"packing": "off"})),
    "accumulation": (("1x", {"micro_batch_rows": 4}), ("2x", {"micro_batch_rows": 2})),
    "dropout": (("dropout", {"dropout": 0.1}), ("plain", {"dropout": 0.0})),
    "compile": (("compiled", {"compile": "on"}), ("eager", {"compile": "off"})),
    "processes": (("one", {}), ("two", {"processes": 2, "engine": "ddp"})),
    "validation": (
        ("validated", {"validation_share": 0.2, "eval_steps": 3, "early_stopping_evals": 50}),
        ("unseen", {"validation_share": 0.0}),
    ),
}
COMMON: Values = {"batch_rows": 4, "rank": 4, "alpha": 8, "checkpoint_steps": 2, "learning_rate": 5e-3}
ROWS = 24
_TRIES = 300


@dataclass(frozen=True)
class Case:
    """One configuration that is trained, killed and compared."""

    choice: tuple[str, ...]
    """The value of each axis, by its name."""
    epochs: float = 4.0

    @property
    def name(self) -> str:
        return "-".join(self.choice)

    @property
    def processes(self) -> int:
        return int(self.values().get("processes", 1))

    @property
    def compiled(self) -> bool:
        return "compiled" in self.choice

    def values(self) -> Values:
        """Fields of the recipe."""
        chosen = COMMON | {"epochs": self.epochs}
        for options, name in zip(AXES.values(), self.choice, strict=True):
            chosen |= dict(options)[name]
        return chosen


def every_case() -> Iterator[Case]:
    for choice in itertools.product(*([name for name, _ in options] for options in AXES.values())):
        yield Case(choice)


def pairs(case: Case) -> set[tuple[str, str]]:
    return set(itertools.combinations(case.choice, 2))


def covering(possible: Callable[[Case], str], seed: int) -> tuple[list[Case], list[str]]:
    """Few cases in which every possible pair of values occurs, and the pairs that no case can have, with the reason.

    Args:
        possible: why a case cannot be trained; empty where it can.
    """
    reasons = {case: possible(case) for case in every_case()}
    cases = [case for case, reason in reasons.items() if not reason]
    wanted = set().union(*map(pairs, cases))
    left_out = set().union(*map(pairs, reasons)) - wanted
    sets = (_greedy(cases, wanted, random.Random(seed + number)) for number in range(_TRIES // 10))
    texts = [f"{' with '.join(pair)}: {_reason(pair, reasons)}" for pair in sorted(left_out)]
    return min(sets, key=len), texts


def _greedy(cases: Sequence[Case], wanted: set[tuple[str, str]], chance: random.Random) -> list[Case]:
    chosen: list[Case] = []
    missing = set(wanted)
    while missing:
        best = max(chance.sample(cases, min(len(cases), _TRIES)), key=lambda case: len(pairs(case) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def _reason(pair: tuple[str, str], reasons: dict[Case, str]) -> str:
    return min((reason for case, reason in reasons.items() if pair in pairs(case)), key=len)


def possible(case: Case, model: Path) -> str:
    """Why this configuration cannot be trained, as the product says it; empty where it can."""
    from tasks.adapters.devices import cpu_multiplies_bf16
    from tasks.adapters.threads import physical_cores
    from tasks.errors import TuneloopError
    from tasks.train.config import TrainConfig
    from tasks.train.methods import objective_of
    from tasks.train.plan import Machine, decide
    from tasks.train.recipe import Facts, resolve_recipe
    from tasks.train.shape import read_shape

    bf16 = cpu_multiplies_bf16()
    machine = Machine(cuda=False, free_bytes=10**10, compiler=True, cores=physical_cores(), multiplies_bf16=bf16)
    try:
        recipe = resolve_recipe(TrainConfig.model_validate(case.values()), Facts(rows=ROWS, parameters=10**5)).recipe
        decisions = decide(recipe, 10**5, 10**5, machine, read_shape(model))
        objective_of(recipe, 2048, 0).decided(decisions)
    except TuneloopError as error:
        return error.what
    if recipe.processes and recipe.micro_batch_rows * recipe.processes > recipe.batch_rows:
        return "a step has too few micro-batches"
    return ""


def write_rows(path: Path) -> Path:
    """Rows of several lengths, with an answer that is better and one that is not."""
    from tasks.contracts import Message, Row, RowOrigin

    lines = []
    for i in range(ROWS):
        origin = RowOrigin(source_uri="rows", source_digest="d" * 64, record_index=i, byte_offset=0, line=i + 1)
        prompt, answer = f"Where is bike {i}? " * (i % 4 + 1), "We will ring. " * (i % 3 + 1)
        turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
        row = Row(row_id=f"d:{i}", origin=origin, messages=turns, rejected="No idea. " * (i % 2 + 1), split="train")
        lines.append(row.model_dump_json())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_job(folder: Path, model: Path, values: Values, seed: int = 17) -> Path:
    """The job file of one training in a folder of its own."""
    from tasks.adapters.base_models import resolve
    from tasks.train.config import TrainConfig
    from tasks.train.plan import Job
    from tasks.train.recipe import Facts, resolve_recipe

    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    config = TrainConfig.model_validate(values | {"seed": seed})
    job = Job(
        base=resolve(str(model)),
        rows=write_rows(folder / "train.jsonl"),
        dataset_digest="e" * 64,
        config=resolve_recipe(config, Facts(rows=ROWS, parameters=10**5)).recipe,
        work=work,
        key="f" * 64,
    )
    path = folder / "job.json"
    path.write_text(job.model_dump_json(), encoding="utf-8")
    return path
