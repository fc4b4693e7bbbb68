"""Which engine a training gets, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import EnvironmentUnusable, UsageError
from tasks.train.engines.choose import Choice, Hardware, choose, needed_bytes
from tasks.train.recipe import Recipe

CPU, SEVEN, SEVENTY = Hardware(), 7_600_000_000, 70_600_000_000
H200 = 141_000_000_000


def chosen(parameters: int, gpus: int, gpu_bytes: int = H200, **recipe: Any) -> Choice:
    values = {"adapter": "lora", "batch_rows": 16, "micro_batch_rows": 2} | recipe
    return choose(Recipe.model_validate(values), parameters, Hardware(gpus=gpus, gpu_bytes=gpu_bytes if gpus else 0))


@pytest.mark.parametrize(
    ("parameters", "gpus", "recipe", "expected"),
    [
        (SEVEN, 0, {}, ("single", 1)),
        (SEVEN, 0, {"processes": 2}, ("ddp", 2)),
        (SEVEN, 1, {}, ("single", 1)),
        (SEVEN, 4, {}, ("ddp", 4)),
        (SEVEN, 4, {"processes": 2}, ("ddp", 2)),
        (SEVEN, 4, {"processes": 1}, ("single", 1)),
        (SEVEN, 4, {"micro_batch_rows": 8}, ("ddp", 2)),
        (SEVEN, 4, {"adapter": "full"}, ("fsdp2", 4)),
        (SEVENTY, 4, {}, ("fsdp2", 4)),
        (SEVENTY, 4, {"adapter": "qlora"}, ("ddp", 4)),
        (SEVEN, 4, {"engine": "zero3"}, ("zero3", 4)),
        (SEVEN, 4, {"engine": "single"}, ("single", 1)),
        (SEVEN, 1, {"engine": "fsdp2"}, ("fsdp2", 1)),
    ],
)
def test_what_is_chosen(parameters: int, gpus: int, recipe: dict[str, Any], expected: tuple[str, int]) -> None:
    choice = chosen(parameters, gpus, **recipe)
    assert (choice.engine.value, choice.processes) == expected
    assert choice.engine.reason


def test_the_reason_has_the_numbers() -> None:
    assert chosen(SEVENTY, 2).engine.reason == (
        "one device cannot hold it: about 185.6 GB are needed, a device has 141.0 GB"
    )


@pytest.mark.parametrize("engine", ["fsdp2", "zero2", "zero3"])
def test_what_needs_gpus_is_refused_on_a_cpu(engine: str) -> None:
    with pytest.raises(EnvironmentUnusable, match="needs a GPU") as caught:
        chosen(SEVEN, 0, engine=engine, processes=2)
    assert caught.value.where == "train.engine"
    assert "plain data parallelism" in caught.value.why


def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(EnvironmentUnusable, match="3 processes need 3 GPUs") as caught:
        chosen(SEVEN, 2, processes=3)
    assert caught.value.where == "train.processes"


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="one process was asked for"):
        chosen(SEVEN, 4, engine="single", processes=2)
    with pytest.raises(UsageError, match="2 micro-batches for 4 processes") as caught:
        chosen(SEVEN, 4, processes=4, micro_batch_rows=8)
    assert caught.value.where == "train.micro_batch_rows"
    assert "to 4 or less" in caught.value.remedy


def test_what_is_kept_smaller_needs_less() -> None:
    needs = [needed_bytes(Recipe(adapter=a), SEVEN) for a in ("qlora", "lora_8bit", "lora", "full")]
    assert needs == sorted(needs)


@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_answers_are_not_sampled_from_split_weights(engine: str) -> None:
    """Answers of different lengths: the processes would wait for each other's weights for ever."""
    with pytest.raises(UsageError, match="method grpo and the engine") as caught:
        chosen(SEVEN, 4, method="grpo", engine=engine)
    assert "set train.engine to ddp" in caught.value.remedy
    assert chosen(SEVEN, 4, method="grpo", engine="zero2").engine.value == "zero2"


def test_sampling_never_splits_weights_by_itself() -> None:
    assert chosen(SEVEN, 4, method="grpo").engine.value == "ddp"
    assert chosen(SEVENTY, 4, method="grpo", engine="ddp").engine.value == "ddp"
    with pytest.raises(EnvironmentUnusable, match="hold the whole model") as caught:
        chosen(SEVENTY, 4, method="grpo")
    assert "a device has 141.0 GB" in caught.value.why
