"""Who is trained on and who is held out. Pure: keys of rows and what the ledger holds in, membership with reasons out.

The decision is made on arrays, one line for each kept row of about 80 bytes; no row is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.contracts import Row
from tasks.digest import digest_of
from tasks.errors import DataRefused, UsageError
from tasks.similarity.keys import answer_key, normalised, prompt_text
from tasks.version.config import SplitConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAIN, _TEST = 1, 2
_DECLARED = {None: 0, "train": _TRAIN, "test": _TEST}
_ANSWER = "answer"


class SplitKeys(NamedTuple):
    """Of the kept rows of some shards, in canonical order, what membership depends on."""

    row_id: NDArray[Any]
    place: NDArray[Any]  # number of the row in its shard
    offset: NDArray[Any]  # byte at which its line starts
    prompt: NDArray[Any]  # first 16 bytes of `prompt_entity`
    group: NDArray[Any]  # first 16 bytes of `group_entity`, empty without one
    draw: NDArray[Any]  # keyed hash of the group or prompt, 64 bits
    stratum: NDArray[Any]  # 0 where the row has none
    declared: NDArray[Any]

    @property
    def unit(self) -> NDArray[Any]:
        """What is held out as a whole."""
        import numpy as np

        return np.where(self.group != b"", self.group, self.prompt)


class Membership(NamedTuple):
    """Which of the kept rows are held out, which of them the ledger moved there, and what deviated from the rule."""

    held: NDArray[Any]
    moved: NDArray[Any]
    deviations: tuple[str, ...]


def prompt_entity(row: Row) -> str:
    """Digest of the row's normalised prompt; of its answer where it has none, as a document."""
    text = prompt_text(row.prompt)
    return digest_of(["prompt", text] if text else ["answer", normalised(row.answer)])


def group_entity(row: Row, group_by: str | None) -> str | None:
    """Digest of the value that keeps rows together; None without grouping or where the row lacks it."""
    value = row.metadata.get(group_by, "") if group_by else ""
    return digest_of(["group", group_by, value]) if value else None


def entities(row: Row, group_by: str | None) -> tuple[str, ...]:
    """Everything that enters the ledger when the row is held out."""
    group = group_entity(row, group_by)
    return (prompt_entity(row), group) if group else (prompt_entity(row),)


def compact(entity_digests: Iterable[str]) -> NDArray[Any]:
    """Entities as the arrays hold them, sorted."""
    import numpy as np

    return np.sort(np.array([bytes.fromhex(e[:32]) for e in entity_digests], dtype="S16"))


def split_keys(rows: Iterable[tuple[int, Row]], config: SplitConfig) -> SplitKeys:
    """Keys of the kept ones among the rows of a shard, which come with the offset of their line."""
    import numpy as np

    found: list[tuple[Any, ...]] = []
    for place, (offset, row) in enumerate(rows):
        if row.outcome != "kept":
            continue
        prompt, group = prompt_entity(row), group_entity(row, config.group_by)
        draw, stratum = keyed_hash(config.key, group or prompt), stratum_of(row, config.stratify_by)
        declared = _DECLARED[row.split or row.declared_split]
        found.append((row.row_id.encode(), place, offset, bytes.fromhex(prompt[:32]),
                      bytes.fromhex((group or "")[:32]), draw, stratum, declared))  # fmt: skip
    columns = list(zip(*found, strict=True)) or [()] * len(SplitKeys._fields)
    kinds = ("S", "i4", "i8", "S16", "S16", "u8", "u8", "u1")
    return SplitKeys(*(np.array(c, dtype=kind) for c, kind in zip(columns, kinds, strict=True)))


