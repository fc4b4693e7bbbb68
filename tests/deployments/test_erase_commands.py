"""`tuneloop data erase`: what it asks, shows, does and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from deployments.commands.erase import add_to
from tasks.adapters import audit
from tasks.adapters.pseudonym_key import pseudonym_key
from tasks.errors import UsageError
from tasks.privacy.redact import Redactor
from tests.tasks.erase.person_home import ANNA, BOB, TEXTS, Home, make_home
from tests.tasks.version.versions import some_row, some_rows, versioned

app = typer.Typer()
app.callback()(lambda: None)
add_to(app)


@pytest.fixture
def person(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "30")
    return make_home(registry_home, models=False)


def run(*options: str, text: str = "") -> Result:
    return CliRunner().invoke(app, ["erase", *options], input=text)


def said(*options: str, text: str = "") -> dict[str, object]:
    done = run(*options, "--json", text=text)
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def test_a_dry_run_shows_and_changes_nothing(person: Home) -> None:
    before = {path: path.read_bytes() for path in (person.root / "store").rglob("*") if path.is_file()}
    shown = run("--subject", ANNA, "--reason", "x", "--dry-run")
    for words in ("ds://proj/main@1.0.0", "ds://proj/main@1.1.0", "outputs of ingest", "logged requests", "vault"):
        assert words in shown.stdout
    assert ANNA not in shown.output
    plan = said("--subject", ANNA, "--reason", "x", "--dry-run")
    assert (plan["dry_run"], plan["found"], len(plan["row_ids"])) == (True, True, 4)
    assert before == {path: path.read_bytes() for path in (person.root / "store").rglob("*") if path.is_file()}
    assert [entry.action for entry in audit.entries() if entry.action.startswith("erasure")] == []


def test_erasing_certifies_and_leaves_nothing_and_a_second_time_nothing_is_found(person: Home) -> None:
    done = said("--subject", ANNA, "--reason", f"letter of {ANNA}, copy to x@example.net", "--yes")
    assert (done["status"], done["found"], done["rows"]) == ("done", True, 4)
    assert done["reason"] == "letter of <SUBJECT>, copy to <EMAIL_ADDRESS>"
    page = Path(str(done["certificate"]))
    assert page.parent == person.root / "certificates"
    assert person.holding(*TEXTS, ANNA, person.subject) == []
    last = list(audit.entries())[-1]
    assert (last.action, last.object) == ("erasure.finished", done["id"])
    assert audit.verify() == []
    again = said("--subject", ANNA, "--reason", "again", "--yes")
    assert (again["status"], again["found"]) == ("unchanged", False)
    shown = run("--subject", BOB, "--reason", "too", "--yes")
    assert "ds://proj/main@1.3.0 → ds://proj/main@1.5.0" in shown.stdout
    assert "1 rows erased" in shown.stdout
    assert "sources" in shown.stderr


def test_identifiers_can_come_from_standard_input(person: Home) -> None:
    plan = said("--subject", "-", "--reason", "x", "--dry-run", text=f"{ANNA}\n\n{BOB}\n")
    assert len(plan["row_ids"]) == 5


def test_metadata_finds_rows_of_an_author(registry_home: Path) -> None:
    versioned([*some_rows(10), some_row(50, "who am I", metadata={"author": "4711"})])
    plan = said("--subject", "author=4711", "--reason", "x", "--dry-run")
    assert [row_id[-6:] for row_id in plan["row_ids"]] == ["000050"]
    done = said("--subject", "author=4711", "--reason", "x", "--yes")
    assert done["versions"][0]["new"] == "ds://proj/main@1.1.0"
    assert "4711" not in Path(str(done["certificate"])).read_text()


@pytest.mark.parametrize("subject", ["anna@example.com", "Anna@Example.COM", "+32 471 23 45 67", "0471/23.45.67"])
def test_a_person_is_found_by_what_was_redacted_in_whatever_writing(registry_home: Path, subject: str) -> None:
    redactor = Redactor(("EMAIL_ADDRESS", "PHONE_NUMBER"), ("BE",), key=pseudonym_key())
    cleaned = redactor.clean("Write to Anna@example.com or call 0471 23 45 67.")
    versioned([*some_rows(10), some_row(50, cleaned.text, subjects=cleaned.subjects)])
    assert [row_id[-6:] for row_id in said("--subject", subject, "--reason", "x", "--dry-run")["row_ids"]] == ["000050"]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (("--subject", ANNA, "--reason", "x"), ""),
        (("--subject", " ", "--reason", "x", "--yes"), "--subject"),
        (("--subject", "x", "--reason", "x", "--yes"), "--subject number 1"),
    ],
)
def test_what_cannot_be_done_is_wrong_usage(person: Home, options: tuple[str, ...], where: str) -> None:
    done = run(*options)
    assert isinstance(done.exception, UsageError)
    assert done.exception.where == where
    assert ANNA not in str(done.exception)
    assert person.holding(TEXTS[0])
