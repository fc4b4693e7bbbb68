"""FLOPs of micro-batches, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.tokens import Encoded
from tasks.train.adapter import build
from tasks.train.estimate.work import (
    Load,
    adapter_weights,
    flops,
    forward_flops,
    joined,
    largest,
    padding_share,
    planned,
    positions,
    total_flops,
)
from tasks.train.grpo import Asked
from tasks.train.kto import Judged
from tasks.train.methods import objective_of
from tasks.train.objective import Micro
from tasks.train.plan import Decision, Machine, decide
from tasks.train.preference import Pair
from tasks.train.recipe import Recipe
from tasks.train.shape import Shape, read_shape
from tests.tasks.train.training_rows import make_job

SHAPE = Shape(
    architecture="LlamaForCausalLM", layers=2, hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4,
    vocabulary=100, tied=True, silu=True, bias=False,
)  # fmt: skip
LOAD = Load(shape=SHAPE, adapter_weights=1000, full=False, packed=True, learned_head=True, recomputes=False)
ROWS = Micro((3, 5), 4)
BLOCKS = 2 * ((2 * 2 + 2 * 1) * 4 * 8 + 3 * 8 * 16)


def test_lora_packed() -> None:
    assert SHAPE.block_weights == BLOCKS
    expected = 4 * (BLOCKS * 8 + 4 * 8 * 100) + 6 * 1000 * 8 + 6 * 2 * 2 * 4 * (9 + 25)
    assert flops(ROWS, LOAD) == expected


def test_what_is_padded_counts() -> None:
    padded = LOAD.model_copy(update={"packed": False})
    assert positions(ROWS, packed=False) == 10
    assert flops(ROWS, padded) == 4 * (BLOCKS * 10 + 4 * 8 * 100) + 6 * 1000 * 10 + 6 * 2 * 2 * 4 * 2 * 25
    assert padding_share([[ROWS]], padded) == pytest.approx(0.2)
    assert padding_share([[ROWS]], LOAD) == 0


def test_full_training_a_whole_head_and_recomputation() -> None:
    full = LOAD.model_copy(update={"full": True, "adapter_weights": 0})
    assert flops(ROWS, full) == 6 * (BLOCKS * 8 + 4 * 8 * 100) + 6 * 2 * 2 * 4 * 34
    whole = LOAD.model_copy(update={"learned_head": False})
    assert flops(ROWS, whole) - flops(ROWS, LOAD) == 4 * 8 * 100 * (8 - 4)
    again = LOAD.model_copy(update={"recomputes": True})
    assert flops(ROWS, again) - flops(ROWS, LOAD) == 2 * (BLOCKS * 8 + 1000 * 8 + 2 * 2 * 4 * 34)
    assert forward_flops(ROWS, again) == flops(ROWS, LOAD) / 2


def test_sums_and_the_largest() -> None:
    steps = [[ROWS, Micro((2,), 1)], [Micro((9,), 2)]]
    assert total_flops(steps, LOAD) == sum(flops(m, LOAD) for step in steps for m in step)
    assert largest(steps, lambda micro: sum(micro.lengths)) == Micro((9,), 2)
    assert largest([], lambda _: 0) == Micro((), 0)


ONE, TWO = Encoded([1, 2, 3], [False, True, True]), Encoded([1, 2, 3, 4], [True, False, False, True])


def computed(method: str, example: Any, **fields: Any) -> Micro:
    return objective_of(Recipe.model_validate({"method": method, **fields}), 2048, 2).computed(example)


def test_each_method_says_what_an_example_costs() -> None:
    assert computed("sft", ONE) == Micro((3,), 2)
    assert computed("sft", TWO) == Micro((4,), 1)  # nothing predicts the first token
    assert computed("dpo", Pair(ONE, TWO)) == Micro((3, 4), 3)
    asked = computed("grpo", Asked((1,) * 5, "yes", 0), samples_per_prompt=3, answer_tokens=7)
    assert asked == Micro((12, 12, 12), 21)
    sft = objective_of(Recipe(), 2048, 2)
    assert planned([((0, 1), (1,))], [ONE, TWO], sft) == [[Micro((3, 4), 3), Micro((4,), 1)]]


def test_kto_learns_from_one_answer_and_looks_at_another() -> None:
    """The other answer of the pair is an example of its own; of the mismatched one there is no backward pass."""
    found = computed("kto", Judged(ONE, desirable=True, mismatched=TWO, other=TWO))
    assert found == Micro((3,), 2, (4,))
    assert found.tokens == objective_of(Recipe(method="kto"), 2048, 2).tokens(Judged(ONE, True, TWO, TWO)) == 7
    assert joined([found, found]) == Micro((3, 3), 4, (4, 4))
    looked = Micro((4,), int(4 * 2 / 3))
    assert flops(found, LOAD) == flops(Micro((3,), 2), LOAD) + forward_flops(looked, LOAD)
    assert forward_flops(found, LOAD) == forward_flops(Micro((3,), 2), LOAD) + forward_flops(looked, LOAD)
    assert positions(found, packed=True) == 3  # nothing is kept of what is only looked at


@pytest.mark.parametrize("fields", [{}, {"adapter": "dora"}, {"target_modules": ("q_proj", "down_proj")}])
def test_adapter_weights_are_those_of_the_library(
    home: Path, tiny_model: Path, tmp_path: Path, fields: dict[str, object]
) -> None:
    job = make_job(tmp_path, tiny_model, **({"adapter": "lora"} | fields))
    shape = read_shape(tiny_model)
    machine = Machine(cuda=False, free_bytes=8_000_000_000, compiler=False, cores=2)
    decisions = decide(job.config, job.base.parameters, 1000, machine, shape)
    decisions = decisions.model_copy(update={"compile": Decision(value="off", reason="")})
    model = build(job, decisions)
    assert adapter_weights(shape, job.config) == sum(p.numel() for p in model.parameters() if p.requires_grad)
