from __future__ import annotations

import json
import multiprocessing
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters import audit, ledger, state, tables
from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, Message, Row, ToolCall, ValidatedRows
from tasks.digest import digest_file, digest_of
from tasks.errors import DataRefused
from tasks.version import catalog
from tasks.version.config import SplitConfig
from tasks.version.content import identity_digest, identity_of, row_digest
from tasks.version.stage import VERSIONED, make_version
from tasks.version.verify import verify
from tests.tasks.data_rows import make_row, stored, validated

WORDS = ("harbour", "meadow", "copper", "thistle", "velvet", "granite", "willow", "ember", "saffron", "orchard")
QUESTION = "please tell me why the green lamp of my charger blinks twice before it goes out again"


def versioned(rows: list[Row], policy: str = "p", tokenizer: str = "t", **split: object) -> DatasetVersion:
    store = Store.open()
    return make_version(validated(rows, store), "proj", SplitConfig.model_validate(split), policy, tokenizer, store)


def in_shards(rows: list[Row], shards: int, **split: object) -> DatasetVersion:
    store = Store.open()
    given = ValidatedRows(rows=stored(rows, store, shards=shards), rules=1, report_uri="store://given/none")
    return make_version(given, "proj", SplitConfig.model_validate(split), "p", "t", store)


def _rows(path: Path) -> list[Row]:
    return list(iter_rows(path))


def distinct(count: int, first: int = 0) -> list[Row]:
    return [make_row(first + i, digest_of(first + i)) for i in range(count)]


def test_first_version_and_its_files(home: Path) -> None:
    made = versioned(distinct(50))
    assert (made.address, made.new) == ("ds://proj/main@1.0.0", True)
    folder = Store.open().path(made.uri)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {
        "train.jsonl", "test.jsonl", "rows.jsonl", "profile.json", "card.md", "card.png",
    }  # fmt: skip
    assert all(digest_file(folder / n) == d for n, d in manifest["files"].items())
    train, test = _rows(folder / "train.jsonl"), _rows(folder / "test.jsonl")
    assert (len(train), len(test)) == (made.train_rows, made.test_rows)
    assert {r.split for r in train} == {"train"}
    assert {r.split for r in test} == {"test"}
    assert len(_rows(folder / "rows.jsonl")) == 50
    assert ledger.held_out("proj", [e for r in test for e in _entities(r)]) == {e for r in test for e in _entities(r)}
    assert made.tokenizer_digest == "t"


def _entities(row: Row) -> tuple[str, ...]:
    from tasks.version.split import entities

    return entities(row, None)


def test_an_identical_run_finds_its_version(home: Path) -> None:
    first, second = versioned(distinct(50)), versioned(distinct(50))
    assert not second.new
    assert second == first.model_copy(update={"new": False})
    assert len(list((home / "store" / "stages" / "version").iterdir())) == 1


def test_numbers_say_what_changed(home: Path) -> None:
    rows = distinct(50)
    assert versioned(rows).version == "1.0.0"
    assert versioned(distinct(51)).version == "1.1.0"
    assert versioned(rows).version == "1.0.0"
    assert versioned(distinct(51), policy="other").version == "2.0.0"
    assert versioned(distinct(51), policy="other", key="k").version == "3.0.0"
    renamed = [r.model_copy(update={"metadata": {"agent": "x"}}) for r in distinct(51)]
    assert versioned(renamed, policy="other", key="k").version == "3.0.1"
    assert versioned(rows, name="second").address == "ds://proj/second@1.0.0"


def test_identity_does_not_depend_on_order_or_paths(home: Path) -> None:
    first = versioned(distinct(50))
    moved = [
        r.model_copy(update={"origin": r.origin.model_copy(update={"source_uri": "y"})}) for r in distinct(50)[::-1]
    ]
    assert versioned(moved).digest == first.digest


def test_what_was_held_out_once_is_never_trained_on(home: Path) -> None:
    rows = distinct(60)
    first = versioned(rows, test_share=0.5)
    held = {r.row_id for r in _rows(Store.open().path(first.uri) / "test.jsonl")}
    second = versioned(rows, test_share=0.1)
    train = {r.row_id for r in _rows(Store.open().path(second.uri) / "train.jsonl")}
    assert not held & train
    assert "held out by an earlier version" in second.warnings[0]
    again = versioned(rows, test_share=0.1)
    assert (again.version, again.new) == (second.version, False)


