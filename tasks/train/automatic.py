"""Values that are worked out from data and model, each by a published practice and with its reason. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tasks.train.config import Adapter, Method

Worked = tuple[Any, str]


@dataclass(frozen=True)
class Known:
    """What is known when a value is worked out: facts, where there are any yet, and the values settled before it."""

    rows: int | None
    parameters: int | None
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def trained_rows(self) -> int | None:
        """Rows of one pass: the sample, without those kept for validation."""
        if self.rows is None:
            return None
        taken = min(self.rows, self.values.get("max_rows") or self.rows)
        return max(1, taken - round(taken * (self.values.get("validation_share") or 0)))


@dataclass(frozen=True)
class Rule:
    """How one field is worked out: in words, and as a function that answers None while a fact is missing."""

    words: str
    work_out: Callable[[Known], Worked | None]


# Rates of full fine-tuning by size, upper limit of weights first. 7B and 70B: Llama 2 (Touvron et al. 2023) and Zephyr
# (Tunstall et al. 2023) use 2e-5, larger models half of it. Below a billion: SmolLM2's recipes go up to 1e-3 for its
# smallest; with an adapter 1e-3 to 2e-3 was measured best here for 135 million weights (examples/support_desk).
_FULL_RATES: tuple[tuple[float, float], ...] = (
    (0.3e9, 2e-4),
    (1e9, 5e-5),
    (3e9, 3e-5),
    (15e9, 2e-5),
    (math.inf, 1e-5),
)
_ADAPTER_FACTOR = 10  # "LoRA Without Regret" (Schulman et al. 2025): the best LoRA rate is about ten times the full one
# Zephyr: 5e-7 for DPO after 2e-5 for SFT. IPO and KTO are published with the same order. GRPO: 1e-6 (DeepSeekMath).
_METHOD_SHARES: dict[Method, float] = {"sft": 1, "dpo": 1 / 40, "ipo": 1 / 40, "kto": 1 / 40, "grpo": 1 / 20}
_RANKS: tuple[tuple[float, int], ...] = ((1_000, 8), (10_000, 16), (100_000, 32), (math.inf, 64))
_RSLORA_ALPHA = 8
_EPOCHS, _FEWEST_SEEN, _MOST_SEEN, _MOST_EPOCHS = 3, 100, 25_000, 25
_BATCH_SHARE, _SMALLEST_BATCH, _LARGEST_BATCH = 0.002, 8, 64
_MICRO: tuple[tuple[float, int], ...] = ((1e9, 16), (3e9, 8), (15e9, 4), (40e9, 2), (math.inf, 1))
_LOOKS = 10
_EXAMPLES_OF_A_ROW: dict[Method, int] = {"kto": 2}


def examples_of_a_row(method: Method) -> int:
    """How many examples a method makes of a row: KTO learns from both answers of a pair, one by one."""
    return _EXAMPLES_OF_A_ROW.get(method, 1)


def rate_share(adapter: Adapter, method: Method) -> tuple[float, str]:
    """Share of an adapter's SFT rate that this adapter and method train with, and that in words."""
    share, words = _METHOD_SHARES[method], f"1/{round(1 / _METHOD_SHARES[method])} for {method}"
    said = [words] if method != "sft" else []
    if adapter == "full":
        said.append(f"1/{_ADAPTER_FACTOR} for full fine-tuning")
    return share / (_ADAPTER_FACTOR if adapter == "full" else 1), ", ".join(said)


def _below(table: tuple[tuple[float, Any], ...], number: float) -> Any:
    return next(value for limit, value in table if number < limit)


def two_digits(value: float) -> float:
    """A rate as people write it."""
    return float(f"{value:.2g}")


def _learning_rate(known: Known) -> Worked | None:
    """Ten times the rate of full fine-tuning of a model of this size; less for preferences; see the tables above."""
    if known.parameters is None:
        return None
    share, words = rate_share(known.values["adapter"], known.values["method"])
    full = _below(_FULL_RATES, known.parameters)
    reason = f"{_ADAPTER_FACTOR} × {full:g}, the full fine-tuning rate of {_size(known.parameters)}"
    return two_digits(full * _ADAPTER_FACTOR * share), f"{reason}; {words}" if words else reason


def _rank(known: Known) -> Worked | None:
    """The adapter must hold what the data says (Schulman et al. 2025): ten times the rows, twice the rank."""
    if known.rows is None:
        return None
    return _below(_RANKS, known.rows), f"by data size, {known.rows:,} rows"


