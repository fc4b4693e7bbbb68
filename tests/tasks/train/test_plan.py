"""What is decided before a training starts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UsageError
from tasks.train.plan import (
    Decisions,
    Machine,
    activation_bytes,
    decide,
    largest_micro_batch,
    learning_rate_share,
    plan_steps,
    sampled_rows,
)
from tasks.train.recipe import Recipe
from tasks.train.shape import shape_of

LAPTOP = Machine(cuda=False, free_bytes=8_000_000_000, compiler=True, cores=2)
CUDA = LAPTOP.model_copy(update={"cuda": True})
SMOLLM = 134_515_008
SHAPE = shape_of(
    {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
    }
)


@given(
    st.lists(st.integers(5, 60), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 5),
)
@settings(deadline=None)
def test_each_epoch_visits_every_row_once(lengths: list[int], micro: int, times: int, epochs: int, seed: int) -> None:
    config = Recipe(batch_rows=micro * times, micro_batch_rows=micro, epochs=epochs, seed=seed)
    steps = plan_steps(lengths, config)
    per_epoch = math.ceil(len(lengths) / config.batch_rows)
    assert len(steps) == epochs * per_epoch
    for epoch in range(epochs):
        rows = [row for step in steps[epoch * per_epoch :][:per_epoch] for part in step for row in part]
        assert sorted(rows) == list(range(len(lengths)))
    assert all(len(part) <= micro for step in steps for part in step)
    assert steps == plan_steps(lengths, config)


def test_part_of_an_epoch() -> None:
    config = Recipe(batch_rows=4, micro_batch_rows=4, epochs=1.5)
    assert len(plan_steps([10] * 16, config)) == 6
    assert len(plan_steps([10] * 16, config.model_copy(update={"epochs": 0.01}))) == 1


def test_orders_differ_by_seed_and_epoch() -> None:
    config = Recipe(batch_rows=4, micro_batch_rows=4, epochs=2)
    steps = plan_steps(list(range(64)), config)
    assert steps[:16] != steps[16:]
    assert steps != plan_steps(list(range(64)), config.model_copy(update={"seed": 18}))


def test_little_is_padded() -> None:
    lengths = [20 + (i * 37) % 80 for i in range(128)]
    steps = plan_steps(lengths, Recipe(batch_rows=16, micro_batch_rows=16, epochs=1))
    padded = sum(max(lengths[r] for r in part) * len(part) for step in steps for part in step)
    assert padded < 1.15 * sum(lengths)


def test_a_sample_is_seeded_and_in_order() -> None:
    assert sampled_rows(5, None, 1) == sampled_rows(5, 9, 1) == [0, 1, 2, 3, 4]
    some = sampled_rows(100, 10, 1)
    assert len(set(some)) == 10
    assert some == sorted(some) == sampled_rows(100, 10, 1)
    assert some != sampled_rows(100, 10, 2)


def test_the_learning_rate_warms_up_and_decays() -> None:
    shares = [learning_rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[:11] == sorted(shares[:11])
    assert shares[10] == pytest.approx(1.0)
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] < 0.01
    assert learning_rate_share(0, 100, 0.0) == 1.0


def decided(recipe: Recipe, tokens: int = 50_000, machine: Machine = LAPTOP, **more: Any) -> Decisions:
    return decide(recipe, more.pop("parameters", SMOLLM), tokens, machine, more.pop("shape", SHAPE), **more)


def test_nf4_is_expanded_where_memory_allows() -> None:
    assert decided(Recipe()).expand_nf4.value == "on"
    tight = decided(Recipe(), parameters=7_000_000_000).expand_nf4
    assert tight.value == "off"
    assert "56.0 GB" in tight.reason
    assert decided(Recipe(), machine=CUDA).expand_nf4.value == "off"
    assert decided(Recipe(expand_nf4="off")).expand_nf4.reason == "configured"
    assert decided(Recipe(adapter="lora")).expand_nf4.value == "off"


def test_compilation_pays_only_in_long_runs() -> None:
    short, long = (decided(Recipe(), tokens).compile for tokens in (60_000, 3_000_000))
    assert (short.value, long.value) == ("off", "on")
    assert "kernels would save" in short.reason
    blocks = decided(Recipe(fused_layers="off"), 60_000).compile
    assert "cost about 110 s" in blocks.reason
    bare = LAPTOP.model_copy(update={"compiler": False})
    assert decided(Recipe(), 3_000_000, bare).compile.reason == "no C++ compiler is installed"
    assert decided(Recipe(compile="on"), 1, bare).compile.value == "on"


def test_adapters_are_fp32_where_our_layers_compute() -> None:
    assert decided(Recipe()).adapter_precision.value == "fp32"
    assert decided(Recipe(dropout=0.1)).adapter_precision.value == "bf16"
    assert decided(Recipe(expand_nf4="off")).adapter_precision.value == "bf16"
    assert decided(Recipe(fused_layers="off")).adapter_precision.value == "bf16"
    assert decided(Recipe(adapter="lora")).adapter_precision.value == "fp32"


OLDER = LAPTOP.model_copy(update={"multiplies_bf16": False})


def test_the_type_that_is_computed_in() -> None:
    assert decided(Recipe()).computed_in == "bf16"
    assert "no instructions" in decided(Recipe(), machine=OLDER).precision.reason
    assert decided(Recipe(), machine=OLDER).computed_in == "fp32"
    assert decided(Recipe(precision="fp32")).precision.reason == "configured"
    assert decided(Recipe(precision="bf16"), machine=OLDER).computed_in == "bf16"
    for recipe in (Recipe(dropout=0.1), Recipe(expand_nf4="off"), Recipe(fused_layers="off")):
        assert decided(recipe, machine=OLDER).adapter_precision.value == "fp32"


def test_fp32_takes_twice_the_memory() -> None:
    assert activation_bytes(SHAPE, (100,), 4) == 2 * activation_bytes(SHAPE, (100,))
    tight = LAPTOP.model_copy(update={"free_bytes": 1_500_000_000})
    assert decided(Recipe(), machine=tight).expand_nf4.value == "on"
    assert decided(Recipe(precision="fp32"), machine=tight).expand_nf4.value == "off"


def test_flash_attention_knows_no_fp32() -> None:
    flash = CUDA.model_copy(update={"flash_attention": True})
    assert decided(Recipe(dropout=0.1), machine=flash).packing.value == "on"
    assert decided(Recipe(dropout=0.1, precision="fp32"), machine=flash).packing.value == "off"


def test_checkpoints_of_earlier_versions_were_computed_in_bf16() -> None:
    older = decided(Recipe(precision="fp32")).model_dump(exclude={"precision"})
    assert Decisions.model_validate(older).computed_in == "bf16"


def test_layers_are_fused_where_that_computes_the_same() -> None:
    assert decided(Recipe()).fused_layers.value == "on"
    assert decided(Recipe(fused_layers="off")).fused_layers.reason == "configured"
    for recipe, why in (
        (Recipe(dropout=0.1), "dropout"),
        (Recipe(adapter="dora"), "dora"),
        (Recipe(adapter="lora_8bit"), "lora_8bit"),
        (Recipe(expand_nf4="off"), "4-bit"),
    ):
        found = decided(recipe).fused_layers
        assert found.value == "off"
        assert why in found.reason
        with pytest.raises(UsageError, match="fused layers were asked for"):
            decided(recipe.model_copy(update={"fused_layers": "on"}))
    other = SHAPE.model_copy(update={"architecture": "PhiForCausalLM"})
    assert "PhiForCausalLM" in decided(Recipe(), shape=other).fused_layers.reason


def test_rows_share_a_sequence_where_attention_goes_row_by_row() -> None:
    assert decided(Recipe()).packing.value == "on"
    assert decided(Recipe(fused_layers="off")).packing.value == "off"
    assert decided(Recipe(fused_layers="off", packing="on")).packing.reason == "configured"
    assert decided(Recipe(packing="off")).packing.value == "off"
    assert decided(Recipe(method="dpo", packing="on")).packing.value == "off"
    assert decided(Recipe(target_modules=("q_proj",))).packing.value == "off"
    assert decided(Recipe(), machine=CUDA).packing.value == "off"
    flash = CUDA.model_copy(update={"flash_attention": True})
    assert "FlashAttention" in decided(Recipe(), machine=flash).packing.reason


def test_activations_are_computed_again_where_memory_is_short() -> None:
    rows = (512,) * 64
    found = decided(Recipe(), micro_batch=rows).activation_checkpointing
    assert found.value == "on"
    assert "activations need about" in found.reason
    assert decided(Recipe(), micro_batch=(73,) * 16).activation_checkpointing.value == "off"
    assert decided(Recipe(activation_checkpointing="off"), micro_batch=rows).activation_checkpointing.value == "off"
    assert activation_bytes(SHAPE, (20, 20)) < activation_bytes(SHAPE, (40,)) < activation_bytes(SHAPE, (40, 1))


def test_weights_count_as_they_are_stored() -> None:
    """On a device that holds a model of 8 billion weights in 4 bits, and not in 16."""
    config = {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256,
    }  # fmt: skip
    machine = CUDA.model_copy(update={"free_bytes": 12 * 10**9})
    found = {
        adapter: decide(
            Recipe.model_validate({"adapter": adapter}), 8_030_000_000, 1000, machine, shape_of(config), (64,)
        )
        for adapter in ("qlora", "lora_8bit", "lora")
    }
    values = {adapter: decisions.activation_checkpointing.value for adapter, decisions in found.items()}
    assert values == {"qlora": "off", "lora_8bit": "off", "lora": "on"}
    assert "6.3 GB are left" in found["qlora"].activation_checkpointing.reason


def test_only_learned_tokens_reach_the_head_unless_told_otherwise() -> None:
    assert decided(Recipe()).learned_head.value == "on"
    assert decided(Recipe(learned_head="off")).learned_head.value == "off"


def test_a_pack_is_no_longer_than_asked_for() -> None:
    lengths = [30] * 12
    short = Recipe(batch_rows=12, micro_batch_rows=12, epochs=1, sequence_tokens=100)
    (step,) = plan_steps(lengths, short)
    assert [len(micro) for micro in step] == [3, 3, 3, 3]
    assert sorted(row for micro in step for row in micro) == list(range(12))
    (padded,) = plan_steps(lengths, short.model_copy(update={"packing": "off"}))
    assert [len(micro) for micro in padded] == [12]
    assert largest_micro_batch([step], lengths) == (30, 30, 30)


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto", "grpo"])
def test_methods_that_never_pack_keep_their_micro_batches(method: str) -> None:
    """Both answers of a pair count: 1,600 tokens of two answers of 800 each fit `sequence_tokens`."""
    recipe = Recipe.model_validate(
        {"method": method, "batch_rows": 8, "micro_batch_rows": 8, "epochs": 1, "sequence_tokens": 1024}
    )
    (step,) = plan_steps([1600] * 8, recipe)
    assert [len(micro) for micro in step] == [8]
    assert "sequence_tokens" not in decided(recipe).packing.reason


def test_micro_batches_that_are_cut_without_packing_are_told() -> None:
    """Whether rows are packed is known on the machine that trains; the plan is the same on all of them."""
    recipe = Recipe(adapter="dora", batch_rows=8, micro_batch_rows=8, epochs=1, sequence_tokens=1024)
    (step,) = plan_steps([400] * 8, recipe)
    assert [len(micro) for micro in step] == [2, 2, 2, 2]
    found = decided(recipe).packing
    assert found.value == "off"
    assert "at most 1,024 tokens (train.sequence_tokens)" in found.reason
    assert "train.packing: off" in found.reason
    assert "sequence_tokens" not in decided(recipe.model_copy(update={"sequence_tokens": None})).packing.reason
    told = recipe.model_copy(update={"packing": "off"})
    assert [len(micro) for micro in plan_steps([400] * 8, told)[0]] == [8]
    assert decided(told).packing.reason == "configured"


def test_decisions_read_as_text() -> None:
    texts = decided(Recipe()).texts()
    assert texts["device"] == "cpu: no CUDA device; 2 cores"
    assert {"expand_nf4", "fused_layers", "packing", "learned_head", "compile"} < set(texts)
