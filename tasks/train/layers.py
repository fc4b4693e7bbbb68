"""How the blocks of a model compute in training: fused, recomputed in the backward pass, compiled; each by itself."""

from __future__ import annotations

import importlib.util
from typing import Any

from tasks.train.compiled import compile_blocks, compiled_kernels
from tasks.train.kernels import EAGER
from tasks.train.llama_layers import fuse, is_fused
from tasks.train.plan import FLASH_PACKAGE, Decisions

FLASH = "flash_attention_2"


def prepare_layers(model: Any, decisions: Decisions) -> None:
    """Change a causal language model in place, as it was decided; its values stay the same."""
    compiles = decisions.compile.value == "on"
    fused = 0
    if decisions.fused_layers.value == "on":
        fused = fuse(model, compiled_kernels() if compiles else EAGER)["norms"]
    if decisions.activation_checkpointing.value == "on":
        # not reentrant: works with frozen inputs, several processes and compiled blocks
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    takes_lengths = decisions.packing.value == "on" and decisions.device.value == "cuda" and not is_fused(model)
    if takes_lengths and decisions.computed_in == "bf16" and importlib.util.find_spec(FLASH_PACKAGE):
        model.set_attn_implementation(FLASH)
    if compiles and not fused:
        compile_blocks(model)
