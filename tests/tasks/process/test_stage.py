from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.row_files import read_output
from tasks.errors import DataRefused
from tasks.privacy.redact import Redactor
from tasks.process.config import ProcessConfig
from tasks.process.privacy_scan import refuse_personal_data
from tasks.process.stage import clean, process_rows
from tests.tasks.data_rows import PRIVACY, make_row, open_store, stored


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    rows = [make_row(0, "a b c"), make_row(1, "a b c"), make_row(2, "d"), make_row(3, "d", "no"), make_row(4, "e")]
    made = process_rows(stored(rows, store), ProcessConfig(), store)
    assert made.counts.model_dump() == {"rows_in": 5, "kept": 2, "merged": 1, "quarantined": 2, "redacted": 0}
    assert made.reasons == {"contradicting_answers": 2, "exact_duplicate": 1}
    read, privacy = read_output(store.path(made.uri))
    assert [r.row_id for r in read] == [r.row_id for r in rows]
    assert privacy == PRIVACY


def test_configuration_is_part_of_the_key(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    given = stored([make_row(0, "ﬁn")], store)
    uris = {process_rows(given, c, store).uri for c in (ProcessConfig(), ProcessConfig(unicode_form="NFKC"))}
    assert len(uris) == 2
    assert process_rows(given, ProcessConfig(), store).uri in uris


def test_what_normalising_brings_to_light_is_replaced() -> None:
    row = clean([make_row(0, "a@b\x00.com")], ProcessConfig(), PRIVACY)[0]
    assert row.messages[0].content == "<EMAIL_ADDRESS>"
    assert row.redactions == {"EMAIL_ADDRESS": 1}
    assert row.steps[-1] == "redact_after_normalising"


@pytest.mark.parametrize(
    "row",
    [
        make_row(0, "write to a@b.com"),
        make_row(0, "x", metadata={"author": "a@b.com"}),
        make_row(0, "x", raw_excerpt="a@b.com", outcome="quarantined"),
    ],
)
def test_personal_data_that_is_left_is_refused_without_naming_it(row: object) -> None:
    with pytest.raises(DataRefused) as refused:
        refuse_personal_data([row], Redactor(PRIVACY.entities, PRIVACY.phone_regions))  # type: ignore[list-item]
    assert "EMAIL_ADDRESS" in str(refused.value)
    assert "a@b.com" not in str(refused.value)
    assert refused.value.exit_code == 20
