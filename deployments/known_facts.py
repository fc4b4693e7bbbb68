"""What is known of data and model before a run: read from what lies on this machine, nothing is fetched or made."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import make_url

from tasks.config import RunConfig
from tasks.settings import Settings


class KnownFacts(NamedTuple):
    """What automatic values depend on, as far as it is known, and that in words."""

    rows: int | None
    parameters: int | None
    words: str


def known_facts(config: RunConfig) -> KnownFacts:
    """Rows of the newest version of the configuration's dataset, and weights of its base model."""
    from tasks.adapters.base_models import parameters_at_hand

    address, rows = _newest_version(config)
    parameters = parameters_at_hand(config.model.base)
    data = f"{address} with {rows:,} training rows" if rows is not None else "no dataset version yet"
    model = f"{parameters:,} weights" if parameters else "not on this machine yet"
    return KnownFacts(rows, parameters, f"data: {data}; model {config.model.base}: {model}")


def _newest_version(config: RunConfig) -> tuple[str, int | None]:
    database = make_url(Settings().state)
    if database.get_backend_name() == "sqlite" and not Path(database.database or "").is_file():
        return "", None
    from tasks.adapters import ledger
    from tasks.adapters.store import Store
    from tasks.version.content import read_manifest

    known = ledger.entries(config.project, config.split.name)
    if not known:
        return "", None
    return known[-1].address, read_manifest(Store.open().path(known[-1].uri)).train_rows
