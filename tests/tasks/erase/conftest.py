"""The home with a person in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.erase.person_home import Home, make_home


@pytest.fixture
def person(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "30")
    return make_home(registry_home)
