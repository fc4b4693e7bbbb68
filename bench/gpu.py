"""Training steps on a GPU: tokens a second, MFU and memory, ours beside a bare TRL run in the same call.

    python -m bench.gpu [--parts lora,nf4,memory] [--shape qwen2.5-7b] [--big-shape llama-70b] [--steps 10]
    python -m bench.gpu --device cpu --shape tiny --big-shape tiny --steps 2 --sequence 128 --row-tokens 32

lora     LoRA on bf16 weights, rows packed to sequences of 4,096 tokens      (target on an H200: 16,000 tok/s, MFU 50%)
nf4      the same on NF4 weights                                             (14,500 tok/s)
memory   peak memory of a QLoRA step of the big shape with activation checkpointing                    (80 GB)

Weights are random and made on the device. TRL runs as its documentation shows: SFTConfig(packing=True, max_length),
bf16, its defaults otherwise. MFU: FLOPs of bench/train_flops.py over the device's rated (--peak-tflops) and its
measured bf16 GEMM rate. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import json
import random
import statistics
import tempfile
import time
from typing import Any

from bench.gpu_models import SHAPES, gemm_rate, random_model, tokenizer, wait
from bench.train_flops import FORMULA, adapter_weights, step_flops

RANK = 16


def main(given: list[str] | None = None) -> None:
    options = arguments(given)
    result: dict[str, Any] = {"shape": options.shape, "device": device_name(options.device), "formula": FORMULA}
    result["gemm_tflops"] = gemm_rate(options.device, 8192 if options.device == "cuda" else 256) / 1e12
    result["present"] = {name: installed(name) for name in ("flash_attn", "liger_kernel", "bitsandbytes", "deepspeed")}
    for part in options.parts.split(","):
        if part == "memory":
            result[part] = memory(options)
        else:
            result[part] = {who: speed(who, options, nf4=part == "nf4") for who in ("ours", "trl")}
            for side in result[part].values():
                side["mfu_of_gemm"] = side["mfu"] * options.peak_tflops / result["gemm_tflops"]
            result[part]["ratio"] = result[part]["ours"]["tokens_per_second"] / result[part]["trl"]["tokens_per_second"]
        print(part, json.dumps(result[part], indent=1), flush=True)
    print(json.dumps(result))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", choices=list(SHAPES), default="qwen2.5-7b")
    parser.add_argument("--big-shape", choices=list(SHAPES), default="llama-70b")
    parser.add_argument("--parts", default="lora,nf4,memory")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--sequence", type=int, default=4096)
    parser.add_argument("--row-tokens", type=int, default=512)
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16, by the maker's data sheet")
    return parser.parse_args(given)


def speed(who: str, options: argparse.Namespace, *, nf4: bool) -> dict[str, Any]:
    """Seconds, tokens a second, MFU and peak memory of a side's steps."""
    reset(options.device)
    run = functools.partial(ours, checkpointing="auto") if who == "ours" else trl
    seconds, notes = run(options, options.shape, nf4=nf4, steps=options.steps + options.warm)
    taken = statistics.median(seconds[options.warm :])
    lengths = row_lengths(options)
    flops = step_flops(
        shape_of_name(options.shape), lengths, sum(lengths), adapter_weights(shape_of_name(options.shape), RANK)
    )
    return {
        "tokens_per_second": sum(lengths) / taken,
        "mfu": flops / taken / (options.peak_tflops * 1e12),
        "step_seconds": seconds,
        "peak_gigabytes": peak_bytes(options.device) / 1e9,
        "notes": notes,
    }


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of QLoRA steps of the big shape: ours, then TRL's."""
    found = {}
    for who, run in (("ours", functools.partial(ours, checkpointing="on")), ("trl", trl)):
        reset(options.device)
        try:
            _, notes = run(options, options.big_shape, nf4=True, steps=2)
            found[who] = {"peak_gigabytes": peak_bytes(options.device) / 1e9, "notes": notes}
        except RuntimeError as error:  # running out of memory is a result here
            found[who] = {"failed": type(error).__name__}
    return found


