"""Memory by part, from shapes: exact where it can be, plausible for models that are known."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.train.base_weights import NF4_BYTES
from tasks.train.engines.choose import Choice, decided_from, settled
from tasks.train.estimate.memory import Memory, memory_of, weight_bytes
from tasks.train.objective import Micro
from tasks.train.plan import Decision, Decisions, Machine, decide
from tasks.train.recipe import Recipe
from tasks.train.shape import Shape, shape_of

QWEN_7B = shape_of({
    "architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 28, "hidden_size": 3584, "intermediate_size": 18944,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "hidden_act": "silu",
})  # fmt: skip
LLAMA_70B = shape_of({
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 28672,
    "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256, "hidden_act": "silu",
})  # fmt: skip
WEIGHTS = {"7b": 7_615_616_512, "70b": 70_553_706_496}
PACK = Micro((4096,), 2048)


def decisions(recipe: Recipe, shape: Shape, *, cuda: bool, engine: str = "single", processes: int = 1) -> Decisions:
    machine = Machine(cuda=cuda, free_bytes=10**12, compiler=False, cores=2, flash_attention=cuda)
    choice = Choice(engine=Decision(value=engine, reason=""), processes=processes)
    return settled(decide(decided_from(recipe, choice), 10**9, 1000, machine, shape), choice)


def memory(shape: Shape, parameters: int, micro: Micro = PACK, cuda: bool = True, engine: str = "single",
           processes: int = 1, **fields: Any) -> Memory:  # fmt: skip
    recipe = Recipe.model_validate({"compile": "off"} | fields)
    chosen = decisions(recipe, shape, cuda=cuda, engine=engine, processes=processes)
    return memory_of(recipe, shape, parameters, chosen, micro)


def test_weights_by_how_they_are_stored() -> None:
    blocks, rest = QWEN_7B.block_weights, WEIGHTS["7b"] - QWEN_7B.block_weights

    def weights(**fields: Any) -> float:
        recipe = Recipe.model_validate(fields)
        return weight_bytes(recipe, QWEN_7B, WEIGHTS["7b"], decisions(recipe, QWEN_7B, cuda=True))

    assert weights(adapter="lora") == 2 * WEIGHTS["7b"]
    assert weights(adapter="full") == 4 * WEIGHTS["7b"]
    assert weights(adapter="lora_8bit") == 2 * rest + blocks
    assert weights(adapter="qlora", expand_nf4="off") == pytest.approx(2 * rest + blocks * (0.5 + 1 / 64 + 4 / 16384))
    assert weights(adapter="qlora", expand_nf4="on") == 2 * WEIGHTS["7b"]
    assert 0.51 < NF4_BYTES < 0.52


def test_a_7b_model_in_16_bits_and_in_4() -> None:
    lora, nf4 = memory(QWEN_7B, WEIGHTS["7b"], adapter="lora"), memory(QWEN_7B, WEIGHTS["7b"], adapter="qlora")
    assert lora.weights == 2 * WEIGHTS["7b"]
    assert 17e9 < lora.total < 60e9
    assert lora.total - nf4.total > 8e9
    assert lora.optimizer == 2 * lora.gradients


def test_a_70b_model_in_4_bits_fits_into_80_gigabytes() -> None:
    found = memory(LLAMA_70B, WEIGHTS["70b"], adapter="qlora", activation_checkpointing="on")
    assert 38e9 < found.total < 80e9
    assert memory(LLAMA_70B, WEIGHTS["70b"], adapter="lora", activation_checkpointing="on").total > 140e9


def test_recomputation_keeps_the_inputs_of_blocks_only() -> None:
    kept, again = (memory(QWEN_7B, WEIGHTS["7b"], adapter="lora", activation_checkpointing=v) for v in ("off", "on"))
    assert again.activations == (28 + 3) * 3584 * 2 * 4096
    assert kept.activations > 8 * again.activations
    assert again.total < kept.total


def test_processes_share_what_their_engine_splits() -> None:
    def shared(engine: str, **fields: Any) -> Memory:
        return memory(
            QWEN_7B, WEIGHTS["7b"], engine=engine, processes=4, **({"adapter": "lora", "fused_layers": "off"} | fields)
        )

    one = memory(QWEN_7B, WEIGHTS["7b"], adapter="lora", fused_layers="off")
    assert shared("ddp").weights == one.weights
    assert shared("fsdp2").weights == one.weights // 4
    assert shared("fsdp2").optimizer == pytest.approx(one.optimizer / 4, abs=2)
    assert shared("zero2").weights == one.weights
    assert shared("zero2").gradients < one.gradients
    assert shared("zero3").workspace > one.workspace  # weights of two blocks travel


def test_the_head_of_learned_tokens_comes_in_slices() -> None:
    sliced, whole = (memory(QWEN_7B, WEIGHTS["7b"], adapter="lora", learned_head=v) for v in ("on", "off"))
    assert sliced.head == 256 * 152064 * 8
    assert whole.head == 4096 * 152064 * 16


def test_a_measured_factor_holds_for_what_depends_on_the_batch() -> None:
    recipe = Recipe(adapter="lora", compile="off")
    chosen = decisions(recipe, QWEN_7B, cuda=True)
    one, two = (memory_of(recipe, QWEN_7B, WEIGHTS["7b"], chosen, PACK, factor) for factor in (1.0, 2.0))
    assert two.activations == 2 * one.activations
    assert two.fixed == one.fixed
    assert one.total == sum(one.model_dump().values())


def on_cpu(shapes: int) -> Memory:
    recipe = Recipe(adapter="lora", compile="off")
    return memory_of(
        recipe, QWEN_7B, WEIGHTS["7b"], decisions(recipe, QWEN_7B, cuda=False), PACK, shapes=shapes
    )  # fmt: skip


def test_compiled_products_take_what_is_kept_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "64")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    few = on_cpu(40).kernels
    assert on_cpu(1).kernels < few < 60e6
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024")
    assert on_cpu(40).kernels > 10 * few
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "many")
    assert on_cpu(40).kernels == few
    assert memory(QWEN_7B, WEIGHTS["7b"]).kernels == 0


def test_on_a_cpu_what_lives_shortly_fits_between_what_is_kept() -> None:
    gpu, cpu = (memory(LLAMA_70B, WEIGHTS["70b"], adapter="lora", cuda=cuda) for cuda in (True, False))
    kept = 80 * (4 * 8192 + (64 + 2 * 8) * 128 + 64 * 128 + 3 * 28672) * 2 * 4096
    ends = 3 * 8192 * 2 * 4096
    assert gpu.activations == kept + ends
    assert cpu.activations == pytest.approx(1.7 * kept + ends)
    assert (gpu.head, cpu.head) == (256 * 128256 * 8, 0)
    again = memory(LLAMA_70B, WEIGHTS["70b"], adapter="lora", cuda=False, activation_checkpointing="on")
    assert again.head == gpu.head


def test_batches_of_ever_new_sizes_leave_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert on_cpu(1).retained == 0
    assert on_cpu(2).retained < on_cpu(13).retained == on_cpu(1000).retained
    assert memory(QWEN_7B, WEIGHTS["7b"]).retained == 0
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    assert on_cpu(1000).retained == 0
