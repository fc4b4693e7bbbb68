from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.adapters.sources.spec import SourceSpec, shown_url
from tasks.errors import UsageError

PASSWORD = "hunter2horse"


@pytest.mark.parametrize(
    "path",
    [
        f"postgresql://reader:{PASSWORD}@db/crm",
        f"https://me:{PASSWORD}@example.com/a.csv",
        f"https://example.com/a.csv?api_key={PASSWORD}",
        f"https://example.com/a.csv?X-Amz-Signature={PASSWORD}",
        f"https://example.com/a.csv?page=1&access_token={PASSWORD}",
        f"https://example.com/a.csv?token={PASSWORD}",
        f"postgresql://reader@db/crm?password={PASSWORD}",
    ],
)
def test_secrets_do_not_stand_in_a_configuration(path: str) -> None:
    with pytest.raises(UsageError, match="holds a secret") as error:
        SourceSpec(path=path, query="SELECT 1" if path.startswith("postgresql") else "")
    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize("path", ["https://e.com/a.csv?sort_key=x&tokens=3", "postgresql://reader@db/crm"])
def test_harmless_parameters_are_let_through(path: str) -> None:
    assert SourceSpec(path=path, query="SELECT 1" if "postgresql" in path else "").path == path


def test_credentials_are_the_name_of_a_variable() -> None:
    assert SourceSpec(path="s3://b/a.csv", credentials="TUNELOOP_SECRET_S3").credentials == "TUNELOOP_SECRET_S3"
    with pytest.raises(UsageError, match="not the name") as error:
        SourceSpec(path="s3://b/a.csv", credentials=PASSWORD)
    assert PASSWORD not in str(error.value)


def test_a_misspelt_key_does_not_print_its_value() -> None:
    with pytest.raises(ValidationError) as error:
        SourceSpec(path="s3://b/a.csv", pasword=PASSWORD)  # type: ignore[call-arg]
    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "data", "query": "SELECT 1"},
        {"path": "data", "credentials": "TUNELOOP_SECRET_A"},
        {"path": "data", "key": "id"},
        {"path": "data", "http": {}},
        {"path": "s3://b/p", "updated": "at"},
        {"path": "https://e.com/a.csv", "key": "id"},
        {"path": "https://e.com/a", "http": {"items": "data"}, "log": {}},
        {"path": "postgresql://db/crm"},
        {"path": "https://e.com/a", "http": {"next_page": "next"}},
        {"path": "https://e.com/a", "http": {"items": ".", "next_page": "next", "link_header": True}},
        {"path": "ftp://e.com/a.csv"},
        {"path": "https://[::1/a.csv"},
        {"path": "postgresql://db:port/crm", "query": "SELECT 1"},
        {"path": "sqlite:///etc/passwd", "query": "SELECT 1"},
    ],
)
def test_what_would_have_no_effect_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SourceSpec(**fields)


def test_shown_addresses_hold_no_user_and_no_values() -> None:
    assert shown_url("https://me@e.com:8443/a/b?customer=anna&x=1#top") == "https://e.com:8443/a/b?customer&x"
