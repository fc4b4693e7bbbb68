"""Do DPO and IPO make the better answer of a pair the likelier one, on pairs that were not learned?

    python -m bench.preferences --data FILE [--work FOLDER] [--sets SET...] [--variants VARIANT...] [--short]

Two sets. `generated`: pairs with a hidden rule (bench/preference_corpus.py), at least 200 of them held out.
`file`: the pairs of FILE (a JSON list with conversations, chosen, rejected), cross-validated: in each of three seeds
every pair is held out once. Each fold trains SFT on the chosen answers, and goes on from there with DPO, with IPO, and
with SFT for as much work again (`sft_longer`), so that DPO and IPO do not win by training longer.

Preference accuracy is the share of held-out pairs with log p(chosen) > log p(rejected): `plain` compares the sums over
an answer's tokens, which the lengths of two answers decide nearly alone, `per_token` their means, and `over_base` how
much likelier than under the base model each became: the implicit reward of DPO (Rafailov et al. 2023, section 4) with
one reference for all variants; a tie counts half. Differences to SFT are paired by pair (a pair's mean over the seeds),
with a 95% percentile bootstrap over pairs.

What is done is kept in WORK/results.json after every variant: the same command goes on from there, and with more
`--variants` it adds those to the folds that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.preference_corpus import fold_of, generated, read_pairs, short_enough
from bench.preference_folds import VARIANTS, Measured, forget, measure, train_variant
from tasks.adapters.store import write_atomically
from tasks.adapters.threads import thread_environment
from tasks.contracts import BaseModelRef, Estimate, Row

os.environ.update(thread_environment())

_SFT = {"learning_rate": 5e-4, "epochs": 1, "batch_rows": 16, "micro_batch_rows": 8}
_PREFERENCE = {"epochs": 3, "batch_rows": 8, "micro_batch_rows": 8, "beta": 0.1}
# Collected pairs contradict one another: a smaller rate and fewer passes than where a rule decides.
_SETTINGS: dict[str, dict[str, Any]] = {
    "generated": {"sft": _SFT, "preference": {**_PREFERENCE, "learning_rate": 5e-4}},
    "file": {"sft": _SFT, "preference": {**_PREFERENCE, "learning_rate": 2e-4, "epochs": 2}},
}
_TINY_SETTINGS: dict[str, Any] = {
    "sft": {**_SFT, "learning_rate": 1e-2, "rank": 8},
    "preference": {**_PREFERENCE, "learning_rate": 2e-3, "rank": 8, "epochs": 1},
}
_SHORT_SETTINGS = dict.fromkeys(_SETTINGS, _TINY_SETTINGS)
_HELD_OUT = 200
MEASURES = ("plain", "per_token", "over_base")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="JSON file of pairs; without it only the generated set is run")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--work", type=Path, default=Path("bench-preferences"), help="folder that makes it resumable")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=96, help="generated pairs to learn from")
    parser.add_argument("--max-tokens", type=int, default=512, help="longer pairs of the file are left out")
    parser.add_argument("--sets", nargs="+", choices=_SETTINGS, default=list(_SETTINGS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS[2:], default=VARIANTS[2:], help="beside base and sft")
    parser.add_argument("--short", action="store_true", help="the tiny model of the tests and few pairs")
    parser.add_argument("--only-first-fold", action="store_true", help="one fold of each set, then stop")
    options = parser.parse_args()
    if options.short:
        options.model, options.pairs, options.seeds, options.folds = _tiny(options.work), 48, 1, 2
    print(json.dumps(run(options)))


def run(options: Any) -> dict[str, Any]:
    """Every fold of both sets, and what they say together."""
    from tasks.adapters.base_models import resolve
    from tasks.tokens import load_tokenizer

    base = resolve(str(options.model))
    settings = _SHORT_SETTINGS if options.short else _SETTINGS
    seeds = range(1 if options.only_first_fold else options.seeds)
    results = Results(options.work / "results.json")
    held_out = 24 if options.short else _HELD_OUT
    variants = [variant for variant in VARIANTS if variant in (*VARIANTS[:2], *options.variants)]
    for seed in seeds if "generated" in options.sets else ():
        rows = generated(options.pairs + held_out, seed)
        fold(
            results,
            variants,
            f"generated/{seed}",
            base,
            rows[: options.pairs],
            rows[options.pairs :],
            settings["generated"],
            seed,
            options.work,
        )
    if options.data and "file" in options.sets:
        pairs = short_enough(read_pairs(options.data), load_tokenizer(Path(base.path)), options.max_tokens)
        pairs = pairs[:40] if options.short else pairs
        for seed in seeds:
            for number in range(1 if options.only_first_fold else options.folds):
                kept = [fold_of(i, seed, options.folds, len(pairs)) == number for i in range(len(pairs))]
                learn, held = ([r for r, k in zip(pairs, kept, strict=True) if k is wanted] for wanted in (False, True))
                name = f"file/{seed}/{number}"
                fold(results, variants, name, base, learn, held, settings["file"], seed, options.work)
    return {"bench": "preferences", "model": Path(str(options.model)).name, "sets": summaries(results, variants)}


class Results:
    """Name of a fold → variant → measured pairs, in a file that is written after each variant."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[str, dict[str, Measured]] = (
            json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        )

    def add(self, name: str, variant: str, measured: Measured) -> None:
        self.found.setdefault(name, {})[variant] = measured
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.file, json.dumps(self.found))

    def take_over_base(self, name: str, pairs: Sequence[str]) -> None:
        """What the base says of these pairs of the file, if other folds have it: it is the same in all of them."""
        kind = name.split("/")[0]
        if kind != "file" or "base" in self.found.get(name, {}):  # generated pairs are other pairs in every seed
            return
        known: Measured = {}
        for other, variants in self.found.items():
            if other.split("/")[0] == kind:
                known |= variants.get("base", {})
        if set(pairs) <= known.keys():
            self.add(name, "base", {pair: known[pair] for pair in pairs})