def _alpha(known: Known) -> Worked | None:
    """Twice the rank, as QLoRA's and Alpaca-LoRA's recipes have it; with rsLoRA one number for every rank.

    rsLoRA divides by the root of the rank so that a large rank learns as a small one (Kalajdzievski 2023): its
    numerator stays where it is, here where rank 16 has the scale 2 that twice the rank has without it.
    """
    if known.values.get("rslora"):
        return _RSLORA_ALPHA, "one scale for every rank with rslora; at rank 16 that of plain LoRA"
    rank = known.values.get("rank")
    return (2 * rank, "twice the rank") if isinstance(rank, int) else None


def _epochs(known: Known) -> Worked | None:
    """Three passes; more until 100 rows were seen, fewer where three would show over 25,000.

    OpenAI cookbook, "Data preparation and analysis for chat model fine-tuning"; preferences are learned in one pass
    (Rafailov et al. 2023 and Zephyr: one to three, the loss of held-out pairs rises early).
    """
    if known.values["method"] != "sft":
        return 1.0, f"one pass: {known.values['method']} overfits early"
    rows = known.trained_rows
    if rows is None:
        return None
    if rows * _EPOCHS < _FEWEST_SEEN:
        return float(min(_MOST_EPOCHS, _FEWEST_SEEN // rows)), f"{rows} rows are few: about {_FEWEST_SEEN} are seen"
    if rows * _EPOCHS > _MOST_SEEN:
        return float(max(1, _MOST_SEEN // rows)), f"{rows:,} rows are many: fewer passes show enough"
    return float(_EPOCHS), f"by data size, {rows:,} rows"


def _batch_rows(known: Known) -> Worked | None:
    """About 0.2% of the rows (OpenAI's fine-tuning guide), as a power of two from 8 to 64.

    Fewer make a noisy gradient; adapters lose more than full fine-tuning when batches grow (Schulman et al. 2025).
    """
    rows = known.trained_rows
    if rows is None:
        return None
    power = 2 ** round(math.log2(max(1.0, rows * _BATCH_SHARE)))
    return min(_LARGEST_BATCH, max(_SMALLEST_BATCH, power)), f"about {_BATCH_SHARE:.1%} of {rows:,} rows"


def _micro_batch_rows(known: Known) -> Worked | None:
    """The most rows that usually fit for a model of this size and that divide the batch; a repair halves it."""
    batch = known.values.get("batch_rows")
    if known.parameters is None or not isinstance(batch, int):
        return None
    most = _below(_MICRO, known.parameters)
    rows = max(n for n in range(1, min(most, batch) + 1) if batch % n == 0)
    return rows, f"divides {batch}; up to {most} rows of {_size(known.parameters)} at once"


def _sequence_tokens(_known: Known) -> Worked:
    """No limit of its own: rows that are too long were quarantined by `checks.max_tokens`."""
    return None, "as long as the model can read"


def _eval_steps(known: Known) -> Worked | None:
    """About ten looks: enough to see a loss turn, and few beside the training itself."""
    rows, batch, epochs = known.trained_rows, known.values.get("batch_rows"), known.values.get("epochs")
    if rows is None or not isinstance(batch, int) or not isinstance(epochs, float | int):
        return None
    examples = rows * examples_of_a_row(known.values["method"])
    steps = max(1, math.ceil(epochs * math.ceil(examples / batch)))
    return max(1, round(steps / _LOOKS)), f"about {_LOOKS} looks in {steps:,} steps"


def _size(parameters: int) -> str:
    if parameters < 1e9:
        return f"{parameters / 1e6:.0f} million weights"
    return f"{parameters / 1e9:.1f} billion weights"


# In the order in which they are settled: a later one may look at those before it.
AUTOMATIC: dict[str, Rule] = {
    "rank": Rule("by data size", _rank),
    "alpha": Rule("twice the rank, or one number with rslora", _alpha),
    "epochs": Rule("by data size; one pass for preferences", _epochs),
    "batch_rows": Rule("about 0.2% of the rows, 8 to 64", _batch_rows),
    "micro_batch_rows": Rule("by model size; divides the batch", _micro_batch_rows),
    "sequence_tokens": Rule("as long as the model can read", _sequence_tokens),
    "learning_rate": Rule("ten times the full fine-tuning rate of the model's size", _learning_rate),
    "eval_steps": Rule("about ten looks in a training", _eval_steps),
}
