"""The example's files, its manifest and its label rules agree."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from tasks.config import RunConfig
from tasks.digest import digest_file
from tests.examples.support_desk_files import (
    DEFECTS,
    EXAMPLE,
    HELD_OUT,
    MANIFEST,
    Pair,
    Place,
    all_pairs,
    good_places,
    jaccard,
    place,
    raw_records,
    shingles,
)

TEAM = {
    "delivery": "logistics",
    "billing": "finance",
    "cancel": "finance",
    "fault": "workshop",
    "theft": "claims",
    "account": "digital",
    "app": "digital",
    "question": "sales",
}
BIKES = {
    "linnet": r"\blinnets?\b|city[- ]bikes?",
    "heron": r"\bherons?\b|cargo[- ]?(?:e-)?bikes?|\bcargos?\b",
    "wren": r"\bwrens?\b|fold(?:ing|able|er|ers)\b",
}
FILES = sorted(MANIFEST["files"])
PAIRS = all_pairs()
GOOD = {p: PAIRS[p] for p in good_places()}


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [d for d in DEFECTS if d["kind"] == kind]


def named_bike(message: str) -> str:
    """The model that a message names first, by the label rule."""
    found = {bike: re.search(pattern, message.lower()) for bike, pattern in BIKES.items()}
    starts = {bike: match.start() for bike, match in found.items() if match}
    return min(starts, key=lambda bike: starts[bike]) if starts else "none"


def pair_at(where: Place) -> Pair:
    found = PAIRS[where]
    assert found is not None
    return found


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return RunConfig.model_validate(yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8")))


def test_every_data_file_is_a_source_of_the_configuration(config: RunConfig) -> None:
    assert [s.path for s in config.data.sources] == list(MANIFEST["files"])
    assert {f"data/{p.name}" for p in (EXAMPLE / "data").iterdir()} == set(MANIFEST["files"])
    assert [s.path for s in config.data.sources if s.split == "test"] == [HELD_OUT]


def test_counts_of_the_manifest_add_up() -> None:
    outcomes = Counter(d["outcome"] for d in DEFECTS)
    assert {o: MANIFEST[o] for o in ("merged", "quarantined")} == {o: outcomes[o] for o in ("merged", "quarantined")}
    assert MANIFEST["expected_rows_in"] == len(PAIRS)
    assert MANIFEST["expected_rows_in"] == MANIFEST["kept"] + MANIFEST["merged"] + MANIFEST["quarantined"]
    assert MANIFEST["kept"] == len(GOOD)


@pytest.mark.parametrize("file", FILES)
def test_every_file_has_the_records_that_the_manifest_counts(file: str) -> None:
    counts = MANIFEST["files"][file]
    assert len(raw_records(file)) == counts["records"]
    assert sum(p.file == file for p in GOOD) == counts["good"]


def test_each_defect_is_listed_once_and_exists() -> None:
    places = [place(d) for d in DEFECTS]
    assert len(set(places)) == len(places)
    assert all(p in PAIRS for p in places)
    assert all(place(d["yields_to"]) in GOOD for d in DEFECTS if d["yields_to"])


def test_planted_defects_are_as_many_as_the_readme_says() -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    by_outcome = Counter(d["outcome"] for d in DEFECTS)
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("## Planted defects")[1].splitlines()
    ]
    stated: Counter[str] = Counter()
    for cells in lines:
        if len(cells) == 3 and cells[1].isdigit():
            stated[cells[2].split(",")[0]] += int(cells[1])
    assert stated == by_outcome
    for file, counts in MANIFEST["files"].items():
        assert f"| {counts['records']} |" in next(line for line in text.splitlines() if line.startswith(f"| `{file}`"))
    assert "{expected_rows_in} records in = {kept} kept + {merged} merged".format(**MANIFEST) in text


def test_unreadable_lines_are_unreadable() -> None:
    unreadable = {p for p, found in PAIRS.items() if found is None}
    assert unreadable == {place(d) for d in of_kind("broken_json") + of_kind("invalid_utf8")}
    for defect in of_kind("broken_json"):
        raw_records(defect["file"])[defect["record"]].decode("utf-8")


def test_incomplete_records_are_incomplete() -> None:
    assert all(pair_at(place(d)) == (None, None) for d in of_kind("missing_messages") + of_kind("no_answer")[:1])
    assert all(pair_at(place(d)).answer is None for d in of_kind("missing_answer"))
    assert all(not (pair_at(place(d)).prompt or "").strip() for d in of_kind("empty"))
    assert all("\ufffd" in (pair_at(place(d)).prompt or "") for d in of_kind("encoding_damage"))
    assert all(len((pair_at(place(d)).prompt or "").split()) > 850 for d in of_kind("too_long"))


def test_duplicates_are_duplicates() -> None:
    for defect in of_kind("exact_duplicate"):
        assert pair_at(place(defect)) == pair_at(place(defect["yields_to"]))
    for defect in of_kind("near_duplicate"):
        copy, first = pair_at(place(defect)), pair_at(place(defect["yields_to"]))
        assert copy.answer == first.answer
        assert copy.prompt != first.prompt
        assert 0.85 <= jaccard(shingles(copy.prompt or ""), shingles(first.prompt or "")) < 1
    order = {file: digest_file(EXAMPLE / file) for file in MANIFEST["files"]}  # files stand in the order of digests
    for defect in of_kind("exact_duplicate") + of_kind("near_duplicate"):
        earlier, later = place(defect["yields_to"]), place(defect)
        assert (order[earlier.file], earlier.record) < (order[later.file], later.record)


def test_contradictions_contradict() -> None:
    answers: dict[str, set[tuple[str, str]]] = {}
    for found in (pair_at(place(d)) for d in of_kind("contradicting_answers")):
        label = json.loads(found.answer or "")
        answers.setdefault(found.prompt or "", set()).add((label["intent"], label["team"]))
    assert [len(labels) for labels in answers.values()] == [2, 2]


def test_leaks_copy_held_out_rows() -> None:
    shares = []
    for defect in of_kind("leak"):
        assert defect["yields_to"]["file"] == HELD_OUT
        leaked, held_out = pair_at(place(defect)), pair_at(place(defect["yields_to"]))
        shares.append(jaccard(shingles(leaked.prompt or ""), shingles(held_out.prompt or "")))
    assert max(shares) == 1
    assert 0.85 <= min(shares) < 1


def test_personal_values_are_where_the_manifest_says() -> None:
    for defect in (d for d in DEFECTS if d["personal_values"]):
        record = raw_records(defect["file"])[defect["record"]]
        text = record.decode("utf-8") if isinstance(record, bytes) else json.dumps(record, ensure_ascii=False)
        assert all(value in text for value in defect["personal_values"])
        assert sum(defect["redacted"].values()) >= len(defect["personal_values"])
    kinds = Counter(e for d in of_kind("personal_data") for e in d["redacted"])
    assert kinds == {"EMAIL_ADDRESS": 8, "PHONE_NUMBER": 6, "CREDIT_CARD": 4, "IBAN_CODE": 1}
    for decoy in MANIFEST["decoys"]:
        assert all(text in (pair_at(place(decoy)).prompt or "") for text in decoy["texts"])
        assert place(decoy) not in {place(d) for d in DEFECTS}


def test_good_answers_follow_the_label_rules() -> None:
    for found in GOOD.values():
        assert found is not None
        label = json.loads(found.answer or "")
        assert found.answer == json.dumps(label, ensure_ascii=False, separators=(",", ":"))
        assert list(label) == ["intent", "bike", "team", "reply"]
        assert label["team"] == TEAM[label["intent"]]
        assert label["bike"] == named_bike(found.prompt or "")
        assert label["reply"].startswith("We ")
        assert 8 <= len(label["reply"].split()) <= 18
        assert 8 <= len((found.prompt or "").split()) <= 45


@pytest.mark.parametrize("file", [f for f in FILES if MANIFEST["files"][f]["good"]])
def test_every_file_has_every_intent(file: str) -> None:
    assert {json.loads(f.answer or "")["intent"] for p, f in GOOD.items() if p.file == file and f} == set(TEAM)


def test_held_out_rows_are_no_copies() -> None:
    held_out = [shingles(f.prompt or "") for p, f in GOOD.items() if p.file == HELD_OUT and f]
    training = [shingles(f.prompt or "") for p, f in GOOD.items() if p.file != HELD_OUT and f]
    nearest = [max(jaccard(row, other) for other in training) for row in held_out]
    assert len(held_out) >= 100
    assert max(nearest) < 1 / 3


def test_good_training_rows_are_all_different() -> None:
    training = [shingles(f.prompt or "") for p, f in GOOD.items() if p.file != HELD_OUT and f]
    assert 300 <= len(training) <= 600
    assert max(jaccard(a, b) for i, a in enumerate(training) for b in training[:i]) < 0.5


def test_held_out_rows_cover_intents_and_bikes() -> None:
    labels = [json.loads(f.answer or "") for p, f in GOOD.items() if p.file == HELD_OUT and f]
    assert {label["intent"] for label in labels} == set(TEAM)
    bikes = Counter(label["bike"] for label in labels)
    assert set(bikes) == {*BIKES, "none"}
    assert min(bikes.values()) >= 15
