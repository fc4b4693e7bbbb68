"""How fast and how well are near duplicates found? Ours beside datatrove and text-dedup, interleaved, on one corpus.

    python -m bench.near_duplicates [--rows 100000] [--rounds 3]

From JSON Lines to clusters with two workers each, 128 permutations, shingles of 5 words, Jaccard 0.8. Peers cut the
signature by the rule that text-dedup and datasketch use (9 bands of 13 at 0.8) and compare nothing afterwards; ours are
21 bands of 6, and every candidate pair is compared on its true sets. Both sides' results count as clusters: a planted
pair is found where both rows are in one cluster, and wrongly found where its true Jaccard is below the threshold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import peers
from bench.corpus import Planted, planted_in, write
from tasks.adapters.engine import LocalProcesses
from tasks.similarity.keys import normalised
from tasks.similarity.lsh import Bands, Candidates, band_values, bands_for
from tasks.similarity.minhash import U32, Shingling, jaccard, shingle_sets, signatures

SHINGLES = Shingling(unit="words", size=5)
THRESHOLD, PERMUTATIONS, WORKERS = 0.8, 128, 2
PEER_CUT = Bands(9, 13)  # text_dedup.utils.optimal_param(0.8, 128, 0.5, 0.5)
PART_ROWS = 2048
PAIRS_AT_ONCE = 1024
PEERS = ("datatrove", "text-dedup")
Clusters = list[list[int]]


class Result(NamedTuple):
    """Wall seconds and what was found."""

    seconds: float
    clusters: Clusters


class Score(NamedTuple):
    """Over the planted pairs."""

    precision: float
    recall: float
    f1: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        write(corpus, options.rows)
        found = measure(corpus, options.rounds, options.peers.split(","))
    print(json.dumps({name: found[name] for name in ("near_dup_ratio", "near_dup_f1", "peer_near_dup_f1")}))


def measure(corpus: Path, rounds: int = 3, names: Sequence[str] = PEERS) -> dict[str, Any]:
    """Run all systems in every round on one corpus (see bench/corpus.py), print the table, return the numbers.

    `near_dup_ratio` is ours to the fastest peer, by the median of rows/s; `peer_near_dup_f1` the best of the peers'.
    """
    results: dict[str, list[Result]] = {name: [] for name in ("tuneloop", *names)}
    with tempfile.TemporaryDirectory() as folder:
        parts = split_corpus(corpus, Path(folder) / "parts")
        for number in range(rounds):
            results["tuneloop"].append(ours(parts))
            for name in names:
                results[name].append(theirs(name, parts, Path(folder) / f"{name}-{number}"))
        planted = true_similarities(parts, planted_in(corpus))
    rows = sum(1 for _ in corpus.open("rb"))
    rates = {name: [rows / one.seconds for one in runs] for name, runs in results.items()}
    scores = {name: score(runs[-1].clusters, planted) for name, runs in results.items()}
    print_table(rates, scores, planted)
    fastest = max(statistics.median(rates[name]) for name in names)
    return {
        "near_dup_ratio": round(statistics.median(rates["tuneloop"]) / fastest, 2),
        "near_dup_f1": round(scores["tuneloop"].f1, 4),
        "peer_near_dup_f1": round(max(scores[name].f1 for name in names), 4),
        "rows_per_second": {name: [round(r) for r in values] for name, values in rates.items()},
    }


def split_corpus(corpus: Path, folder: Path) -> list[Path]:
    """The corpus as files with one field `text`, which all systems read; the last one is shorter."""
    folder.mkdir()
    parts: list[Path] = []
    with corpus.open(encoding="utf-8") as stream:
        while lines := list(islice(stream, PART_ROWS)):
            parts.append(folder / f"{len(parts):04d}.jsonl")
            texts = ("{prompt}\n{completion}".format(**json.loads(line)) for line in lines)
            parts[-1].write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts))
    return parts


# --- ours -----------------------------------------------------------------------------------------------------


class Signed(NamedTuple):
    """Band values of a part's rows, and where its lines begin."""

    bands: U32
    offsets: NDArray[np.int64]


class Portion(NamedTuple):
    """Candidate pairs of row numbers; `lines` says for each row in `rows` where its line begins."""

    pairs: NDArray[np.int64]
    rows: NDArray[np.int64]
    lines: list[tuple[Path, int]]


def ours(parts: Sequence[Path]) -> Result:
    """MinHash, LSH and comparison of the true sets with the functions of the product and its engine."""
    began = time.perf_counter()
    engine = LocalProcesses(WORKERS)
    try:
        signed = list(engine.map(partial(sign, cut=bands_for(THRESHOLD, PERMUTATIONS)), parts))
        offsets = [one.offsets for one in signed]
        candidates = Candidates(np.concatenate([one.bands for one in signed], axis=1))
        portions = _portions(candidates.pairs(), parts, offsets)
        pairs = [pair for found in engine.map(confirm, portions) for pair in found]
        return Result(time.perf_counter() - began, components(pairs))
    finally:
        engine.close()


