from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.row_files import Privacy
from tasks.adapters.store import Store
from tasks.contracts import Row
from tasks.privacy.config import PrivacyConfig
from tasks.validate.config import ChecksConfig
from tasks.validate.quarantine_rows import privacy_of_row, validations
from tasks.validate.stage import judge_rows
from tests.tasks.data_rows import PRIVACY, make_row, open_store, stored

CHECKS = ChecksConfig(min_tokens=30, min_rows=1, warn_rows=1, max_quarantined_share=1.0)
NONE = Privacy(entities=(), phone_regions=("US",))
REPORTING = Privacy(
    entities=("IP_ADDRESS", "PHONE_NUMBER"),
    phone_regions=("DE",),
    actions=dict.fromkeys(("IP_ADDRESS", "PHONE_NUMBER"), "report"),
)


@pytest.fixture
def store(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TUNELOOP_WORKERS", "1")
    return open_store(registry_home)


def judge(rows: list[Row], privacy: Privacy, model: Path, store: Store, own: Privacy | None = None) -> None:
    given = stored(rows, store, privacy, shards=2, own={1: own} if own else {})
    judge_rows(given, CHECKS, "t", model, store)


def test_a_row_has_the_rules_of_its_shard(store: Store, tiny_model: Path) -> None:
    rows = [make_row(0, "x", "y"), make_row(1, "x", "z")]
    judge(rows, NONE, tiny_model, store, own=PRIVACY)
    assert [privacy_of_row(store, row.row_id, validations(store)) for row in rows] == [NONE, PRIVACY]


def test_the_rules_of_several_validations_hold_together(store: Store, tiny_model: Path) -> None:
    rows = [make_row(0, "x", "y"), make_row(1, "x", "z")]
    for privacy in (NONE, PRIVACY, REPORTING):
        judge(rows, privacy, tiny_model, store)
    found = privacy_of_row(store, rows[0].row_id, validations(store))
    assert sorted(found.entities) == ["EMAIL_ADDRESS", "IP_ADDRESS", "PHONE_NUMBER"]
    assert sorted(found.phone_regions) == ["DE", "GB", "US"]
    assert found.actions == {"IP_ADDRESS": "report"}


def test_a_row_that_no_validation_holds_has_the_rules_of_an_empty_configuration(store: Store) -> None:
    found = privacy_of_row(store, make_row(0, "x").row_id, validations(store))
    assert found.entities == PrivacyConfig().looked_for
    assert found.phone_regions == PrivacyConfig().phone_regions
