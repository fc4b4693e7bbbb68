"""What the registry's errors say: the cause, and nothing that an address can hold besides the place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.adapters import registry
from tasks.adapters.registry_client import registry_errors, without_secrets
from tasks.errors import EnvironmentUnusable
from tests.tiny_release import NAME, champion


@pytest.fixture
def emptied(registry_home: Path, tiny_model: Path) -> Path:
    """A home with a champion whose artifacts are gone, here and where MLflow keeps them."""
    champion(tiny_model, 1)
    shutil.rmtree(registry_home / "cache" / "adapters", ignore_errors=True)
    shutil.rmtree(registry_home / "mlflow" / "artifacts" / NAME)
    return registry_home


def test_artifacts_that_are_gone_are_named_with_what_to_do(emptied: Path) -> None:
    for wanted, look in (
        ("adapter", lambda: registry.served(NAME, "champion")),
        ("model_card.md", lambda: registry.text(NAME, 1, "model_card.md")),
    ):
        with pytest.raises(EnvironmentUnusable, match="registered files cannot be fetched") as caught:
            look()
        assert caught.value.why == f"{wanted}: No such artifact: '{wanted}'"
        assert str(emptied / "mlflow" / "artifacts" / NAME) in caught.value.where
        assert "restore the registry's artifacts" in caught.value.remedy
        assert "roll back" in caught.value.remedy
        assert "TUNELOOP_MLFLOW_URL" not in caught.value.remedy


def test_an_error_of_the_registry_tells_no_password(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from requests.exceptions import ConnectionError as Unreachable

    monkeypatch.setenv("TUNELOOP_MLFLOW_URL", "https://me:hunter2@mlflow.example.org")
    with pytest.raises(EnvironmentUnusable) as caught, registry_errors():
        raise Unreachable("no answer of https://me:hunter2@mlflow.example.org/api?token=hunter2")
    assert "hunter2" not in str(caught.value)
    assert caught.value.where == "https://mlflow.example.org"
    assert caught.value.why == "no answer of https://mlflow.example.org/api"
    assert "TUNELOOP_MLFLOW_URL" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@ss@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("postgresql://db?password=p@ss", "postgresql://db"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("403 for url: 'https://b.s3.example/a?X-Amz-Signature=abc&b=c'", "403 for url: 'https://b.s3.example/a'"),
        ("exceeded with url: /api/get?token=abc (Caused by", "exceeded with url: /api/get (Caused by"),
        ("is it there? ask me@example.org", "is it there? ask me@example.org"),
    ],
)
def test_addresses_without_users_and_parameters(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