def ours(
    options: argparse.Namespace, shape: str, *, nf4: bool, steps: int, checkpointing: str
) -> tuple[list[float], dict[str, str]]:
    """Steps of the product's own layers, loss and optimiser; the decisions that it takes here."""
    import torch
    from peft import LoraConfig, get_peft_model

    from tasks.train.layers import prepare_layers
    from tasks.train.plan import Machine, decide
    from tasks.train.recipe import Recipe
    from tasks.train.sft import Supervised
    from tasks.train.shape import shape_of
    from tasks.train.trainer import make_optimizer, trainable

    recipe = Recipe(
        adapter="qlora" if nf4 else "lora", rank=RANK, alpha=2 * RANK, loss_on="all", expand_nf4="off", compile="off",
        activation_checkpointing=checkpointing, learning_rate=1e-4, sequence_tokens=options.sequence,
    )  # fmt: skip
    cuda, flash = options.device == "cuda", installed("flash_attn")
    free = torch.cuda.mem_get_info()[0] if cuda else 8_000_000_000
    machine = Machine(cuda=cuda, free_bytes=free, compiler=False, cores=1, flash_attention=cuda and flash)
    known = shape_of(SHAPES[shape])
    lengths = tuple(row_lengths(options))
    decisions = decide(recipe, known.block_weights, sum(lengths) * steps, machine, known, lengths)
    model = random_model(shape, options.device, nf4=nf4, attention="flash_attention_2" if cuda and flash else "sdpa")
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    for parameter in adapted.parameters():
        if parameter.requires_grad and decisions.adapter_precision.value == "fp32":
            parameter.data = parameter.data.float()
    prepare_layers(adapted.get_base_model(), decisions)
    objective = Supervised(recipe, options.sequence, 0)
    objective.decided(decisions)
    optimizer = make_optimizer(trainable(adapted), recipe)
    batch = objective.batch(rows(options, shape))
    return timed(
        options.device, steps, lambda: one_step(adapted.train(), objective, batch, optimizer)
    ), decisions.texts()


def one_step(model: Any, objective: Any, batch: Any, optimizer: Any) -> None:
    import torch

    (objective.loss(model, batch) / batch["input_ids"].numel()).backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad()


def trl(options: argparse.Namespace, shape: str, *, nf4: bool, steps: int) -> tuple[list[float], dict[str, str]]:
    """Steps of TRL's SFTTrainer as its documentation shows it."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    flash = options.device == "cuda" and installed("flash_attn")
    model = random_model(shape, options.device, nf4=nf4, attention="flash_attention_2" if flash else "sdpa")
    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            wait(options.device)
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wait(options.device)
            seconds.append(time.perf_counter() - self.began)

    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, max_length=options.sequence, packing=True, max_steps=steps, bf16=True,
            per_device_train_batch_size=1, learning_rate=1e-4, report_to="none", save_strategy="no",
            use_cpu=options.device == "cpu", use_liger_kernel=options.device == "cuda" and installed("liger_kernel"),
        )  # fmt: skip
        ids = [row.input_ids for _ in range(steps) for row in rows(options, shape)]
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_dict({"input_ids": ids}), processing_class=tokenizer(),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return seconds, {"attention": model.config._attn_implementation, "activation_checkpointing": "TRL's default: on"}


def timed(device: str, steps: int, step: Any) -> list[float]:
    seconds = []
    for _ in range(steps):
        wait(device)
        began = time.perf_counter()
        step()
        wait(device)
        seconds.append(time.perf_counter() - began)
    return seconds


def row_lengths(options: argparse.Namespace) -> list[int]:
    return [options.row_tokens] * (options.sequence // options.row_tokens)


def rows(options: argparse.Namespace, shape: str) -> list[Any]:
    """Rows of random tokens that fill one sequence."""
    from tasks.tokens import Encoded

    chance = random.Random(17)
    top = SHAPES[shape]["vocab_size"]
    lengths = row_lengths(options)
    return [Encoded([chance.randrange(3, top) for _ in range(n)], [True] * n) for n in lengths]


def shape_of_name(name: str) -> Any:
    from tasks.train.shape import shape_of

    return shape_of(SHAPES[name])


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def reset(device: str) -> None:
    """Forget the model before."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: str) -> float:
    """Highest memory since the last reset; on a CPU that of the whole process."""
    import resource

    import torch

    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
