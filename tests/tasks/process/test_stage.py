from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.adapters.row_files import open_output
from tasks.adapters.store import Store
from tasks.contracts import Message, Row, Rows, ToolCall
from tasks.errors import DataRefused
from tasks.process.config import ProcessConfig
from tasks.process.features import index_bytes
from tasks.process.stage import CONFLICTS, duplicate_report, duplicate_warnings, process_rows
from tests.tasks.data_rows import PRIVACY, make_row, open_store, rows_of, stored

LONG = "the bike makes a strange noise whenever I turn left at the lights near the station"
REPLY = "please bring the bike to the workshop this week and ask for Nina, she looks after brakes"
CONFIG = ProcessConfig()


def processed(folder: Path, rows: list[Row], config: ProcessConfig = CONFIG, shards: int = 1) -> tuple[Rows, Store]:
    store = open_store(folder)
    return process_rows(stored(rows, store, shards=shards), config, store), store


def outcomes(folder: Path, rows: list[Row], config: ProcessConfig = CONFIG, shards: int = 1) -> list[str]:
    """Outcome of every row: kept, or the code of its reason."""
    made, store = processed(folder, rows, config, shards)
    return [row.reason.split(":")[0] or row.outcome for row in rows_of(made, store)]


def with_system(row: Row, text: str) -> Row:
    return row.model_copy(update={"messages": (Message(role="system", content=text), *row.messages)})


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows = [make_row(0, "a b c"), make_row(1, "a b c"), make_row(2, "d"), make_row(3, "d", "no"), make_row(4, "e")]
    made, store = processed(tmp_path, rows)
    assert made.counts.model_dump() == {"rows_in": 5, "kept": 2, "merged": 1, "quarantined": 2, "redacted": 0}
    assert made.reasons == {"contradicting_answers": 2, "exact_duplicate": 1}
    assert [r.row_id for r in rows_of(made, store)] == [r.row_id for r in rows]
    assert open_output(store, made.uri).privacy == PRIVACY


def test_nothing_but_the_output_is_left(tmp_path: Path) -> None:
    made, store = processed(tmp_path, [make_row(0, LONG)])
    names = {p.name for p in store.path(made.uri).iterdir()}
    assert names == {"_COMPLETE.json", "output.json", "rows", CONFLICTS, "duplicates.json"}


def test_no_rows(tmp_path: Path) -> None:
    assert processed(tmp_path, [])[0].counts.rows_in == 0


