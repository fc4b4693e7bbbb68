"""MinHash kernels and engines on the same texts; runs in an environment with daft, polars and rensa (bench/peers.py).

Argument: {"parts": files with `text`, "texts": file with size → list of texts}. Last line of the output: kernel →
size → texts per CPU second, and engine → rows per CPU second and per second.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.near_duplicates import sign
from tasks.adapters.engine import LocalProcesses
from tasks.contracts import Message, Row, RowOrigin
from tasks.process.normalise import normalise
from tasks.similarity.lsh import bands_for
from tasks.similarity.minhash import Shingling, batches, shingle_hashes, signatures

CHARACTERS, WORDS = Shingling(unit="characters", size=5), Shingling(unit="words", size=5)
PERMUTATIONS, ROUNDS = 128, 3


def main() -> None:
    given = json.loads(sys.argv[1])
    texts = json.loads(Path(given["texts"]).read_text())
    kernels = {name: {size: kernel_rate(work, texts[size]) for size in texts} for name, work in KERNELS.items()}
    engines = {name: engine_rate(work, [Path(p) for p in given["parts"]]) for name, work in ENGINES.items()}
    print(json.dumps({"kernels": kernels, "engines": engines}))


def kernel_rate(work: Callable[[list[str]], object], texts: list[str]) -> float:
    """Texts per CPU second, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work(texts)
        best = min(best, time.process_time() - began)
    return len(texts) / best


def engine_rate(work: Callable[[list[Path]], int], parts: list[Path]) -> dict[str, float]:
    """Rows per CPU second of this process and its children, and per second of the clock."""
    began, cpu = time.perf_counter(), _cpu()
    rows = work(parts)
    return {"per_cpu_second": rows / (_cpu() - cpu), "per_second": rows / (time.perf_counter() - began)}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


# --- kernels --------------------------------------------------------------------------------------------------


def numpy_only(texts: list[str], shingling: Shingling) -> None:
    factors = np.random.default_rng(1).integers(1, 2**32, (PERMUTATIONS, 1), np.uint64).astype(np.uint32) | np.uint32(1)
    for batch in batches(texts):
        hashes, bounds = shingle_hashes(batch, shingling)
        short = (hashes >> np.uint64(32)).astype(np.uint32)
        for start, end in pairwise(bounds):
            (factors * short[start:end] + factors).min(axis=1)


def rensa_on_strings(texts: list[str]) -> None:
    from rensa import RMinHash

    size = CHARACTERS.size
    sets = [[t[i : i + size] for i in range(len(t) - size + 1)] for t in texts]
    RMinHash.digest_matrix_from_token_sets(sets, PERMUTATIONS, 1)


def daft_words(texts: list[str]) -> None:
    import daft

    hashed = daft.col("t").minhash(num_hashes=PERMUTATIONS, ngram_size=WORDS.size, hash_function="xxhash")
    daft.from_pydict({"t": texts}).select(hashed).collect()


def polars_shingles(texts: list[str]) -> None:
    """The shingles alone: polars has no MinHash."""
    import polars as pl

    words = (
        pl.DataFrame({"t": texts}).with_row_index("i").with_columns(pl.col("t").str.extract_all(r"\w+")).explode("t")
    )
    following = [pl.col("t").shift(-k).over("i") for k in range(WORDS.size)]
    words.with_columns(pl.concat_str(following, separator=" ").hash(1))


KERNELS: dict[str, Callable[[list[str]], object]] = {
    "rensa + numpy, 5 characters": partial(signatures, shingling=CHARACTERS, permutations=PERMUTATIONS),
    "rensa + numpy, 5 words": partial(signatures, shingling=WORDS, permutations=PERMUTATIONS),
    "numpy alone, 5 characters": partial(numpy_only, shingling=CHARACTERS),
    "numpy alone, 5 words": partial(numpy_only, shingling=WORDS),
    "rensa on Python strings, 5 characters": rensa_on_strings,
    "daft, 5 words": daft_words,
    "polars, 5 words, shingles only": polars_shingles,
}


# --- engines --------------------------------------------------------------------------------------------------


def daft_minhash(parts: list[Path]) -> int:
    import daft

    hashed = daft.col("text").lower().minhash(num_hashes=PERMUTATIONS, ngram_size=WORDS.size, hash_function="xxhash")
    return len(daft.read_json([str(p) for p in parts]).select(hashed).collect())


def our_minhash(parts: list[Path]) -> int:
    return sum(one.bands.shape[1] for one in _in_two(partial(sign, cut=bands_for(0.8, PERMUTATIONS)), parts))


def daft_rows(parts: list[Path]) -> int:
    import daft

    @daft.udf(return_dtype=daft.DataType.int64())
    def cleaned(texts: Any) -> list[int]:
        return [clean(text) for text in texts.to_pylist()]

    return len(daft.read_json([str(p) for p in parts]).select(cleaned(daft.col("text"))).collect())


def our_rows(parts: list[Path]) -> int:
    return sum(_in_two(clean_part, parts))


def clean_part(part: Path) -> int:
    with part.open("rb") as stream:
        return sum(1 for line in stream if clean(json.loads(line)["text"]))


def clean(text: str) -> int:
    """A step in Python as the stages have many: a row is made, normalised and written as JSON."""
    origin = RowOrigin(source_uri="x", source_digest="ab" * 32, record_index=0, byte_offset=0, line=1)
    row = Row(row_id=f"{'ab' * 8}:000000", origin=origin, messages=(Message(role="user", content=text),))
    return len(normalise(row, "NFC").model_dump_json(exclude_defaults=True))


def _in_two(function: Callable[[Path], Any], parts: list[Path]) -> list[Any]:
    engine = LocalProcesses(2)
    try:
        return list(engine.map(function, parts))
    finally:
        engine.close()


ENGINES: dict[str, Callable[[list[Path]], int]] = {
    "daft, read + MinHash of words": daft_minhash,
    "ours, read + MinHash of words": our_minhash,
    "daft, read + a step in Python": daft_rows,
    "ours, read + a step in Python": our_rows,
}


if __name__ == "__main__":
    os.environ["DAFT_PROGRESS_BAR"] = "0"
    main()
