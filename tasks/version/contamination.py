"""Training rows that hold questions of public benchmarks: a score on such a benchmark would prove nothing.

A row is contaminated where it holds at least a share of a question's runs of 8 words (the measure of PaLM: Chowdhery
et al. 2022, section 8); case, punctuation and accents do not count. A question of 4 to 7 words has to be there as a
whole; shorter ones are everyday phrases and are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.digest import digest_file
from tasks.errors import UsageError
from tasks.similarity.leak_features import Features, features
from tasks.similarity.segments import mixed
from tasks.version.config import BenchmarkConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUN_WORDS, SHORTEST = 8, 4
_FIELDS = ("question", "prompt", "input", "text")
_ROUNDING = 1e-9


class Benchmarks(NamedTuple):
    """Questions of benchmarks as hashed runs of words."""

    names: tuple[str, ...]
    runs: NDArray[Any]  # sorted
    question: NDArray[Any]  # of each run
    needed: NDArray[Any]  # different runs of each question that a row must hold
    benchmark: NDArray[Any]  # of each question


def digests(configured: Sequence[BenchmarkConfig]) -> list[list[str]]:
    """Name and content of each benchmark, for the key of what is made with them.

    Raises:
        UsageError: a file is not there.
    """
    for one in configured:
        if not Path(one.path).is_file():
            raise UsageError("the file of a benchmark is not there", where=f"split.benchmarks: {one.path}",
                             remedy="correct the path or leave the benchmark out")  # fmt: skip
    return [[one.name, digest_file(Path(one.path))] for one in configured]


def read_benchmarks(configured: Sequence[BenchmarkConfig], overlap: float) -> Benchmarks:
    """The questions of all benchmarks.

    Raises:
        UsageError: a file is not UTF-8, or holds no question that can be looked for.
    """
    import numpy as np

    texts, owner = [], []
    for number, one in enumerate(configured):
        found = [text for text in _questions(Path(one.path)) if text.strip()]
        texts += found
        owner += [number] * len(found)
    read = features(texts, [""] * len(texts))
    pairs = [_runs(read, size) for size in range(SHORTEST, RUN_WORDS + 1)]
    kept = [(q, r) for (q, r), size in zip(pairs, range(SHORTEST, RUN_WORDS + 1), strict=True)
            for q, r in [_of_size(read, q, r, size)]]  # fmt: skip
    question, runs = (np.concatenate(column) for column in zip(*kept, strict=True))
    order = np.lexsort((question, runs))
    question, runs = question[order], runs[order]
    new = np.concatenate([[True], (question[1:] != question[:-1]) | (runs[1:] != runs[:-1])])[: len(runs)]
    question, runs = question[new], runs[new]
    total = np.bincount(question, minlength=len(texts))
    benchmark = np.array(owner, dtype=np.int64)
    _refuse_empty(configured, benchmark[total > 0])
    needed = np.maximum(np.ceil(overlap * total - _ROUNDING), 1)
    return Benchmarks(tuple(one.name for one in configured), runs, question, needed, benchmark)


def contaminated(texts: Sequence[str], benchmarks: Benchmarks) -> dict[int, str]:
    """Number of a text → the first benchmark of which it holds a question."""
    import numpy as np

    read = features(texts, [""] * len(texts))
    found = [_runs(read, size) for size in range(SHORTEST, RUN_WORDS + 1)]
    row, runs = (np.concatenate(column) for column in zip(*found, strict=True))
    pairs = np.unique(np.stack([row.astype(np.uint64), runs], axis=1), axis=0)
    row, runs = pairs[:, 0].astype(np.int64), pairs[:, 1]
    first = np.searchsorted(benchmarks.runs, runs, "left")
    last = np.searchsorted(benchmarks.runs, runs, "right")
    hit = np.flatnonzero(last > first)
    bounds = np.stack([first[hit], last[hit]], axis=1)
    at = np.concatenate([np.arange(a, b) for a, b in bounds]) if len(hit) else np.zeros(0, dtype=np.int64)
    of_row = np.repeat(row[hit], last[hit] - first[hit])
    questions = len(benchmarks.needed)
    shared, count = np.unique(of_row * questions + benchmarks.question[at], return_counts=True)
    enough = shared[count >= benchmarks.needed[shared % questions]]
    made: dict[int, str] = {}
    for pair in enough.tolist():
        made.setdefault(pair // questions, benchmarks.names[benchmarks.benchmark[pair % questions]])
    return made


def _runs(found: Features, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(text, hash) of every run of so many words."""
    import numpy as np

    count = np.maximum(found.lengths - size + 1, 0)
    row = np.repeat(np.arange(len(count)), count)
    start = np.repeat(found.bounds[:-1] - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
    value = np.full(len(start), size, dtype=np.uint64)
    for offset in range(size):
        value = mixed(value + found.words[start + offset])
    return row, value


def _of_size(
    read: Features, question: NDArray[Any], runs: NDArray[Any], size: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Runs by which a question is looked for: those of 8 words, or a shorter question as a whole."""
    lengths = read.lengths[question]
    kept = lengths == size if size < RUN_WORDS else lengths >= size
    return question[kept], runs[kept]


def _questions(path: Path) -> Iterator[str]:
    number = 0
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                yield _field(line, path, number) if path.suffix in (".jsonl", ".json") and line.strip() else line
    except UnicodeDecodeError as error:
        raise UsageError("the file of a benchmark is not UTF-8 text", where=f"{path}, behind line {number}",
                         why=str(error.reason), remedy="save it as UTF-8 and run again") from None  # fmt: skip


def _field(line: str, path: Path, number: int) -> str:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    texts = [value[name] for name in _FIELDS if isinstance(value, dict) and isinstance(value.get(name), str)]
    if not texts:
        raise UsageError("a line of a benchmark holds no question", where=f"{path}:{number}",
                         why=f"it is no JSON object with one of the fields {', '.join(_FIELDS)}",
                         remedy="write one object a line, or a text file with one question a line")  # fmt: skip
    return str(texts[0])


def _refuse_empty(configured: Sequence[BenchmarkConfig], found: NDArray[Any]) -> None:
    for number, one in enumerate(configured):
        if number not in found:
            raise UsageError("a benchmark holds no question that can be looked for", where=one.path,
                             why=f"none has {SHORTEST} words or more", remedy="check the file")  # fmt: skip