def test_leaks_are_merged_and_counted(home: Path) -> None:
    rows = [
        *distinct(20),
        make_row(90, "where is my bike please", declared_split="test"),
        make_row(91, "Where is my bike please!", "n"),
    ]
    made = versioned(rows)
    assert made.reasons == {"leak": 1}
    assert made.counts.model_dump() == {"rows_in": 22, "kept": 21, "merged": 1, "quarantined": 0, "redacted": 0}
    assert not versioned(rows).new


def test_each_leak_setting_has_an_effect(home: Path) -> None:
    changed = QUESTION.replace("green", "small").replace("twice", "often")
    short, other = "where is my yellow bike", "where is my yellow boat"
    rows = [
        *distinct(20),
        make_row(90, QUESTION, declared_split="test"),
        make_row(91, changed),
        make_row(92, short, declared_split="test"),
        make_row(93, other),
        *(make_row(100 + i, f"where is my yellow {w}", declared_split="test") for i, w in enumerate(WORDS)),
    ]

    def leaked(**split: object) -> set[int]:
        made = versioned(rows, **split)
        return {r.origin.record_index for r in _rows(_file(made, "rows.jsonl")) if r.reason.startswith("leak:")}

    assert leaked() == {91}  # held-out rows differ by that word too
    assert leaked(leak_chance=1) == {91, 93}
    assert leaked(leak_threshold=0.95) == set()


def talk(index: int, *turns: str, **changes: Any) -> Row:
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[i % 2], content=turn) for i, turn in enumerate(turns))  # type: ignore[arg-type]
    return make_row(index, "", messages=messages, **changes)


def test_a_conversation_that_goes_on_from_a_held_out_one_is_a_leak(home: Path) -> None:
    short = "where is my yellow bike"
    rows = [
        *distinct(20),
        make_row(90, QUESTION, "a", declared_split="test"),
        make_row(91, short, "In the yard.", declared_split="test"),
        talk(92, "good day", "to you", "have you one more of them", "We do.", declared_split="test"),
        talk(93, QUESTION.replace("green", "red"), "b", "and what is to be done", "Wait."),
        talk(94, short, "In the yard.", "and whose is the other", "Yours."),
        talk(95, short, "Nobody knows.", "may I look for it then", "Do."),
        talk(96, "Good day!", "to you", "have you one more of them", "We do.", "fine I will take it", "Thanks."),
        talk(97, "good day", "to you", "what do they cost now", "Ten."),
    ]
    made = in_shards(rows, 3)
    leaks = {r.origin.record_index: r for r in _rows(_file(made, "rows.jsonl")) if r.reason.startswith("leak:")}
    assert {n: int(row.yields_to[-6:]) for n, row in leaks.items()} == {93: 90, 94: 91, 96: 92}
    assert leaks[94].reason == "leak: the beginning of its conversation says the same as that of a held-out row"


def test_conversations_that_begin_alike_are_no_leaks(home: Path) -> None:
    """Few greetings and questions begin many conversations; what follows is not the same."""
    chance = random.Random(5)
    greetings = [f"{hello} {what}" for hello in ("hello", "good day", "hi there")
                 for what in ("i have a question", "can you help me", "are you there")]  # fmt: skip
    replies = ["Of course, what is it?", "Yes, how can I help?", "I am here. Tell me."]
    held = [make_row(i, f"{chance.choice(greetings)}: {digest_of(i)[:9]}", declared_split="test") for i in range(60)]
    held += [
        make_row(100 + i, greeting, "We are closed.", declared_split="test") for i, greeting in enumerate(greetings)
    ]
    told = [talk(1000 + i, chance.choice(greetings), chance.choice(replies), digest_of([1, i]), "Done.")
            for i in range(400)]  # fmt: skip
    made = versioned([*held, *told])
    assert made.reasons.get("leak", 0) <= 0.005 * len(told)


def _file(made: DatasetVersion, name: str) -> Path:
    return Store.open().path(made.uri) / name


def test_a_leak_names_its_winner_and_says_no_word_of_it(home: Path) -> None:
    rows = [*distinct(20), make_row(90, QUESTION, declared_split="test"), make_row(91, QUESTION.upper() + "!")]
    leak = next(r for r in _rows(_file(versioned(rows), "rows.jsonl")) if r.outcome == "merged")
    assert (leak.yields_to, leak.split) == (rows[-2].row_id, None)
    assert leak.reason == "leak: its prompt says the same as that of a held-out row"


