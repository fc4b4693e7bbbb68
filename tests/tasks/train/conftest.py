"""Fixtures of the tests of training."""

from __future__ import annotations

import pytest

from tests.tasks.train.provocations import InProcess


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Trainers run in this process: for tests of what is done with their results."""
    launch = InProcess()
    monkeypatch.setattr("tasks.train.supervise.launch_for", lambda _home, _log_file: launch)
    return launch
