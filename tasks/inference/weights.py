"""Base weights the way training and inference both see them: dense, NF4 values expanded to dense, or 8-bit layers.

NF4 keeps 16 values a weight block of 64; expanding them once gives exactly the numbers a 4-bit layer computes with,
at the speed of a dense layer, for 2 bytes a weight (4 in fp32) instead of about half a byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.adapters.threads import physical_cores
from tasks.contracts import Precision, Quantization
from tasks.inference.precision import native_precision, torch_type

if TYPE_CHECKING:
    import torch

NF4_BLOCK = 64
WHOLE_MODEL = "model.safetensors"  # what a fully trained model's folder holds in place of an adapter


def load_base(folder: Path, quantization: Quantization, device: str = "", precision: Precision | None = None) -> Any:
    """The causal language model in `folder`, frozen, in the given precision or that of the device it computes on.

    It lies on the given device, else on the GPU where there is one. With nf4 its linear layers hold expanded NF4
    values, with int8 they are the 8-bit layers of LLM.int8().
    """
    if quantization == "int8":
        return load_base_in_8bit(folder, precision)
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(physical_cores())
    kind = torch_type(precision or native_precision(_default_device()))
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=kind, local_files_only=True)
    model = model.to(device or _default_device()).eval().requires_grad_(False)
    if quantization == "nf4":
        expand_nf4(model)
    return model


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_base_in_4bit(folder: Path, precision: Precision | None = None) -> Any:
    """The same model with its linear layers kept as bitsandbytes 4-bit layers."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    torch.set_num_threads(physical_cores())
    kind = torch_type(precision or native_precision(_default_device()))
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=kind,
        bnb_4bit_quant_storage=kind,  # FSDP2 splits only weights of one type
    )
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=kind, local_files_only=True, quantization_config=config, device_map={"": device}
    )
    _keep_gradients(model)
    return model.eval().requires_grad_(False)


def _keep_gradients(model: Any) -> None:
    """Have 4-bit layers on a CPU stay as they are when the model is evaluated.

    The first forward pass in evaluation mode would repack the weights for a kernel without a backward pass, for good:
    training goes on after that without any gradient through these layers, and nothing is raised.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def load_base_in_8bit(folder: Path, precision: Precision | None = None) -> Any:
    """The same model with its linear layers kept as bitsandbytes 8-bit layers (LLM.int8(), arXiv 2208.07339).

    Weights and, for each batch, inputs are rounded to 8 bits; columns of large inputs are computed in 16 bits. What
    such a layer computes depends on its batch, so no weights expanded beforehand could stand for it.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(physical_cores())
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=torch_type(precision or native_precision(_default_device())),
        local_files_only=True,
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
        device_map={"": device},
    )
    return model.eval().requires_grad_(False)


def is_whole_model(folder: Path) -> bool:
    """Whether a trained model's folder holds all weights instead of an adapter."""
    return (folder / WHOLE_MODEL).is_file()


def linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Every linear layer of the transformer blocks by name: what is quantised and adapted. The head is neither."""
    import torch

    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            yield name, module


def expand_nf4(model: Any) -> None:
    """Replace the weights of the model's linear layers by what their NF4 form (double quantised) stands for."""
    for _, layer in linear_layers(model):
        layer.weight.data = nf4_values(layer.weight.data)


def nf4_values(weight: torch.Tensor) -> torch.Tensor:
    """What a bitsandbytes 4-bit layer (NF4, blocks of 64, double quantisation) computes with instead of `weight`."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed, state = quantize_4bit(weight, blocksize=NF4_BLOCK, compress_statistics=True, quant_type="nf4")
    expanded: torch.Tensor = dequantize_4bit(packed, state)
    return expanded.to(weight.dtype)
