from __future__ import annotations

from pathlib import Path

from tasks.adapters.row_files import (
    ShardWriter,
    count_reasons,
    count_rows,
    finish_output,
    iter_rows,
    merged,
    open_output,
    quarantined,
    row_line,
    write_shard,
)
from tasks.contracts import Row
from tests.tasks.data_rows import PRIVACY, make_row, open_store, rows_of, stored


def mixed() -> list[Row]:
    rows = [make_row(i, f"question {i}") for i in range(5)]
    rows[1] = merged(rows[1], rows[0].row_id, "exact_duplicate", "the same")
    rows[2] = quarantined(rows[2], "too_long", "too many words", "shorten it")
    rows[3] = rows[3].model_copy(update={"redactions": {"EMAIL_ADDRESS": 1}})
    return rows


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = mixed()
    shard = write_shard(tmp_path, "store://x/y", "rows/0.jsonl", rows)
    assert list(iter_rows(tmp_path / "rows" / "0.jsonl")) == rows
    assert shard.counts == count_rows(rows)
    assert shard.reasons == count_reasons(rows) == {"exact_duplicate": 1, "too_long": 1}


def test_defaults_are_not_written() -> None:
    line = row_line(make_row(0, "a"))
    assert b"tool_calls" not in line
    assert b"quarantined" not in line


def test_the_digest_does_not_depend_on_the_path_and_on_nothing_less(tmp_path: Path) -> None:
    def digest(name: str, rows: list[Row]) -> str:
        return write_shard(tmp_path, "store://x/y", name, rows).digest

    rows = mixed()
    origin = rows[0].origin.model_copy(update={"source_uri": 'elsewhere/"quoted" ü.jsonl'})
    moved = [r.model_copy(update={"origin": origin.model_copy(update={"record_index": i})}) for i, r in enumerate(rows)]
    assert digest("a", rows) == digest("b", moved)
    assert digest("a", rows) != digest("c", rows[:-1])
    assert digest("a", rows) != digest("d", [rows[1], rows[0], *rows[2:]])
    assert digest("a", rows) != digest("e", [rows[0].model_copy(update={"outcome": "merged"}), *rows[1:]])


def test_rules_of_a_source_of_its_own_are_part_of_the_digest(tmp_path: Path) -> None:
    store, rows = open_store(tmp_path), mixed()
    other = PRIVACY.model_copy(update={"entities": ()})
    plain, same = stored(rows, store, shards=2), stored(rows, store, shards=2, own={0: PRIVACY})
    first, second = stored(rows, store, shards=2, own={0: other}), stored(rows, store, shards=2, own={1: other})
    assert plain.digest == same.digest
    assert len({plain.digest, first.digest, second.digest}) == 3


def test_an_output_lists_its_shards_in_order(tmp_path: Path) -> None:
    store, rows = open_store(tmp_path), mixed()
    whole, parts = stored(rows, store), stored(rows, store, shards=3)
    assert rows_of(parts, store) == rows_of(whole, store) == rows
    assert parts.counts == whole.counts
    assert parts.reasons == whole.reasons
    assert [s.rows for s in open_output(store, parts.uri).shards] == [2, 2, 1]


def test_a_shard_may_lie_in_another_output(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = stored(mixed(), store)
    shards = open_output(store, first.uri).shards
    second = store.produce(
        "copy", "k", type(first), lambda folder: finish_output(folder, store.uri("copy", "k"), shards, PRIVACY)
    )
    assert second.digest == first.digest
    assert rows_of(second, store) == rows_of(first, store)


def test_counts_are_there_before_the_writer_closes(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "store://x/y", "a") as writer:
        writer.write(make_row(0, "a"))
        assert writer.shard().rows == 1
