"""Does the leak check find copies of held-out rows, and does it leave other rows alone?

    python -m bench.leaks [--held 5000] [--clean 100000] [--planted 500] [--seed 1]

Plants copies of held-out rows among clean training rows (equal; up to a tenth but at least one word changed; sentences
in another order; case and punctuation changed) and counts how many are found, by length and kind, how many clean rows
are taken for copies, and how long it takes on one core. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

from bench.leak_corpus import CLASSES, KINDS, Corpus, classes_of, length_class, make_corpus
from tasks.version.config import SplitConfig

SHARD_ROWS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held", type=int, default=5000)
    parser.add_argument("--clean", type=int, default=100_000)
    parser.add_argument("--planted", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    corpus = make_corpus(options.seed, options.held, options.clean, options.planted)
    started = time.perf_counter()
    found = find(corpus)
    seconds = time.perf_counter() - started
    print_table(corpus, found)
    print(json.dumps({**summary(corpus, found), "seconds": round(seconds, 2), "held": len(corpus.held)}))


def find(corpus: Corpus) -> set[int]:
    """Numbers of the training rows, clean ones first, that the product takes for leaks; shard by shard as there."""
    from tasks.similarity.leak_features import Frequencies, features
    from tasks.similarity.leaks import build_index, find_leaks

    split = SplitConfig()
    training = [*corpus.clean, *(copy.text for copy in corpus.planted)]
    starts = range(0, len(training), SHARD_ROWS)
    held = features(corpus.held, [""] * len(corpus.held))
    shards = [features(part, [""] * len(part)) for part in (training[s : s + SHARD_ROWS] for s in starts)]
    frequencies = Frequencies()
    for shard in (held, *shards):
        frequencies.add(shard)
    index = build_index([held], frequencies.bits(), split.leak_threshold, split.leak_chance)
    return {s + leak.row for s, shard in zip(starts, shards, strict=True) for leak in find_leaks(shard, index)}


def recall(corpus: Corpus, found: set[int]) -> dict[tuple[str, str], tuple[int, int]]:
    """(length, kind) → copies found, copies planted."""
    planted: Counter[tuple[str, str]] = Counter()
    caught: Counter[tuple[str, str]] = Counter()
    for number, copy in enumerate(corpus.planted, len(corpus.clean)):
        key = length_class(corpus.held[copy.of]), copy.kind
        planted[key] += 1
        caught[key] += number in found
    return {key: (caught[key], planted[key]) for key in planted}


def summary(corpus: Corpus, found: set[int]) -> dict[str, float]:
    counts = recall(corpus, found)

    def share(kinds: tuple[str, ...]) -> float:
        caught, planted = (sum(counts[k][i] for k in counts if k[1] in kinds) for i in (0, 1))
        return round(caught / planted, 4)

    alarms = sum(number < len(corpus.clean) for number in found)
    return {
        "leak_exact_recall": share(("exact",)),
        "leak_near_recall": share(KINDS[1:]),
        **{f"leak_{kind}_recall": share((kind,)) for kind in KINDS[1:]},
        "leak_false_alarms": round(alarms / len(corpus.clean), 5),
        "planted": len(corpus.planted),
        "clean": len(corpus.clean),
    }


def print_table(corpus: Corpus, found: set[int]) -> None:
    counts = recall(corpus, found)
    alarms = classes_of([corpus.clean[number] for number in found if number < len(corpus.clean)])
    clean = classes_of(corpus.clean)
    print(f"{'words':>9} " + " ".join(f"{kind:>21}" for kind in KINDS) + f"{'false alarms':>22}")
    for name in CLASSES:
        cells = (counts.get((name, kind), (0, 0)) for kind in KINDS)
        print(f"{name:>9} " + " ".join(f"{f'{a} of {b}':>21}" for a, b in cells)
              + f"{f'{alarms[name]} of {clean[name]}':>22}")  # fmt: skip


if __name__ == "__main__":
    main()
