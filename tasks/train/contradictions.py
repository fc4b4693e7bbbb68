"""Values of a configuration that cannot all hold. Found before anything starts; what a preset set gives way. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tasks.errors import UsageError
from tasks.train.config import TrainConfig
from tasks.train.presets import preset_value

_ADAPTER_FIELDS = ("rank", "alpha", "dropout", "target_modules", "rslora")
_SAMPLING_FIELDS = ("samples_per_prompt", "answer_tokens")


class Contradiction(NamedTuple):
    """A field that cannot be what it is, why, and what to do."""

    field: str
    what: str
    remedy: str


def given(config: TrainConfig) -> set[str]:
    """Fields that a person gave. A value that is the default counts as left out: forms send every field."""
    return {name for name, field in TrainConfig.model_fields.items() if getattr(config, name) != field.default}


def validated(config: TrainConfig) -> bool:
    """Whether rows are kept for validation."""
    share = config.validation_share
    return bool(preset_value(config, "validation_share") if share is None else share)


def refuse_contradictions(config: TrainConfig) -> None:
    """Raise UsageError for the first contradiction, naming its field."""
    for found in contradictions(config):
        raise UsageError(
            f"train.{found.field} {found.what}", where=f"train.{found.field}", remedy=found.remedy,
            why="a value that has no effect, or cannot have one, is never passed over",
        )  # fmt: skip


def contradictions(config: TrainConfig) -> Iterator[Contradiction]:
    """Everything that does not go together."""
    told = given(config)
    yield from _of_batches(config)
    yield from _of_adapters(config, told)
    yield from _of_methods(config, told)
    yield from _of_validation(config, told)
    yield from _of_machines(config)


def _of_batches(config: TrainConfig) -> Iterator[Contradiction]:
    batch = preset_value(config, "batch_rows") if config.batch_rows is None else config.batch_rows
    micro = config.micro_batch_rows
    if not isinstance(micro, int):
        return
    if batch == "auto":
        yield Contradiction("micro_batch_rows", "needs a batch_rows that it divides, and batch_rows is auto",
                            "give train.batch_rows as well, or leave micro_batch_rows out")  # fmt: skip
    elif batch % micro:
        divisors = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
        yield Contradiction("micro_batch_rows", f"must divide batch_rows, and {micro} does not divide {batch}",
                            f"give one of {divisors}")  # fmt: skip


def _of_adapters(config: TrainConfig, told: set[str]) -> Iterator[Contradiction]:
    if config.adapter == "full":
        for name in _ADAPTER_FIELDS:
            if name in told:
                yield Contradiction(name, "describes an adapter, and adapter: full trains the weights themselves",
                                    f"leave {name} out, or choose lora, qlora, lora_8bit or dora")  # fmt: skip
    if config.target_modules is not None:
        if not config.target_modules or not all(config.target_modules):
            yield Contradiction("target_modules", "names no layer", "name layers, or leave it out for all of them")
        if "all-linear" in config.target_modules and len(config.target_modules) > 1:
            yield Contradiction("target_modules", "names all linear layers and single ones",
                                "give all-linear alone, or the names of layers")  # fmt: skip
    if config.expand_nf4 == "on" and config.adapter != "qlora":
        yield Contradiction("expand_nf4", f"needs NF4 weights, and adapter: {config.adapter} has none",
                            "leave expand_nf4 out, or choose qlora")  # fmt: skip
    if config.compile == "on" and config.adapter == "lora_8bit":
        yield Contradiction("compile", "cannot be on with 8-bit weights, whose products are not compiled",
                            "leave compile out, or choose lora or qlora")  # fmt: skip


def _of_methods(config: TrainConfig, told: set[str]) -> Iterator[Contradiction]:
    for name in _SAMPLING_FIELDS:
        if name in told and config.method != "grpo":
            yield Contradiction(name, f"belongs to grpo, and method: {config.method} samples no answers",
                                f"leave {name} out, or choose grpo")  # fmt: skip
    if config.method == "sft":
        if "beta" in told:
            yield Contradiction("beta", "belongs to preferences, and sft learns answers",
                                "leave beta out, or choose dpo, ipo or kto")  # fmt: skip
        return
    if config.loss_on != "completion":
        yield Contradiction("loss_on", f"belongs to sft; {config.method} compares whole answers",
                            "leave loss_on out, or choose sft")  # fmt: skip
    if config.packing == "on":
        yield Contradiction("packing", f"belongs to sft; answers that {config.method} compares are not packed",
                            "leave packing out, or choose sft")  # fmt: skip


def _of_validation(config: TrainConfig, told: set[str]) -> Iterator[Contradiction]:
    if config.method == "grpo" and config.early_stopping_evals:
        yield Contradiction("early_stopping_evals", "has no meaning with grpo: its loss says nothing of the answers",
                            "leave early_stopping_evals out")  # fmt: skip
    if validated(config):
        return
    for name in ("early_stopping_evals", "eval_steps"):
        if name in told and getattr(config, name) != 0:
            yield Contradiction(name, "needs validation rows, and validation_share is 0",
                                f"give train.validation_share, 0.1 for example, or leave {name} out")  # fmt: skip


def _of_machines(config: TrainConfig) -> Iterator[Contradiction]:
    if config.engine == "single" and config.processes is not None and config.processes > 1:
        yield Contradiction("processes", f"is {config.processes}, and engine: single is one process",
                            "leave processes out, or choose auto or ddp")  # fmt: skip


def unused(config: TrainConfig) -> dict[str, str]:
    """Fields that have no effect beside the others, with why: shown, where a contradiction would be refused."""
    found: dict[str, str] = {}
    if config.adapter == "full":
        found |= dict.fromkeys(_ADAPTER_FIELDS, "not used: adapter is full")
    if config.method == "sft":
        found["beta"] = "not used: method is sft"
    if config.method != "grpo":
        found |= dict.fromkeys(_SAMPLING_FIELDS, f"not used: method is {config.method}")
    if not validated(config):
        found |= dict.fromkeys(("eval_steps", "early_stopping_evals"), "not used: no validation rows")
    return found
