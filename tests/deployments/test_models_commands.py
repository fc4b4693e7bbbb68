"""`tuneloop models promote` on the tiny model, with its real smoke call."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from deployments.commands.models import app
from tasks.adapters import release_history
from tasks.adapters.release_history import Champion
from tasks.errors import ReleaseFailed, TuneloopError, UsageError
from tests.tiny_release import NAME, champion, register


def invoke(*arguments: str) -> tuple[dict[str, object], BaseException | None]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    return json.loads(done.stdout) if done.stdout else {}, done.exception


def test_a_person_promotes_a_version_that_answers(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    register(tiny_model, 2)
    said, error = invoke("promote", NAME, "2", "--reason", "looked at it")
    assert (error, said["champion"], said["previous"]) == (None, 2, 1)
    last = release_history.history(NAME)[-1]
    assert (last.action, last.version, last.reason) == ("promoted", 2, "looked at it")
    assert "already" in str(invoke("promote", NAME, "2", "--reason", "again")[0]["text"])


def test_a_version_that_cannot_serve_is_not_promoted_by_a_person_either(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    model = register(tiny_model, 2)
    artifacts = registry_home / "mlflow" / "artifacts" / NAME / model.run_id
    next(artifacts.rglob("adapter_model.safetensors")).write_bytes(b"torn")
    _, error = invoke("promote", NAME, "2", "--reason", "hope")
    assert isinstance(error, TuneloopError)
    assert release_history.champion(NAME) == Champion(version=1)
    assert release_history.history(NAME)[-1].action == "failed"


def test_the_settings_of_its_own_run_count(registry_home: Path, tiny_model: Path) -> None:
    register(tiny_model, 1, release={"startup_seconds": 0.3})
    _, error = invoke("promote", NAME, "1", "--reason", "quick")
    assert isinstance(error, ReleaseFailed)
    assert "could not be started" in error.what


def test_a_reason_is_said_as_it_was_given(registry_home: Path, tiny_model: Path) -> None:
    register(tiny_model, 1)
    reason = "fixed [/v1] route, [ticket 12]"
    done = CliRunner().invoke(app, ["promote", NAME, "1", "--reason", reason])
    assert (done.exception, done.exit_code) == (None, 0)
    assert reason in " ".join(done.stderr.split())


def test_an_unknown_version_is_named(registry_home: Path, tiny_model: Path) -> None:
    register(tiny_model, 1)
    _, error = invoke("promote", NAME, "7", "--reason", "r")
    assert isinstance(error, UsageError)
    assert "version 7" in error.what
