"""How fast does a model learn here? Our trainer beside bare TRL and LitGPT, interleaved, on the same rows and machine.

    python -m bench.train [--only desk,long_tail,...] [--pairs 5] [--short] [--out FILE]

desk       rows of the support desk example: tokens a second and validation loss; TRL with QLoRA and LoRA, and LitGPT
long_tail  the same texts, joined to rows of very different length
compile    with torch.compile, its cost before the first step included, over a run of stated length
plain      every switch off against TRL's own step, at least 20 short pairs
full       LoRA over our own full fine-tuning, against what the FLOP formula allows, at 4,096 tokens a step
mfu        FLOPs of tokens that ran over the GEMM rate of the same process in the same minute, in the type computed in
tricks     each switch alone, over the plain step
precision  one row in bf16 and in fp32: what a processor without instructions for bf16 makes of it

Every trainer is a process of its own; they take turns step by step. Each section's result is added to FILE, so that
sections can be run one by one; the table and the last line of JSON are made of all that is there. Tokens are real ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.train_data import HELD_OUT, LONGEST_JOINED, LONGEST_ROW, encoded, long_tail, support_desk
from bench.train_flops import FORMULA, adapter_weights, step_flops
from bench.train_peers import parts
from bench.train_report import add, compared, last_line, results, show, table
from bench.train_turns import Variant, overall, paired, rounds, spread, stamp

RANK, RATE, ROWS = 16, 1e-3, 16
EPOCH_ROWS, LARGE_ROWS = 160, 80  # no batch is smaller than the others; the large one has about 5,900 tokens
PLAIN_PAIRS, PLAIN_ROWS, RUN_STEPS = 20, 8, 500
PRECISION_PAIRS = 3  # where bf16 is slow, a row takes minutes
PLAIN = {
    "packing": "off",
    "fused_layers": "off",
    "learned_head": "off",
    "expand_nf4": "off",
    "activation_checkpointing": "on",  # TRL's default
    "micro_batch_rows": PLAIN_ROWS,  # TRL's default
}
IN_TWO = {"compile": "on", "micro_batch_rows": LARGE_ROWS // 2}  # what computes a large batch fastest on two cores
OUT = Path(".bench") / "train.json"


class Material:
    """Rows as files, and what every trainer is asked to do with them."""

    def __init__(self, folder: Path, pairs: int, model: str = "smollm2-135m") -> None:
        from tasks.adapters.base_models import resolve
        from tasks.tokens import load_tokenizer
        from tasks.train.shape import read_shape

        base = resolve(model)
        self.folder, self.pairs, self.model = folder, pairs, base.path
        self.shape, tokenizer = read_shape(Path(base.path)), load_tokenizer(Path(base.path))
        desk = support_desk()
        self.files = {
            "desk": self._write("desk", encoded(tokenizer, desk, LONGEST_ROW)[:EPOCH_ROWS]),
            "long_tail": self._write("long_tail", encoded(tokenizer, long_tail(desk, 640), LONGEST_JOINED * 85)),
            "plain": self._write("plain", _equal_batch(encoded(tokenizer, desk, LONGEST_ROW))),
            "validation": self._write("validation", encoded(tokenizer, support_desk(*HELD_OUT), LONGEST_ROW)[:32]),
        }

    def _write(self, name: str, examples: list[Any]) -> str:
        rows = [
            {
                "input_ids": e.input_ids,
                "labels": [t if k else -100 for t, k in zip(e.input_ids, e.learned, strict=True)],
            }
            for e in examples
        ]
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(rows), encoding="utf-8")
        return str(file)

    def variant(self, name: str, script: str, rows: str = "desk", adapter: str = "qlora", **more: Any) -> Variant:
        asked = {
            "model": self.model,
            "rows": self.files[rows],
            "validation": self.files["validation"],
            "adapter": adapter,
            "rank": RANK,
            "learning_rate": RATE,
            "batch_rows": more.pop("batch_rows", ROWS),
            "steps": more.pop("steps", 200),
        }
        return Variant(name, script, asked | more, environment=more.pop("environment", None))


def _equal_batch(examples: list[Any]) -> list[Any]:
    """As many rows as a micro-batch has, and no more: then every step of every trainer computes the same batch."""
    return sorted(examples, key=lambda example: len(example.input_ids))[-PLAIN_ROWS * 4 :: 4]


def desk(material: Material) -> dict[str, Any]:
    steps = material.pairs + 1
    variants = [
        material.variant("trl", "trl_sft", steps=steps),
        material.variant("trl-lora", "trl_sft", adapter="lora", steps=steps),
        material.variant("litgpt", "litgpt_lora", steps=steps, environment="litgpt"),
        material.variant("tuneloop", "tuneloop_sft", steps=steps),
    ]
    found = rounds(variants, material.pairs, validate=True)
    return compared(found) | {"validation": {name: round(one["validation"], 3) for name, one in found.items()}}


def long_tailed(material: Material) -> dict[str, Any]:
    variants = [
        material.variant("trl", "trl_sft", rows="long_tail"),
        material.variant("tuneloop", "tuneloop_sft", rows="long_tail", recipe={"sequence_tokens": 2048}),
    ]
    return compared(rounds(variants, material.pairs))


def compiled(material: Material) -> dict[str, Any]:
    cache = tempfile.mkdtemp(prefix="tuneloop-compiled-")
    on: dict[str, Any] = {"recipe": {"compile": "on"}, "compiler_cache": cache}
    variants = [
        material.variant("trl", "trl_sft"),
        material.variant("tuneloop", "tuneloop_sft"),
        material.variant("compiled", "tuneloop_sft", **on),
    ]
    found = rounds(variants, material.pairs, warm=2)
    again = rounds([material.variant("compiled", "tuneloop_sft", **on)], 1, warm=2)["compiled"]
    steady = statistics.median(found["compiled"]["seconds"])
    cost, warm_cost = (sum(one["warm_seconds"]) - 2 * steady for one in (found["compiled"], again))
    share = RUN_STEPS * steady / (RUN_STEPS * steady + cost)
    return compared(found, ours="compiled") | {
        "over_uncompiled": spread(paired(found, "compiled", "tuneloop")),
        "compile_seconds": round(cost, 1),
        "compile_seconds_with_cache": round(warm_cost, 1),
        "run_steps": RUN_STEPS,
        "ratio_with_compile": round(overall(found, "compiled", "trl") * share, 2),
    }


def plain(material: Material) -> dict[str, Any]:
    few: dict[str, Any] = {"batch_rows": PLAIN_ROWS, "rows": "plain"}
    variants = [
        material.variant("trl", "trl_sft", **few),
        material.variant("tuneloop-plain", "tuneloop_sft", recipe=PLAIN, **few),
    ]
    found = rounds(variants, max(PLAIN_PAIRS, material.pairs), warm=2)
    return table(found) | {"plain_step_ratio": spread(paired(found, "tuneloop-plain", "trl", "seconds"))}


def full(material: Material) -> dict[str, Any]:
    many: dict[str, Any] = {"batch_rows": LARGE_ROWS, "recipe": IN_TWO}
    variants = [
        material.variant("lora", "tuneloop_sft", adapter="lora", **many),
        material.variant("full", "tuneloop_sft", adapter="full", **many),
    ]
    found = rounds(variants, material.pairs, warm=1)
    lengths, learned = row_lengths(material.files["desk"])
    of_full = step_flops(material.shape, lengths, learned, None)
    of_lora = step_flops(material.shape, lengths, learned, adapter_weights(material.shape, RANK))
    bound = of_full / of_lora
    return table(found) | {
        "lora_over_full": spread(paired(found, "lora", "full")),
        "lora_over_full_bound": round(bound, 3),
        "share_of_bound": round(statistics.median(paired(found, "lora", "full")) / bound, 3),
        "tokens_a_step": round(statistics.mean(found["lora"]["tokens"])),
    }


def mfu(material: Material) -> dict[str, Any]:
    variants = [
        material.variant("desk", "tuneloop_sft"),
        material.variant("4096", "tuneloop_sft", batch_rows=LARGE_ROWS),
        material.variant("4096-compiled", "tuneloop_sft", batch_rows=LARGE_ROWS, recipe={"compile": "on"}),
        material.variant("4096-in-two", "tuneloop_sft", batch_rows=LARGE_ROWS, recipe=IN_TWO),
        material.variant(
            "4096-in-five", "tuneloop_sft", batch_rows=LARGE_ROWS, recipe=IN_TWO | {"micro_batch_rows": ROWS}
        ),
    ]
    found = rounds(variants, material.pairs, warm=1, gemm=True)
    lengths, learned = row_lengths(material.files["desk"])
    a_token = step_flops(material.shape, lengths, learned, adapter_weights(material.shape, RANK)) / sum(lengths)
    shares = {
        name: spread([rate * a_token / gemm for rate, gemm in zip(one["rates"], one["gemm"], strict=True)])
        for name, one in found.items()
    }
    gemm = statistics.median(rate for one in found.values() for rate in one["gemm"])
    alone = {
        name: spread([a / b for a, b in zip(one["products"], one["gemm"], strict=True)]) for name, one in found.items()
    }
    return table(found) | {
        "mfu": shares,
        "mfu_if_only_products_took_time": alone,
        "parts": {
            name: one["last"]["parts"] | parts.bound(one["last"]["parts"], a_token * one["last"]["tokens"], gemm)
            for name, one in found.items()
        },
        "gemm_gflops": round(gemm / 1e9),
        "flops_a_token": round(a_token),
        "formula": FORMULA,
    }


def tricks(material: Material) -> dict[str, Any]:
    alone: dict[str, dict[str, Any]] = {
        "plain": {},
        "packing": {"packing": "on"},
        "learned_head": {"learned_head": "on"},
        "no_checkpointing": {"activation_checkpointing": "off"},
        "expand_nf4": {"expand_nf4": "on"},
        "fused_layers": {"expand_nf4": "on", "fused_layers": "on"},
        "all": {"expand_nf4": "on"} | dict.fromkeys(("fused_layers", "packing", "learned_head"), "on"),
    }
    alone["all"]["activation_checkpointing"] = "off"
    alone["all_compiled"] = alone["all"] | {"compile": "on"}
    variants = [
        material.variant(name, "tuneloop_sft", rows="long_tail", recipe=PLAIN | switches, steps=material.pairs + 1)
        for name, switches in alone.items()
    ]
    found = rounds(variants, material.pairs)
    over = {name: spread(paired(found, name, "plain")) for name in alone}
    apart = {name: _furthest(one["losses"], found["plain"]["losses"]) for name, one in found.items()}
    return table(found) | {"over_plain": over, "largest_difference_of_loss": apart}


def precisions(material: Material) -> dict[str, Any]:
    variants = [
        material.variant(name, "tuneloop_sft", batch_rows=1, recipe={"precision": name}) for name in ("bf16", "fp32")
    ]
    found = rounds(variants, PRECISION_PAIRS)
    return table(found) | {"bf16_over_fp32_seconds": spread(paired(found, "bf16", "fp32", "seconds"))}


def _furthest(ours: list[float], plain_losses: list[float]) -> float:
    return round(max(abs(a - b) / b for a, b in zip(ours, plain_losses, strict=True)), 5)


def row_lengths(file: str) -> tuple[list[int], int]:
    """Lengths of all rows, and how many of their tokens are learned."""
    rows = json.loads(Path(file).read_text(encoding="utf-8"))
    return [len(row["input_ids"]) for row in rows], sum(label >= 0 for row in rows for label in row["labels"][1:])


SECTIONS: dict[str, Callable[[Material], dict[str, Any]]] = {
    "desk": desk,
    "long_tail": long_tailed,
    "plain": plain,
    "compile": compiled,
    "full": full,
    "mfu": mfu,
    "tricks": tricks,
    "precision": precisions,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between them")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--short", action="store_true", help="as few pairs as still mean something")
    parser.add_argument("--model", default="smollm2-135m", help="LitGPT takes part with this one only")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    pairs = 5 if options.short else options.pairs
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder), pairs, options.model)
        for name in options.only.split(","):
            add(options.out, name, SECTIONS[name](material) | {"at": stamp(), "pairs": pairs})
            show(name, results(options.out)[name])
    print(json.dumps(last_line(results(options.out))))


if __name__ == "__main__":
    main()
