"""Operations on numpy arrays that hold the values of many rows one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rank_in_run(row: NDArray[Any]) -> NDArray[Any]:
    """0, 1, 2, … within each run of equal values."""
    import numpy as np

    if not len(row):
        return np.zeros(0, dtype=np.int64)
    new = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    return np.arange(len(row)) - np.repeat(new, np.diff(np.concatenate([new, [len(row)]])))


def smallest(row: NDArray[Any], value: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The `count` smallest different values of each row, ordered by row and value."""
    import numpy as np

    order = np.lexsort((value, row))
    row, value = row[order], value[order]
    if len(row):
        new = np.concatenate([[True], (row[1:] != row[:-1]) | (value[1:] != value[:-1])])
        row, value = row[new], value[new]
    kept = rank_in_run(row) < count
    return row[kept], value[kept]


def first_rows(key: NDArray[Any], row: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sorted different keys with the lowest row of each."""
    import numpy as np

    order = np.lexsort((row, key))
    keys, first = np.unique(key[order], return_index=True)
    return keys, row[order][first]


def search(keys: NDArray[Any], asked: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positions in `asked` that are among the sorted keys, and where."""
    import numpy as np

    if not len(keys):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    found = np.flatnonzero(keys[at] == asked)
    return found, at[found]


def gather(bounds: NDArray[Any], values: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    count = bounds[rows + 1] - bounds[rows]
    at = np.repeat(bounds[rows] - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
    return np.repeat(np.arange(len(rows)), count), values[at].astype(np.int64)


def row_sums(values: NDArray[Any], bounds: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    sums = np.concatenate([np.zeros(1, dtype=values.dtype), np.cumsum(values, dtype=values.dtype)])
    made: NDArray[Any] = sums[bounds[1:]] - sums[bounds[:-1]]
    return made


def mixed(values: NDArray[Any]) -> NDArray[Any]:
    """Bits of 64-bit hashes scrambled (the finaliser of SplitMix64)."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    made: NDArray[Any] = values ^ (values >> np.uint64(31))
    return made
