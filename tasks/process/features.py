"""The first pass over a shard: clean its rows, write them down, and give back a few numbers for each.

The numbers of all rows are the index that duplicates are decided on. It is what grows with the corpus, and all that
does: see `index_bytes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.adapters.row_files import Privacy, iter_rows, row_line
from tasks.contracts import Row
from tasks.privacy.leftovers import leftovers
from tasks.privacy.policy import redactor_of
from tasks.process.config import ProcessConfig
from tasks.process.normalise import normalise
from tasks.process.privacy_scan import redact_again
from tasks.similarity.keys import RowKeys, row_keys
from tasks.similarity.lsh import NONE, Bands, band_values, bands_for
from tasks.similarity.minhash import U32, Shingling, signatures

KEYS = np.dtype(
    [
        ("source", "u8"),  # the two parts of the row's id
        ("record", "u8"),
        ("messages", "u8", (2,)),  # 128 bits where equal values of any two rows decide
        ("question", "u8", (2,)),
        ("answer", "u8"),  # 64 bits where only few rows are compared
        ("scope", "u8"),
        ("offset", "u8"),  # of the cleaned row in its file
        ("split", "u1"),  # UNDECLARED, TRAIN or TEST
        ("kept", "?"),
        ("asks", "?"),  # has a question
    ]
)
UNDECLARED, TRAIN, TEST = range(3)  # of `split`: a stronger declaration is a higher number
U32_BYTES = 4
VERDICT_BYTES = 13
_SPLITS = {None: UNDECLARED, "train": TRAIN, "test": TEST}
_BATCH_CHARACTERS = 1 << 20


class Index(NamedTuple):
    """Keys (rows) and band values (bands × rows) in canonical order."""

    keys: NDArray[Any]
    bands: U32


@dataclass(frozen=True)
class ShardFeatures:
    """What the first pass gives back of one shard."""

    index: Index
    findings: tuple[tuple[str, str], ...]


class Place(NamedTuple):
    """A shard to clean, where to, and what was replaced in it."""

    source: Path
    target: Path
    privacy: Privacy


def cut_of(config: ProcessConfig) -> Bands:
    """How the signatures are cut into bands."""
    return bands_for(config.near_duplicate_threshold, config.minhash_permutations)


def shingling_of(config: ProcessConfig) -> Shingling:
    """How texts become sets."""
    return Shingling(unit=config.shingle_unit, size=config.shingle_size)


def index_bytes(config: ProcessConfig) -> int:
    """What the index takes for each row, with the verdict on it."""
    return KEYS.itemsize + U32_BYTES * cut_of(config).bands + VERDICT_BYTES


def read_features(place: Place, config: ProcessConfig, key: bytes) -> ShardFeatures:
    """Clean one shard; the cleaned rows are in `place.target` then. `key` is the one that pseudonyms are made with."""
    redactor = redactor_of(place.privacy, key)
    collected = _Collected(config)
    findings: list[tuple[str, str]] = []
    with place.target.open("wb") as stream:
        for row in iter_rows(place.source):
            clean = redact_again(row, normalise(row, config.unicode_form), redactor)
            findings += [(row.row_id, entity) for entity in leftovers(clean, redactor)]
            collected.add(clean, stream.tell())
            stream.write(row_line(clean))
    return ShardFeatures(collected.index(), tuple(findings))


class _Collected:
    """Rows as they come become columns of the index; texts are let go of in between."""

    def __init__(self, config: ProcessConfig) -> None:
        self._config, self._cut = config, cut_of(config)
        self._keys: list[tuple[Any, ...]] = []
        self._bands: list[U32] = []
        self._texts: list[str] = []
        self._scopes: list[int] = []
        self._characters = 0

    def add(self, row: Row, offset: int) -> None:
        keys = row_keys(row)
        scope = _number(keys.scope)
        self._keys.append(_record(row, keys, scope, offset))
        self._texts.append(keys.compared if row.outcome == "kept" else "")
        self._scopes.append(scope)
        self._characters += len(self._texts[-1])
        if self._characters > _BATCH_CHARACTERS:
            self._sign()

    def _sign(self) -> None:
        made = signatures(self._texts, shingling_of(self._config), self._config.minhash_permutations)
        bands = band_values(made, self._cut, np.array(self._scopes, dtype=np.uint64))
        bands[:, [not text for text in self._texts]] = NONE
        self._bands.append(bands)
        self._texts, self._scopes, self._characters = [], [], 0

    def index(self) -> Index:
        self._sign()
        return Index(np.array(self._keys, dtype=KEYS), np.concatenate(self._bands, axis=1))


def _record(row: Row, keys: RowKeys, scope: int, offset: int) -> tuple[Any, ...]:
    source, record = row.row_id.split(":")
    return (
        int(source, 16),
        int(record),
        _two_numbers(keys.messages),
        _two_numbers(keys.question),
        _number(keys.answer),
        scope,
        offset,
        _SPLITS[row.declared_split],
        row.outcome == "kept",
        bool(keys.question),
    )


def row_id(keys: NDArray[Any], row: int) -> str:
    """The id of a row of the index."""
    return f"{int(keys['source'][row]):016x}:{int(keys['record'][row]):06d}"


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _two_numbers(text: str) -> tuple[int, int]:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