def sign(part: Path, cut: Bands) -> Signed:
    """Band values of the rows of one file."""
    offsets, texts = [], []
    with part.open("rb") as stream:
        position = 0
        for line in stream:
            offsets.append(position)
            position += len(line)
            texts.append(normalised(json.loads(line)["text"]))
    values = band_values(signatures(texts, SHINGLES, PERMUTATIONS), cut, np.zeros(len(texts), np.uint64))
    return Signed(values, np.array(offsets, dtype=np.int64))


def _portions(
    found: Iterable[NDArray[np.int64]], parts: Sequence[Path], offsets: list[NDArray[np.int64]]
) -> Iterable[Portion]:
    for pairs in found:
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            some = pairs[start : start + PAIRS_AT_ONCE]
            rows = np.unique(some)
            places = [divmod(int(row), PART_ROWS) for row in rows]
            yield Portion(some, rows, [(parts[p], int(offsets[p][k])) for p, k in places])


def confirm(portion: Portion) -> list[tuple[int, int]]:
    """The pairs whose Jaccard similarity is at least the threshold."""
    sets = dict(zip(portion.rows.tolist(), shingle_sets(_texts(portion.lines), SHINGLES), strict=True))
    return [(a, b) for a, b in portion.pairs.tolist() if jaccard(sets[a], sets[b]) >= THRESHOLD]


def _texts(lines: Sequence[tuple[Path, int]]) -> list[str]:
    found: list[str] = []
    opened: dict[Path, Any] = {}
    for path, offset in lines:
        stream = opened.get(path) or opened.setdefault(path, path.open("rb"))
        stream.seek(offset)
        found.append(normalised(json.loads(stream.readline())["text"]))
    for stream in opened.values():
        stream.close()
    return found


def components(pairs: Iterable[tuple[int, int]]) -> Clusters:
    """Rows that are connected by pairs."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for left, right in pairs:
        parent[root(right)] = root(left)
    found: dict[int, list[int]] = {}
    for row in list(parent):
        found.setdefault(root(row), []).append(row)
    return list(found.values())


# --- theirs, and how good ---------------------------------------------------------------------------------------


def theirs(name: str, parts: Sequence[Path], work: Path) -> Result:
    """A peer's steps from the files to the clusters."""
    work.mkdir()
    answer = peers.run(
        name, f"{name.replace('-', '_')}_minhash", corpus=str(parts[0].parent), work=str(work), parts=len(parts),
        part_rows=PART_ROWS, ngram=SHINGLES.size, bands=PEER_CUT.bands, band_rows=PEER_CUT.rows, workers=WORKERS,
    )  # fmt: skip
    return Result(sum(answer["seconds"].values()), json.loads(Path(answer["clusters"]).read_text()))


def true_similarities(parts: Sequence[Path], planted: Sequence[Planted]) -> dict[Planted, float]:
    """Jaccard similarity of the true sets of the planted pairs."""
    wanted = {row for p in planted for row in (p.origin, p.copy)}
    texts: dict[int, str] = {}
    for number, part in enumerate(parts):
        with part.open("rb") as stream:
            rows = enumerate(stream, start=number * PART_ROWS)
            texts |= {row: normalised(json.loads(line)["text"]) for row, line in rows if row in wanted}
    return {p: jaccard(*shingle_sets([texts[p.origin], texts[p.copy]], SHINGLES)) for p in planted}


def score(clusters: Clusters, planted: dict[Planted, float]) -> Score:
    """Of the planted near duplicates; rows that have nothing to do with each other in one cluster are errors too."""
    cluster_of = {row: number for number, rows in enumerate(clusters) for row in rows}
    origin_of = {p.copy: p.origin for p in planted}
    together = {p: cluster_of.get(p.copy, -1) == cluster_of.get(p.origin, -2) for p in planted if not p.exact}
    right = sum(together[p] and planted[p] >= THRESHOLD for p in together)
    wrong = sum(together.values()) - right + sum(len({origin_of.get(r, r) for r in rows}) - 1 for rows in clusters)
    wanted = sum(planted[p] >= THRESHOLD for p in together)
    precision, recall = right / max(1, right + wrong), right / max(1, wanted)
    return Score(precision, recall, 2 * precision * recall / max(1e-9, precision + recall))


def print_table(rates: dict[str, list[float]], scores: dict[str, Score], planted: dict[Planted, float]) -> None:
    near = [value for p, value in planted.items() if not p.exact]
    wanted = sum(value >= THRESHOLD for value in near)
    print(f"{len(near)} planted near duplicates, {wanted} of them with a true Jaccard of {THRESHOLD} or more")
    print(f"{'':12}{'rows/s':>10}{'spread':>18}{'precision':>11}{'recall':>9}{'F1':>9}")
    for name, values in rates.items():
        spread = f"{min(values):,.0f} – {max(values):,.0f}"
        precision, recall, f1 = scores[name]
        print(f"{name:12}{statistics.median(values):10,.0f}{spread:>18}{precision:11.4f}{recall:9.4f}{f1:9.4f}")


if __name__ == "__main__":
    main()
