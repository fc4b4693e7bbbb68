"""What is decided before a training starts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.train.plan import Machine, decide, learning_rate_share, plan_steps, sampled_rows
from tasks.train.recipe import Recipe

LAPTOP = Machine(cuda=False, free_bytes=8_000_000_000, compiler=True, cores=2)
SMOLLM = 134_515_008


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


def test_nf4_is_expanded_where_memory_allows() -> None:
    assert decide(Recipe(), SMOLLM, 50_000, LAPTOP).expand_nf4.value == "on"
    tight = decide(Recipe(), 7_000_000_000, 50_000, LAPTOP).expand_nf4
    assert tight.value == "off"
    assert "56.0 GB" in tight.reason
    assert decide(Recipe(), SMOLLM, 50_000, LAPTOP.model_copy(update={"cuda": True})).expand_nf4.value == "off"
    assert decide(Recipe(expand_nf4="off"), SMOLLM, 50_000, LAPTOP).expand_nf4.reason == "configured"
    assert decide(Recipe(adapter="lora"), SMOLLM, 50_000, LAPTOP).expand_nf4.value == "off"


def test_compilation_pays_only_in_long_runs() -> None:
    short, long = (decide(Recipe(), SMOLLM, tokens, LAPTOP).compile for tokens in (60_000, 3_000_000))
    assert (short.value, long.value) == ("off", "on")
    assert "costs about 110 s" in short.reason
    bare = LAPTOP.model_copy(update={"compiler": False})
    assert decide(Recipe(), SMOLLM, 3_000_000, bare).compile.reason == "no C++ compiler is installed"
    assert decide(Recipe(compile="on"), SMOLLM, 1, bare).compile.value == "on"


def test_adapters_are_fp32_where_our_layers_compute() -> None:
    assert decide(Recipe(), SMOLLM, 1, LAPTOP).adapter_precision.value == "fp32"
    assert decide(Recipe(dropout=0.1), SMOLLM, 1, LAPTOP).adapter_precision.value == "bf16"
    assert decide(Recipe(expand_nf4="off"), SMOLLM, 1, LAPTOP).adapter_precision.value == "bf16"
    assert decide(Recipe(adapter="lora"), SMOLLM, 1, LAPTOP).adapter_precision.value == "fp32"


def test_decisions_read_as_text() -> None:
    texts = decide(Recipe(), SMOLLM, 1, LAPTOP).texts()
    assert texts["device"] == "cpu: no CUDA device; 2 cores"
    assert set(texts) == {"device", "expand_nf4", "compile", "adapter_precision"}
