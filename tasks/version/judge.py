"""What becomes of the training rows that are copies of held-out rows or hold questions of a benchmark.

Workers note what the checks see of each row in files of the work folder; the decision is made on arrays.
"""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.adapters.engine import Engine
from tasks.adapters.row_files import merged, quarantined
from tasks.contracts import Row
from tasks.similarity.keys import normalised, prompt_text
from tasks.similarity.leak_features import Features, Frequencies, features, load, save
from tasks.similarity.leaks import Leak, LeakIndex, build_index, find_leaks
from tasks.version.config import SplitConfig
from tasks.version.contamination import contaminated, read_benchmarks

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES, OPENINGS, INDEX = "features", "openings", "index"


class Verdict(NamedTuple):
    """Why a row is not trained on: the held-out row that it or its opening copies and how far, or its benchmark."""

    yields_to: str = ""
    share: float = 0.0
    benchmark: str = ""
    opening: bool = False

    def apply(self, row: Row) -> Row:
        if self.benchmark:
            return quarantined(row, "contaminated", f"it holds a question of the benchmark {self.benchmark}",
                               "leave the row out, or take the benchmark out of split.benchmarks")  # fmt: skip
        words = "says the same as" if self.share >= 1 else f"shares {self.share:.0%} of its words with"
        part = "the beginning of its conversation" if self.opening else "its prompt"
        return merged(row, self.yields_to, "leak", f"{part} {words} that of a held-out row")


class Shards(NamedTuple):
    """The files of rows, and which of all kept rows, and which held-out ones, lie in each."""

    paths: Sequence[Path]
    bounds: Sequence[int]
    held: NDArray[Any]

    def of(self, number: int) -> NDArray[Any]:
        """Which of the kept rows of a shard are held out."""
        return self.held[self.bounds[number] : self.bounds[number + 1]]


def judge(
    engine: Engine, shards: Shards, row_ids: NDArray[Any], split: SplitConfig, folder: Path
) -> dict[int, Verdict]:
    """Number of a kept row → why it is not trained on."""
    import numpy as np

    note = functools.partial(_note, folder, split)
    verdicts: dict[int, Verdict] = {}
    frequencies = Frequencies()
    for number, names in enumerate(engine.map(note, list(enumerate(shards.paths)))):
        frequencies.add(load(_features_file(folder, number)))
        trained = ~shards.of(number)
        verdicts |= {shards.bounds[number] + at: Verdict(benchmark=n) for at, n in names.items() if trained[at]}
    index = build_index(_held(folder, shards), frequencies.bits(), split.leak_threshold, split.leak_chance)
    index.save(folder / INDEX)
    trained_rows = [np.flatnonzero(~shards.of(number)) for number in range(len(shards.paths))]
    held_rows = np.flatnonzero(shards.held)
    for number, leaks in enumerate(engine.map(functools.partial(_leaks, folder), list(enumerate(trained_rows)))):
        for leak in leaks:
            row = shards.bounds[number] + int(trained_rows[number][leak.row])
            held = row_ids[held_rows[leak.held]].decode()
            verdicts[row] = Verdict(yields_to=held, share=leak.share, opening=leak.opening)
    shutil.rmtree(folder / FEATURES)
    shutil.rmtree(folder / INDEX)
    return verdicts


def words_about(verdicts: dict[int, Verdict]) -> list[str]:
    """What people are told about contaminated rows."""
    found = Counter(v.benchmark for v in verdicts.values() if v.benchmark)
    return [
        f"{n} rows hold questions of the benchmark {name} and are not trained on" for name, n in sorted(found.items())
    ]


def _note(folder: Path, split: SplitConfig, shard: tuple[int, Path]) -> dict[int, str]:
    """Write down the features of the kept rows of a shard; number of a kept row → benchmark it holds."""
    import numpy as np

    number, path = shard
    texts: list[str] = []
    answers, whole = [], []
    begun: list[tuple[int, str, str]] = []  # number of the row, opening, answer to it
    for row in _kept(path):
        prompt = prompt_text(row.prompt)
        begun += [(len(texts), *opening) for opening in _openings(row)]
        texts.append(prompt or normalised(row.answer))
        answers.append(row.answer)
        whole.append(f"{prompt}\n{row.answer}")
    save(_features_file(folder, number), features(texts, answers))
    save(_features_file(folder, number, OPENINGS), features([o[1] for o in begun], [o[2] for o in begun]))
    np.save(folder / FEATURES / f"{number:06d}.npy", np.array([o[0] for o in begun], dtype=np.int64))
    return contaminated(whole, read_benchmarks(split.benchmarks, split.benchmark_overlap)) if split.benchmarks else {}


def _openings(row: Row) -> Iterator[tuple[str, str]]:
    """The turns up to each earlier question, and what was answered: what a held-out row may hold as a whole."""
    turns = row.messages
    for at in range(1, len(row.prompt)):
        if turns[at].role == "assistant" and turns[at - 1].role == "user":
            yield prompt_text(turns[:at]), turns[at].content


def _kept(path: Path) -> Iterator[Row]:
    from tasks.adapters.row_files import iter_rows

    return (row for row in iter_rows(path) if row.outcome == "kept")


def _held(folder: Path, shards: Shards) -> Iterator[Features]:
    import numpy as np

    for number in range(len(shards.paths)):
        yield load(_features_file(folder, number)).take(np.flatnonzero(shards.of(number)))


def _leaks(folder: Path, shard: tuple[int, NDArray[Any]]) -> list[Leak]:
    number, rows = shard
    index = LeakIndex.load(folder / INDEX)
    whole = find_leaks(load(_features_file(folder, number)).take(rows), index)
    known = {leak.row for leak in whole}
    return [*whole, *(leak for leak in _opening_leaks(folder, number, rows, index) if leak.row not in known)]


def _opening_leaks(folder: Path, number: int, rows: NDArray[Any], index: LeakIndex) -> Iterator[Leak]:
    """For each of the rows that begins with a held-out conversation the closest one."""
    import numpy as np

    owner = np.load(folder / FEATURES / f"{number:06d}.npy")
    asked = np.flatnonzero(np.isin(owner, rows))
    found = find_leaks(load(_features_file(folder, number, OPENINGS)).take(asked), index, openings=True)
    at = np.searchsorted(rows, owner[asked])
    best: dict[int, Leak] = {}
    for leak in found:
        mine = leak._replace(row=int(at[leak.row]), opening=True)
        if mine.row not in best or mine.share > best[mine.row].share:
            best[mine.row] = mine
    yield from best.values()


def _features_file(folder: Path, number: int, kind: str = FEATURES) -> Path:
    return folder / FEATURES / f"{number:06d}.{kind}.npz"