def fold(
    results: Results,
    variants: Sequence[str],
    name: str,
    base: BaseModelRef,
    learn: Sequence[Row],
    held: Sequence[Row],
    settings: dict[str, Any],
    seed: int,
    work: Path,
) -> None:
    """Train and measure every variant that is not measured yet."""
    place = work / name.replace("/", "-")
    results.take_over_base(name, [row.row_id for row in held])
    for variant in variants:
        if variant not in results.found.get(name, {}):
            adapter = train_variant(variant, base, learn, settings, seed, place)
            results.add(name, variant, measure(base, adapter, held))
            measured = results.found[name]
            told = (f"{by} {accuracy(measured[variant], measured['base'], by):6.1%}" for by in MEASURES)
            print(f"{name:<16}{variant:<12}{'   '.join(told)}", flush=True)
    forget(place)


def right(values: Sequence[float], base: Sequence[float], by: str) -> float:
    """1 where the chosen answer of a measured pair is the likelier one, 0 where it is not, 0.5 for a tie."""
    chosen, chosen_tokens, rejected, rejected_tokens = values
    if by == "per_token":
        margin = chosen / chosen_tokens - rejected / rejected_tokens
    else:
        margin = chosen - rejected - (base[0] - base[2] if by == "over_base" else 0)
    return 0.5 if margin == 0 else float(margin > 0)


def accuracy(measured: Measured, base: Measured, by: str) -> float:
    return statistics.fmean(right(values, base[pair], by) for pair, values in measured.items())


def summaries(results: Results, wanted: Sequence[str]) -> dict[str, Any]:
    """For each set: accuracy of every variant, and what DPO and IPO gain over both ways of SFT."""
    return {
        kind: {by: _summary(_by_pair(results, kind, by, wanted)) for by in MEASURES}
        for kind in sorted({name.split("/")[0] for name in results.found})
    }


def _by_pair(results: Results, kind: str, by: str, wanted: Sequence[str]) -> dict[str, dict[str, float]]:
    """variant → pair → share of seeds in which it is right, of the folds that have all wanted variants.

    Generated pairs are other pairs in every seed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for name, variants in results.found.items():
        if name.split("/")[0] == kind and set(wanted) <= variants.keys():
            for variant in wanted:
                for pair, values in variants[variant].items():
                    own = f"{name}/{pair}" if kind == "generated" else pair
                    found.setdefault(variant, {}).setdefault(own, []).append(right(values, variants["base"][pair], by))
    return {variant: {pair: statistics.fmean(v) for pair, v in pairs.items()} for variant, pairs in found.items()}


def _summary(by_pair: dict[str, dict[str, float]]) -> dict[str, Any]:
    from tasks.evaluate.statistics import bootstrap

    if not by_pair:
        return {}
    pairs = sorted(by_pair["sft"])
    told: dict[str, Any] = {"pairs": len(pairs)}
    told |= {variant: round(statistics.fmean(values.values()), 4) for variant, values in by_pair.items()}
    for variant in (v for v in ("dpo", "ipo") if v in by_pair):
        for other in (v for v in ("sft", "sft_longer") if v in by_pair):
            gains = [by_pair[variant][pair] - by_pair[other][pair] for pair in pairs]
            told[f"{variant}_over_{other}"] = _rounded(bootstrap(sorted(gains), 17))
    return told


def _rounded(found: Estimate) -> dict[str, float]:
    return {key: round(value, 4) for key, value in found.model_dump().items()}


def _tiny(work: Path) -> str:
    from tests.tiny_model import make_tiny_model

    folder = work / "tiny"
    return str(folder if folder.is_dir() else make_tiny_model(folder, embedding_scale=6.0))


if __name__ == "__main__":
    main()
