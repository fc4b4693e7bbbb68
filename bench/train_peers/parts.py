"""Where the time of a step goes, by kind of operation: torch's profiler around one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PARTS: dict[str, tuple[str, ...]] = {
    "products": ("aten::mm", "aten::addmm", "aten::addmm_"),
    "attention": ("aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::_softmax_backward_data"),
    "softmax of the head": ("aten::_log_softmax", "aten::exp_", "aten::gather", "aten::scatter_add_"),
    "moved and cast": ("aten::copy_", "aten::cat", "aten::index_select", "aten::index_copy_", "aten::fill_"),
}
ELEMENTWISE = ("aten::mul", "aten::add", "aten::silu", "aten::sum", "aten::linalg", "aten::rsqrt", "aten::div")
_COMPILED = "CompiledFxGraph"


def started() -> Callable[[], dict[str, float]]:
    """Profile from now on; the answer ends it and tells seconds by part. What no part names is called overhead."""
    from torch.profiler import ProfilerActivity, profile

    profiler = profile(activities=[ProfilerActivity.CPU])
    profiler.start()

    def ended() -> dict[str, float]:
        profiler.stop()
        found = dict.fromkeys((*PARTS, "elementwise", "overhead"), 0.0)
        for one in profiler.key_averages():
            found[_part(one.key)] += one.self_cpu_time_total / 1e6
        return {name: round(seconds, 3) for name, seconds in found.items()}

    return ended


def _part(operation: str) -> str:
    for part, names in PARTS.items():
        if operation in names:
            return part
    return "elementwise" if _COMPILED in operation or operation.startswith(ELEMENTWISE) else "overhead"


def bound(parts: dict[str, float], flops: float, gemm: float) -> dict[str, Any]:
    """What MFU the step has, and would have if its products ran at the rate of the large one and all else stayed."""
    total = sum(parts.values())
    perfect = flops / gemm
    rest = total - parts["products"]
    return {
        "mfu": round(perfect / total, 3),
        "mfu_if_products_were_perfect": round(perfect / (rest + min(perfect, parts["products"])), 3),
        "share_of_products": round(parts["products"] / total, 3),
    }
