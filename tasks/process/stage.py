"""The stage as a whole: one written form, second privacy scan, contradictions, duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.adapters.row_files import Privacy, read_output, write_output
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Row, Rows
from tasks.privacy.redact import Redactor
from tasks.process.config import ProcessConfig
from tasks.process.duplicates import merge_exact, merge_near, quarantine_contradictions
from tasks.process.normalise import normalise
from tasks.process.privacy_scan import redact_again, refuse_personal_data

REVISION = 1


def process_rows(rows: Rows, config: ProcessConfig, store: Store) -> Rows:
    """Cleaned rows as a new output; every row that came in is still there, with its outcome."""
    key = stage_key(REVISION, rows.digest, config)

    def make(folder: Path) -> Rows:
        read, privacy = read_output(store.path(rows.uri))
        return write_output(folder, store.uri("process", key), clean(read, config, privacy), privacy)

    return store.produce("process", key, Rows, make)


def clean(rows: Sequence[Row], config: ProcessConfig, privacy: Privacy) -> list[Row]:
    """The cleaning itself.

    Raises:
        DataRefused: personal data is left.
    """
    redactor = Redactor(privacy.entities, privacy.phone_regions)
    made = [redact_again(row, normalise(row, config.unicode_form), redactor) for row in rows]
    refuse_personal_data(made, redactor)
    made = quarantine_contradictions(made)
    made = merge_exact(made)
    return merge_near(made, config.near_duplicate_threshold, config.shingle_characters)
