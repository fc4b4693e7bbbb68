"""Every planted defect of the example ends where the manifest says, after the real data stages with the real config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tasks.adapters import state
from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.config import RunConfig
from tasks.contracts import DatasetVersion, Row, Rows, ValidatedRows
from tasks.digest import digest_file, digest_of
from tasks.ingest.stage import read_sources
from tasks.process.stage import process_rows
from tasks.validate.stage import validate_rows
from tasks.version.stage import make_version
from tests.examples.support_desk_files import DEFECTS, EXAMPLE, HELD_OUT, MANIFEST, Place, good_places, place

PERSONAL_VALUES = sorted({value for defect in DEFECTS for value in defect["personal_values"]})


class Prepared(NamedTuple):
    """What the data stages made of the example, with the rows by their place in the sources."""

    home: Path
    store: Store
    ingested: Rows
    processed: Rows
    validated: ValidatedRows
    dataset: DatasetVersion
    rows: dict[Place, Row]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Prepared]:
    home = tmp_path_factory.mktemp("support_desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(home))
        config = RunConfig.model_validate(yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8")))
        yield prepare(config, home, tiny_model)
        state.engine().dispose()


def prepare(config: RunConfig, home: Path, model: Path) -> Prepared:
    store = Store.open()
    tokenizer_digest = digest_file(model / "tokenizer.json")
    ingested = read_sources(config.data, EXAMPLE, store)
    processed = process_rows(ingested, config.process, store)
    validated = validate_rows(processed, config.checks, tokenizer_digest, model, store)
    dataset = make_version(validated, config.project, config.split, digest_of("policy"), tokenizer_digest, store)
    rows = list(iter_rows(store.path(dataset.uri) / "rows.jsonl"))
    by_place = {Place(row.origin.source_uri, row.origin.record_index): row for row in rows}
    assert len(by_place) == len(rows)
    return Prepared(home, store, ingested, processed, validated, dataset, by_place)


def row_id(where: dict[str, Any]) -> str:
    """A row's id from the manifest and the source's bytes alone."""
    return f"{digest_file(EXAMPLE / where['file'])[:16]}:{where['record']:06d}"


def named(defect: dict[str, Any]) -> str:
    return f"{defect['kind']}-{Path(defect['file']).stem}-{defect['record']}"


@pytest.mark.acceptance
@pytest.mark.parametrize("defect", DEFECTS, ids=named)
def test_defect_ends_where_the_manifest_says(prepared: Prepared, defect: dict[str, Any]) -> None:
    row = prepared.rows[place(defect)]
    assert row.row_id == row_id(defect)
    assert (row.outcome, row.reason.split(":")[0]) == (defect["outcome"], defect["reason"] or "")
    assert row.yields_to == (row_id(defect["yields_to"]) if defect["yields_to"] else "")
    assert row.redactions == (defect["redacted"] or {})
    assert (row.split is not None) == (defect["outcome"] == "kept")


@pytest.mark.acceptance
def test_everything_else_is_kept_and_untouched(prepared: Prepared) -> None:
    planted = {place(d) for d in DEFECTS}
    good = set(good_places())
    assert {p for p, row in prepared.rows.items() if row.outcome == "kept"} == good
    assert [p for p in good - planted if prepared.rows[p].redactions] == []
    assert {p for p in good if prepared.rows[p].split == "test"} == {p for p in good if p.file == HELD_OUT}


@pytest.mark.acceptance
def test_every_record_is_counted_once(prepared: Prepared) -> None:
    counts = prepared.dataset.counts
    assert len(prepared.rows) == MANIFEST["expected_rows_in"] == counts.rows_in
    assert counts.rows_in == counts.kept + counts.merged + counts.quarantined
    assert {name: getattr(counts, name) for name in ("kept", "merged", "quarantined")} == {
        name: MANIFEST[name] for name in ("kept", "merged", "quarantined")
    }
    assert counts.redacted == sum(bool(d["redacted"]) for d in DEFECTS)
    assert prepared.dataset.train_rows + prepared.dataset.test_rows == counts.kept
    assert prepared.dataset.test_rows == MANIFEST["files"][HELD_OUT]["good"]
    for earlier in (prepared.ingested, prepared.processed, prepared.validated.rows):
        assert earlier.counts.rows_in == earlier.counts.kept + earlier.counts.merged + earlier.counts.quarantined
        assert earlier.counts.rows_in == MANIFEST["expected_rows_in"]
    expected = [d["reason"] for d in DEFECTS if d["reason"]]
    assert prepared.dataset.reasons == {reason: expected.count(reason) for reason in set(expected)}


@pytest.mark.acceptance
@pytest.mark.parametrize("decoy", MANIFEST["decoys"], ids=lambda d: Path(d["file"]).stem)
def test_what_only_looks_like_personal_data_stays(prepared: Prepared, decoy: dict[str, Any]) -> None:
    row = prepared.rows[place(decoy)]
    assert all(text in row.messages[0].content for text in decoy["texts"])


@pytest.mark.acceptance
def test_answers_stay_the_json_that_the_desk_wrote(prepared: Prepared) -> None:
    for where in good_places():
        answer = prepared.rows[where].answer
        assert json.dumps(json.loads(answer), ensure_ascii=False, separators=(",", ":")) == answer


@pytest.mark.acceptance
def test_no_personal_value_is_anywhere_in_the_home_folder(prepared: Prepared) -> None:
    """All bytes of all files: rows, quarantine, reports, the SQLite database with its journal, locks."""
    files = [p for p in prepared.home.rglob("*") if p.is_file()]
    assert any(p.suffix == ".db" for p in files)
    assert any(p.name == "rows.jsonl" for p in files)
    needles = [form for value in PERSONAL_VALUES for form in written_forms(value)]
    leaks = [
        (path.relative_to(prepared.home), needle)
        for path in files
        for content in [path.read_bytes()]
        for needle in needles
        if needle in content
    ]
    assert leaks == []


def written_forms(value: str) -> list[bytes]:
    """A value as it stands in the source, in lower case, escaped in JSON, and as digits alone where it is a number."""
    digits = "".join(c for c in value if c.isalnum())
    plain = [value, value.lower(), json.dumps(value)[1:-1]] + ([digits] if sum(map(str.isdigit, digits)) > 8 else [])
    return [form.encode(code) for form in dict.fromkeys(plain) for code in ("utf-8", "utf-16-le")]
