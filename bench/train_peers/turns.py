"""How a trainer under measurement takes turns with the others: it does one optimiser step whenever it is told to.

Used by every script of this folder, in whatever environment that runs: only torch and the standard library are needed.
Commands come line by line on standard input (`step`, `parts`, `gemm`, `products`, `validate`); answers are lines of
JSON after a mark.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MARK = "@answer "
IGNORED = -100
_GEMM, _GEMM_TIMES = 2048, 5
Product = tuple[tuple[int, int, int], float]
Profile = Callable[[], Callable[[], dict[str, float]]]


def options() -> dict[str, Any]:
    """What the script is asked to do: the JSON object that is its argument."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def rows_of(path: str) -> list[dict[str, list[int]]]:
    """Rows as they are learned from: `input_ids`, and `labels` that are -100 where nothing is learned."""
    rows: list[dict[str, list[int]]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return rows


def tell(**answer: Any) -> None:
    print(MARK + json.dumps(answer), flush=True)


def computed_in() -> Any:
    """The tensor type that every trainer computes in: bf16 where the processor has instructions for it, else fp32."""
    import torch

    words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    return torch.bfloat16 if words & {"avx512_bf16", "amx_bf16"} else torch.float32


class Turns:
    """Waits for its turn, and says how long it took.

    Args:
        validate: loss on the validation rows.
        products: shapes (tokens, width, outputs) of the products of a step, each with how often it occurs.
        profile: starts a measurement of a step's parts; what it returns ends it and tells them.
    """

    def __init__(
        self, validate: Callable[[], float], products: Sequence[Product] = (), profile: Profile | None = None
    ) -> None:
        self.validate, self.products, self.profile, self.began = validate, products, profile, 0.0
        self.parts: Callable[[], dict[str, float]] | None = None

    def wait(self) -> None:
        """Answer questions until a step is asked for; the process ends when nobody asks any more."""
        for line in iter(sys.stdin.readline, ""):
            command = line.strip()
            if command in ("step", "parts"):
                self.parts = self.profile() if command == "parts" and self.profile else None
                self.began = time.perf_counter()
                return
            if command == "validate":
                tell(loss=self.validate())
            if command == "gemm":
                tell(rate=gemm_rate())
            if command == "products":
                tell(rate=products_rate(self.products))
        os._exit(0)

    def done(self, tokens: int, loss: float) -> None:
        seconds = time.perf_counter() - self.began
        parts = {"parts": self.parts()} if self.parts else {}
        tell(seconds=seconds, tokens=int(tokens), loss=float(loss), **parts)


def gemm_rate() -> float:
    """FLOP/s of a product of two square matrices in this process, the median of a few."""
    import torch

    x = torch.randn(_GEMM, _GEMM).to(computed_in())
    seconds = []
    for _ in range(_GEMM_TIMES):
        began = time.perf_counter()
        x @ x
        seconds.append(time.perf_counter() - began)
    return 2 * _GEMM**3 / sorted(seconds)[_GEMM_TIMES // 2]


def products_rate(products: Sequence[Product]) -> float:
    """FLOP/s of a step's products by themselves, forward and for the gradient of the input; the median of a few."""
    import torch

    seconds, work = 0.0, 0.0
    for (tokens, width, outputs), times in products:
        x, grad = (torch.randn(tokens, n).to(computed_in()) for n in (width, outputs))
        weight = torch.randn(outputs, width).to(computed_in())
        found = []
        for _ in range(_GEMM_TIMES):
            began = time.perf_counter()
            x @ weight.t()
            grad @ weight
            found.append(time.perf_counter() - began)
        seconds += times * sorted(found)[_GEMM_TIMES // 2]
        work += times * 4.0 * tokens * width * outputs
    return work / seconds


def mean_loss(logits_of: Callable[[Any], Any], rows: Sequence[dict[str, list[int]]]) -> float:
    """Mean cross-entropy of the learned tokens, row by row: the same measure for every trainer."""
    import torch

    total, count = 0.0, 0
    kind = computed_in()
    with torch.no_grad(), torch.autocast("cpu", kind, enabled=kind == torch.bfloat16):
        for row in rows:
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])[1:]
            logits = logits_of(ids)[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"))
            count += int((labels != IGNORED).sum())
    return total / count
