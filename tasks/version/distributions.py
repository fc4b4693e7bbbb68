"""What the rows of a version look like in numbers: counted while they stream past, for the card, the image and `diff`.

Counts, names of sources and entities only; no text of any row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from tasks.adapters.row_files import reason_code
from tasks.contracts import Record, Row, RowCounts
from tasks.similarity.profile import LENGTH_BOUNDS

QUALITY_STEP = 10
CONFLICTS = ("contradict", "conflict")  # how the reason codes begin
_SPLITS = ("train", "test")


class Lengths(Record):
    """Lengths, in words, of one side of the kept rows of one split."""

    smallest: int
    median: int
    p95: int
    largest: int
    classes: tuple[int, ...] = Field(description="Rows in each class of LENGTH_BOUNDS; the last has no upper bound.")


class SourceCount(Record):
    """What one source gave. An archive is named once, not member by member."""

    uri: str
    shape: str
    rows_in: int
    kept: int


class Distributions(Record):
    """The numbers of a version."""

    counts: RowCounts
    splits: dict[str, int]
    reasons: dict[str, int] = Field(description="reason code → rows, merged and quarantined.")
    redactions: dict[str, int] = Field(description="Entity → values that were replaced.")
    shapes: dict[str, int] = Field(description="Row shape → kept rows.")
    languages: dict[str, int] = Field(description="metadata.language → kept rows; empty where no row has one.")
    quality: dict[str, int] = Field(description="Class of the quality score, e.g. `70-79` → kept rows that have one.")
    lengths: dict[str, Lengths] = Field(description="`train prompt`, `train answer`, `test prompt`, `test answer`.")
    sources: tuple[SourceCount, ...] = Field(description="Largest first, then by name.")

    @property
    def conflicts(self) -> int:
        """Rows that were set aside because the same question has different answers."""
        return sum(count for code, count in self.reasons.items() if code.startswith(CONFLICTS))


@dataclass
class Counting:
    """Counts rows one by one; countings of shards can be added up. Memory grows with sources, not with rows."""

    outcomes: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    redactions: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    quality: Counter[int] = field(default_factory=Counter)
    words: Counter[tuple[str, int]] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    redacted: int = 0

    def add(self, row: Row) -> None:
        self.outcomes[row.outcome] += 1
        self.redacted += bool(row.redactions)
        self.redactions.update(row.redactions)
        self.sources[row.origin.source_uri, row.shape, row.outcome == "kept"] += 1
        if row.outcome != "kept":
            self.reasons[reason_code(row)] += 1
            return
        self.shapes[row.shape] += 1
        if row.metadata.get("language"):
            self.languages[row.metadata["language"]] += 1
        if row.quality is not None:
            self.quality[min(row.quality, 99) // QUALITY_STEP] += 1
        if row.split:
            self.splits[row.split] += 1
            prompt = sum(len(m.content.split()) for m in row.prompt if m.role != "system")
            self.words[f"{row.split} prompt", prompt] += 1
            self.words[f"{row.split} answer", len(row.answer.split())] += 1

    def merge(self, other: Counting) -> None:
        """Add what another counting saw."""
        for name in self.__dataclass_fields__:
            if name != "redacted":
                getattr(self, name).update(getattr(other, name))
        self.redacted += other.redacted

    def result(self) -> Distributions:
        kept, merged, refused = (self.outcomes[o] for o in ("kept", "merged", "quarantined"))
        counts = RowCounts(
            rows_in=self.outcomes.total(), kept=kept, merged=merged, quarantined=refused, redacted=self.redacted
        )
        sides = [f"{split} {side}" for split in _SPLITS for side in ("prompt", "answer")]
        by_side = {side: Counter({n: c for (s, n), c in self.words.items() if s == side}) for side in sides}
        return Distributions(
            counts=counts,
            splits={split: self.splits[split] for split in _SPLITS},
            reasons=_sorted(self.reasons),
            redactions=_sorted(self.redactions),
            shapes=_sorted(self.shapes),
            languages=_sorted(self.languages),
            quality={quality_class(step): self.quality[step] for step in sorted(self.quality)},
            lengths={side: _lengths(words) for side, words in by_side.items() if words},
            sources=_sources(self.sources),
        )


def quality_class(step: int) -> str:
    """Name of a class of quality scores; the last one includes 100."""
    low = step * QUALITY_STEP
    return f"{low}-{100 if low == 100 - QUALITY_STEP else low + QUALITY_STEP - 1}"


def length_names() -> list[str]:
    """Names of the classes of `Lengths.classes`."""
    lows = (0, *(bound + 1 for bound in LENGTH_BOUNDS))
    return [f"{low}-{high}" for low, high in zip(lows, LENGTH_BOUNDS, strict=False)] + [f"{lows[-1]}+"]


def _sorted(found: Mapping[str, int]) -> dict[str, int]:
    """Most frequent first, then by name."""
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _lengths(words: Counter[int]) -> Lengths:
    ordered = sorted(words.items())
    classes = [0] * (len(LENGTH_BOUNDS) + 1)
    for length, count in ordered:
        classes[next((i for i, bound in enumerate(LENGTH_BOUNDS) if length <= bound), len(LENGTH_BOUNDS))] += count
    return Lengths(
        smallest=ordered[0][0], median=_quantile(ordered, 0.5), p95=_quantile(ordered, 0.95), largest=ordered[-1][0],
        classes=tuple(classes),
    )  # fmt: skip


def _quantile(ordered: list[tuple[int, int]], share: float) -> int:
    """Smallest length that at least this share of the rows does not exceed."""
    wanted, seen = share * sum(count for _, count in ordered), 0
    for length, count in ordered:
        seen += count
        if seen >= wanted:
            return length
    return ordered[-1][0]


def _sources(found: Mapping[tuple[str, str, bool], int]) -> tuple[SourceCount, ...]:
    rows_in: Counter[tuple[str, str]] = Counter()
    kept: Counter[tuple[str, str]] = Counter()
    for (uri, shape, is_kept), count in found.items():
        rows_in[uri, shape] += count
        kept[uri, shape] += count if is_kept else 0
    made = [SourceCount(uri=u, shape=s, rows_in=n, kept=kept[u, s]) for (u, s), n in rows_in.items()]
    return tuple(sorted(made, key=lambda s: (-s.rows_in, s.uri, s.shape)))