def joined_keys(parts: Sequence[SplitKeys]) -> SplitKeys:
    """The keys of several shards, one after the other."""
    import numpy as np

    return SplitKeys(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def keyed_hash(key: str, unit: str) -> int:
    """64 bits that depend on nothing but key and unit, uniform over units."""
    return int.from_bytes(sha256(f"{key}\0{unit}".encode()).digest()[:8], "big")


def stratum_of(row: Row, stratify_by: str | None) -> int:
    """Hash of the value that is held out in equal shares; 0 without stratification or where the row lacks it."""
    if stratify_by is None:
        return 0
    value = _stratum_value(row, stratify_by)
    return int(digest_of(["stratum", value])[:16], 16) | 1 if value else 0


def _stratum_value(row: Row, stratify_by: str) -> str:
    if stratify_by == _ANSWER:
        return answer_key(row.answer)
    if not stratify_by.startswith(f"{_ANSWER}."):
        return row.metadata.get(stratify_by, "")
    try:
        fields = json.loads(row.answer)
    except (ValueError, RecursionError):
        return ""
    value = fields.get(stratify_by.removeprefix(f"{_ANSWER}.")) if isinstance(fields, dict) else None
    return "" if value is None else normalised(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def assign(keys: SplitKeys, config: SplitConfig, ledger: NDArray[Any]) -> Membership:
    """Membership of every kept row; `ledger` holds the entities of earlier versions, see `compact`.

    A declared test source wins, then the ledger, then the keyed hash of the group or prompt, within its stratum where
    there are strata. Where any source is declared test, undeclared rows are trained on unless the ledger knows them. A
    group goes as a whole.
    """
    import numpy as np

    given = bool((keys.declared == _TEST).any())
    undeclared = np.zeros(len(keys.declared), dtype=bool) if given else _drawn(keys, config)
    plain = (keys.declared == _TEST) | ((keys.declared == 0) & undeclared)
    grouped = _is_in(keys.group, np.unique(keys.group[keys.declared == _TEST]))
    known = _known(keys, plain, grouped, ledger)
    held = plain | grouped | known
    reasons = {
        "were held out by an earlier version": int((known & ~plain & ~grouped).sum()),
        "share a group with a test row": int((grouped & ~plain).sum()),
    }
    texts = [f"{n} rows are held out instead of trained on, since they {why}" for why, n in reasons.items() if n]
    if given and config.stratify_by:
        texts.append("split.stratify_by has no effect: the sources say which rows are held out")
    return Membership(held, np.flatnonzero(held & ~(plain | grouped)), tuple(texts))


def _known(keys: SplitKeys, plain: NDArray[Any], grouped: NDArray[Any], ledger: NDArray[Any]) -> NDArray[Any]:
    """Rows whose unit the ledger moves into the test split: groups it knows, and prompts it knows.

    A row whose prompt is in the ledger because an equal prompt is held out right now stays where it was: the leak check
    merges it, on this run as on the one that filled the ledger. So a second run with the same rows changes nothing.
    """
    import numpy as np

    by_group = _is_in(keys.group, ledger)
    held_now = np.unique(keys.prompt[plain | by_group | grouped])
    by_prompt = _is_in(keys.prompt, ledger) & ~_is_in(keys.prompt, held_now)
    made: NDArray[Any] = by_group | _is_in(keys.unit, np.unique(keys.unit[by_prompt]))
    return made


def _is_in(values: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    """Which values are among the sorted known ones; the empty one never is."""
    import numpy as np

    if not len(known):
        return np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(known, values), len(known) - 1)
    made: NDArray[Any] = (known[at] == values) & (values != b"")
    return made


def _drawn(keys: SplitKeys, config: SplitConfig) -> NDArray[Any]:
    """What the keyed hash holds out."""
    import numpy as np

    if config.stratify_by is None:
        return keys.draw < np.uint64(int(config.test_share * 2**64))
    _, first, unit = np.unique(keys.unit, return_index=True, return_inverse=True)
    sizes = np.bincount(unit)
    order = np.lexsort((keys.unit[first], keys.draw[first], keys.stratum[first]))
    chosen = np.zeros(len(first), dtype=bool)
    strata = keys.stratum[first][order]
    cuts = np.flatnonzero(strata[1:] != strata[:-1]) + 1
    for units in np.split(order, cuts):
        chosen[units[: _quota(sizes[units], config.test_share)]] = True
    held: NDArray[Any] = chosen[unit]
    return held


def _quota(sizes: NDArray[Any], share: float) -> int:
    """How many units of a stratum, in the order of their draw, are held out: about the share of its rows.

    At least one and never all, where there are two.
    """
    import numpy as np

    if len(sizes) < 2:
        return 0
    wanted = round(share * int(sizes.sum()))
    return min(int(np.searchsorted(np.cumsum(sizes), wanted)) + 1, len(sizes) - 1)


def check_names(keys: SplitKeys, names: Iterable[str], config: SplitConfig) -> None:
    """Refuse a grouping or stratification that no row knows; `names` are the keys of the rows' metadata.

    Raises:
        UsageError: naming what there is.
    """
    missing = {
        "group_by": bool(config.group_by) and not (keys.group != b"").any(),
        "stratify_by": bool(config.stratify_by) and not keys.stratum.any(),
    }
    for field in (name for name, is_missing in missing.items() if is_missing and len(keys.draw)):
        value = getattr(config, field)
        raise UsageError(
            f"no row has the {'field' if value.startswith(_ANSWER) else 'metadata'} '{value}'",
            where=f"split.{field}",
            why=f"the rows have {', '.join(sorted(names)) or 'no metadata'}",
            remedy="name one of these, or map a column to it with data.sources[].columns",
        )


def refuse_empty(train: int, test: int) -> None:
    """Refuse a version without rows on one side.

    Raises:
        DataRefused: nothing to train on, or nothing to prove the result with.
    """
    if train and test:
        return
    raise DataRefused(
        "no row is left to train on" if not train else "no row is held out",
        where=f"{train} training, {test} held-out rows",
        why="all rows are held out or resemble held-out rows"
        if not train
        else "the data is too small for split.test_share",
        remedy="add rows" if not train else "add rows, raise split.test_share, or give a source with split: test",
    )