def test_configuration_is_part_of_the_key(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    given = stored([make_row(0, "ﬁn")], store)
    uris = {process_rows(given, c, store).uri for c in (CONFIG, ProcessConfig(unicode_form="NFKC"))}
    assert len(uris) == 2
    assert process_rows(given, CONFIG, store).uri in uris


def test_what_normalising_brings_to_light_is_replaced(tmp_path: Path) -> None:
    made, store = processed(tmp_path, [make_row(0, "a@b\x00.com")])
    row = rows_of(made, store)[0]
    assert row.messages[0].content == "<EMAIL_ADDRESS>"
    assert row.redactions == {"EMAIL_ADDRESS": 1}
    assert row.steps[-1] == "redact_after_normalising"


def test_personal_data_that_is_left_is_refused_for_all_shards_together(tmp_path: Path) -> None:
    rows = [make_row(0, "write to ann@shop.com"), make_row(1, "x"), make_row(2, "to bob@shop.com")]
    with pytest.raises(DataRefused) as refused:
        processed(tmp_path, rows, shards=3)
    assert rows[0].row_id in str(refused.value)
    assert rows[2].row_id in str(refused.value)
    assert "shop.com" not in str(refused.value)


# --- contradictions and exact duplicates ----------------------------------------------------------------------


def test_all_contradicting_rows_are_quarantined(tmp_path: Path) -> None:
    rows = [make_row(0, "A b?", "x"), make_row(1, "a  B?", "y"), make_row(2, "c", "x")]
    assert outcomes(tmp_path, rows, shards=3) == ["contradicting_answers", "contradicting_answers", "kept"]


@pytest.mark.parametrize("first", [None, "train"])
def test_what_is_declared_for_training_contradicts_what_is_not_declared(tmp_path: Path, first: str | None) -> None:
    second = "train" if first is None else None
    rows = [make_row(0, "a", "x", declared_split=first), make_row(1, "a", "y", declared_split=second)]
    assert outcomes(tmp_path, rows) == ["contradicting_answers"] * 2


def test_contradictions_are_judged_apart_for_rows_that_are_held_out(tmp_path: Path) -> None:
    assert outcomes(tmp_path, [make_row(0, "a", "x"), make_row(1, "a", "y", declared_split="test")]) == ["kept"] * 2


def test_documents_without_a_question_do_not_contradict_each_other(tmp_path: Path) -> None:
    rows = [make_row(n, "", text) for n, text in enumerate((REPLY, LONG))]
    documents = [row.model_copy(update={"messages": row.messages[1:]}) for row in rows]
    assert outcomes(tmp_path, documents) == ["kept", "kept"]


def test_preferences_contradict_where_they_are_opposite(tmp_path: Path) -> None:
    opposite = [make_row(0, "q", "x", rejected="y"), make_row(1, "q", "y", rejected="x")]
    assert outcomes(tmp_path / "a", opposite) == ["contradicting_answers"] * 2
    assert outcomes(tmp_path / "b", [opposite[0], make_row(1, "q", "z", rejected="w")]) == ["kept", "kept"]


def test_exact_duplicates_yield_to_the_first(tmp_path: Path) -> None:
    made, store = processed(tmp_path, [make_row(0, "a b"), make_row(1, "A  b"), make_row(2, "c")], shards=2)
    rows = rows_of(made, store)
    assert [r.outcome for r in rows] == ["kept", "merged", "kept"]
    assert rows[1].yields_to == rows[0].row_id


def test_a_held_out_row_is_preferred_and_the_copy_is_a_leak(tmp_path: Path) -> None:
    made, store = processed(tmp_path, [make_row(0, "a"), make_row(1, "a", declared_split="test")])
    rows = rows_of(made, store)
    assert [r.reason.split(":")[0] for r in rows] == ["leak", ""]
    assert rows[0].yields_to == rows[1].row_id


@pytest.mark.parametrize("end", ["", "!"])
@pytest.mark.parametrize("declared", [0, 1, 2])
def test_a_row_that_is_declared_for_training_is_preferred(tmp_path: Path, end: str, declared: int) -> None:
    splits = {declared: "train"}
    rows = [make_row(n, LONG + end * n, declared_split=splits.get(n)) for n in range(3)]
    made, store = processed(tmp_path, rows, shards=3)
    found = rows_of(made, store)
    assert [n for n, row in enumerate(found) if row.outcome == "kept"] == [declared]
    assert {row.yields_to for row in found if row.outcome == "merged"} == {rows[declared].row_id}
    assert found[declared].declared_split == "train"


def test_conflicts_are_listed_across_undeclared_and_training_rows(tmp_path: Path) -> None:
    rows = [make_row(0, LONG), make_row(1, LONG + "?", "no", declared_split="train")]
    made, store = processed(tmp_path, rows)
    line = json.loads((store.path(made.uri) / CONFLICTS).read_text())
    assert (line["row"], line["other"]) == (rows[0].row_id, rows[1].row_id)


def test_calls_of_tools_are_part_of_a_row(tmp_path: Path) -> None:
    def calling(index: int, arguments: str) -> Row:
        row = make_row(index, "q", "")
        turn = row.messages[1].model_copy(update={"tool_calls": (ToolCall(name="f", arguments=arguments),)})
        return row.model_copy(update={"messages": (row.messages[0], turn)})

    assert outcomes(tmp_path / "a", [calling(0, "{}"), calling(1, "{}")]) == ["kept", "exact_duplicate"]
    assert outcomes(tmp_path / "b", [calling(0, "1"), calling(1, "2")]) == ["contradicting_answers"] * 2


# --- near duplicates and conflicts ----------------------------------------------------------------------------


def test_near_duplicates_need_the_same_answer_and_conflicts_are_reported(tmp_path: Path) -> None:
    rows = [make_row(0, LONG), make_row(1, LONG + "!"), make_row(2, LONG + "?", "no")]
    made, store = processed(tmp_path, rows, shards=3)
    read = rows_of(made, store)
    assert [r.outcome for r in read] == ["kept", "merged", "kept"]
    assert read[1].yields_to == rows[0].row_id
    line = json.loads((store.path(made.uri) / CONFLICTS).read_text())
    assert line == {"row": rows[0].row_id, "other": rows[2].row_id, "similarity": 0.9872}
    report = duplicate_report(made, store)
    assert report.conflicts == 1
    assert "1 pairs of rows" in duplicate_warnings(report)[0]


def test_long_answers_may_differ_a_little(tmp_path: Path) -> None:
    rows = [make_row(0, LONG, REPLY), make_row(1, LONG + "!", REPLY + "!"), make_row(2, LONG + "?", LONG)]
    assert outcomes(tmp_path, rows) == ["kept", "near_duplicate", "kept"]


def test_documents_are_compared_as_a_whole(tmp_path: Path) -> None:
    rows = [make_row(n, "", text) for n, text in enumerate((REPLY, REPLY + "!", LONG))]
    documents = [row.model_copy(update={"messages": row.messages[1:]}) for row in rows]
    assert outcomes(tmp_path, documents) == ["kept", "near_duplicate", "kept"]


def test_threshold_size_and_unit_have_an_effect(tmp_path: Path) -> None:
    rows = [make_row(0, LONG), make_row(1, LONG.replace("left", "right"))]

    def near(**values: object) -> bool:
        config = ProcessConfig(**values)  # type: ignore[arg-type]
        return outcomes(tmp_path, rows, config)[1] == "near_duplicate"

    assert near(near_duplicate_threshold=0.7)
    assert not near(near_duplicate_threshold=0.99)
    assert near(near_duplicate_threshold=0.85, shingle_size=1)
    assert not near(near_duplicate_threshold=0.85, shingle_size=12)
    assert not near(near_duplicate_threshold=0.7, shingle_unit="words", shingle_size=3)
    assert near(near_duplicate_threshold=0.7, shingle_unit="words", shingle_size=1)


def test_permutations_are_used(tmp_path: Path) -> None:
    made, store = processed(tmp_path, [make_row(0, LONG)], ProcessConfig(minhash_permutations=64))
    report = duplicate_report(made, store)
    assert (report.bands, report.band_rows) == (12, 5)
    assert report.recall >= 0.99


def test_chains_do_not_collapse(tmp_path: Path) -> None:
    rows = [make_row(i, t) for i, t in enumerate([LONG, LONG + " today", LONG + " today again"])]
    config = ProcessConfig(near_duplicate_threshold=0.88)
    assert outcomes(tmp_path, rows, config) == ["kept", "near_duplicate", "kept"]


@pytest.mark.parametrize("change", ["system", "declared", "tools", "rejected"])
def test_only_rows_of_one_scope_are_merged(tmp_path: Path, change: str) -> None:
    row = make_row(1, LONG + "!")
    other = {
        "system": with_system(row, "Answer in one word."),
        "declared": row.model_copy(update={"declared_split": "test"}),
        "tools": row.model_copy(update={"tools": "[]"}),
        "rejected": row.model_copy(update={"rejected": "no"}),
    }[change]
    assert outcomes(tmp_path, [make_row(0, LONG), other]) == ["kept", "kept"]


def test_many_that_look_alike_stay_linear(tmp_path: Path) -> None:
    frame = LONG + " and I have ridden it for many years without any trouble at all in rain and in snow, number {}"
    made, store = processed(tmp_path, [make_row(n, frame.format(n * 7919)) for n in range(3000)], shards=3)
    report = duplicate_report(made, store)
    assert report.compared < 3000 * 4 * report.bands
    assert report.crowded == 3000
    assert "look alike" in duplicate_warnings(report)[0]
    assert made.counts.kept < 30


# --- the same result, wherever and however often ---------------------------------------------------------------


def test_any_number_of_workers_and_shards_gives_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [LONG[k % 7 :] + str(k % 40) * (k % 5) for k in range(200)]
    rows = [make_row(n, text, "yes" if n % 9 else "no") for n, text in enumerate(texts)]
    seen = set()
    for workers, shards in ((1, 1), (1, 4), (2, 4)):
        monkeypatch.setenv("TUNELOOP_WORKERS", str(workers))
        made, store = processed(tmp_path / f"{workers}{shards}", rows, shards=shards)
        conflicts = (store.path(made.uri) / CONFLICTS).read_text()
        seen.add(("".join(r.model_dump_json() for r in rows_of(made, store)), conflicts))
    assert len(seen) == 1


def test_the_index_is_as_small_as_declared() -> None:
    assert index_bytes(CONFIG) == 172
    worst = max(index_bytes(ProcessConfig(near_duplicate_threshold=t / 100)) for t in range(30, 101))
    assert worst <= 600