def test_held_out_rows_keep_their_copies_out_of_later_versions(home: Path) -> None:
    held = [make_row(500, QUESTION, declared_split="test"), *distinct(20)]
    versioned(held)
    copy = make_row(501, QUESTION.replace("green", "red"))
    later = versioned([make_row(500, QUESTION), copy, *distinct(60, first=1000)])
    assert QUESTION in _file(later, "test.jsonl").read_text()
    assert later.reasons == {"leak": 1}


def test_contaminated_rows_are_set_aside_and_reported(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.txt"
    file.write_text("Which planet of the solar system has the largest number of known moons today?\n")
    row = make_row(
        70, "Quiz: which planet of the solar system has the largest number of known moons, please?", "Saturn"
    )
    benchmark = {"name": "astro", "path": str(file)}
    made = versioned([*distinct(30), row], benchmarks=[benchmark], test_share=0.05)
    assert made.reasons == {"contaminated": 1}
    assert made.warnings == ("1 rows hold questions of the benchmark astro and are not trained on",)
    found = next(r for r in _rows(_file(made, "rows.jsonl")) if r.outcome == "quarantined")
    assert (found.row_id, bool(found.repair)) == (row.row_id, True)
    assert versioned([*distinct(30), row], benchmarks=[benchmark], benchmark_overlap=1, test_share=0.05).reasons == {}
    file.write_text("Something else that is asked in another benchmark of the same name\n")
    assert versioned([*distinct(30), row], benchmarks=[benchmark], test_share=0.05).reasons == {}


def test_permuted_answers_are_another_dataset(home: Path) -> None:
    rows = [make_row(i, digest_of(i), str(i)) for i in range(50)]
    plain, permuted = versioned(rows), versioned(rows, permute_answers_seed=1)
    assert plain.digest != permuted.digest
    assert _file(plain, "test.jsonl").read_text() == _file(permuted, "test.jsonl").read_text()
    before, after = (_rows(_file(v, "train.jsonl")) for v in (plain, permuted))
    assert sorted(r.answer for r in before) == sorted(r.answer for r in after)
    assert [r.prompt for r in before] == [r.prompt for r in after]
    assert sum(a.answer == b.answer for a, b in zip(before, after, strict=True)) < 10
    assert {r.steps for r in after} == {("answers_permuted_1",)}
    assert in_shards(rows, 4, permute_answers_seed=1).digest == permuted.digest
    assert versioned(rows, permute_answers_seed=2).digest != permuted.digest


def test_empty_splits_are_refused_and_leave_no_version(home: Path) -> None:
    with pytest.raises(DataRefused, match="no row is held out"):
        versioned([make_row(0, "a")], test_share=0.0001)
    assert catalog.list_versions("proj") == []


def test_killed_between_store_and_database(home: Path) -> None:
    made = versioned(distinct(50))
    with ledger.engine().begin() as connection:
        connection.execute(ledger.dataset_versions.delete())
        connection.execute(ledger.holdout.delete())
    again = versioned(distinct(50))
    assert again == made
    assert len(catalog.list_versions("proj")) == 1


def _child(queue: multiprocessing.Queue[tuple[str, bool]]) -> None:
    made = versioned(distinct(50))
    queue.put((made.address, made.new))


def test_two_versioners_at_once_make_one_version(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[tuple[str, bool]] = context.Queue()
    children = [context.Process(target=_child, args=(queue,)) for _ in range(2)]
    for child in children:
        child.start()
    results = [queue.get(timeout=120) for _ in children]
    for child in children:
        child.join()
    assert sorted(results) == [("ds://proj/main@1.0.0", False), ("ds://proj/main@1.0.0", True)]


def test_the_profile_and_the_card_hold_no_text_of_rows(home: Path) -> None:
    rows = [make_row(i, f"secretword{i} common", "label") for i in range(40)]
    folder = Store.open().path(versioned(rows, leak_threshold=1.0).uri)
    profile = json.loads((folder / "profile.json").read_text())
    assert profile["answers"] == {"": {"label": profile["rows"]}}
    assert "secretword" not in (folder / "card.md").read_text() + json.dumps(profile)
    assert "common" not in json.dumps(profile)


def test_next_number() -> None:
    assert ledger.next_number(None, "d", "p") == (1, 0, 0)


MIXED = [
    *distinct(150),
    *(make_row(200 + i, QUESTION.replace("green", word)) for i, word in enumerate(WORDS)),
    make_row(300, "a b c", outcome="quarantined", reason="too_short: three words"),
]


def test_the_digest_does_not_depend_on_shards_order_or_workers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_number = sorted(MIXED, key=lambda r: digest_of(r.row_id))
    monkeypatch.setenv("TUNELOOP_WORKERS", "1")
    one = in_shards(MIXED, 1)
    others = [in_shards(MIXED, 5), in_shards(by_number, 3)]
    monkeypatch.setenv("TUNELOOP_WORKERS", "2")
    others.append(in_shards(MIXED[::-1], 4))
    assert {made.digest for made in others} == {one.digest}
    assert one.reasons["too_short"] == 1
    assert 0 < one.reasons["leak"] < len(WORDS)
    assert in_shards(MIXED, 5) == others[0].model_copy(update={"new": False})


def test_two_workers_write_the_same_bytes_as_one(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for workers in ("1", "2"):
        monkeypatch.setenv("TUNELOOP_HOME", str(tmp_path / workers))
        monkeypatch.setenv("TUNELOOP_WORKERS", workers)
        made.append(in_shards(MIXED, 3))
    assert made[0] == made[1]


def test_identity_counts_what_can_be_learned() -> None:
    row = make_row(0, "q", "a", split="train")
    plain = digest_of(["train", [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]])
    assert identity_digest(row).hex() == plain
    assert identity_of([identity_digest(row)]) == digest_of([1, [plain]])
    assert row_digest(row) == row_digest(row.model_copy(update={"split": "test", "metadata": {"agent": "x"}}))
    others = [row.model_copy(update=u) for u in ({"rejected": "b"}, {"tools": "b"}, {"rejected": "b", "tools": "c"})]
    assert len({row_digest(r) for r in (row, *others)}) == 4
    assert len({identity_digest(r) for r in (row, *others, row.model_copy(update={"split": "test"}))}) == 5


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=40))
def test_identity_is_the_digest_of_the_sorted_digests(digests: list[bytes]) -> None:
    assert identity_of(digests) == digest_of([1, sorted(d.hex() for d in digests)])
    assert identity_of([b"".join(digests[::-1])]) == identity_of(digests)


def test_a_flipped_byte_anywhere_is_found(home: Path) -> None:
    made = in_shards(MIXED, 2)
    folder = Store.open().path(made.uri)
    assert verify(made.address, Store.open()) == []
    chance = random.Random(4)
    names = sorted(p.name for p in folder.iterdir())
    assert {"manifest.json", "_COMPLETE.json", "rows.jsonl", "card.png"} <= set(names)
    for name in names:
        content = (folder / name).read_bytes()
        for at in (0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(5))):
            changed = bytearray(content)
            changed[at] ^= 1 << chance.randrange(8)
            (folder / name).write_bytes(changed)
            assert name in {fault.file for fault in verify(made.address, Store.open())}, (name, at)
        (folder / name).write_bytes(content)
    assert verify(made.address, Store.open()) == []


def test_nothing_but_the_version_is_left_behind(home: Path) -> None:
    made = in_shards(MIXED, 3)
    assert not [p for p in Store.open().path(made.uri).iterdir() if p.is_dir()]
    assert not list((home / "work" / "version").iterdir())


def test_calls_of_tools_belong_to_the_content() -> None:
    row = make_row(0, "q", "a")
    call = Message(role="assistant", content="a", tool_calls=(ToolCall(name="find", arguments="{}"),))
    assert row_digest(row.model_copy(update={"messages": (row.messages[0], call)})) != row_digest(row)


def test_a_version_has_one_entry_in_the_audit_log_also_after_a_kill(home: Path) -> None:
    made = versioned(distinct(50))
    versioned(distinct(50))
    assert [(e.action, e.object) for e in audit.entries()] == [(VERSIONED, made.address)]
    with state.engine().begin() as connection:  # as if it had been killed between the version and its entry
        connection.execute(sa.delete(tables.audit_log))
    (home / "audit.head").unlink()
    assert not versioned(distinct(50)).new
    assert [(e.action, e.object) for e in audit.entries()] == [(VERSIONED, made.address)]
