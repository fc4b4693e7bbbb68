"""`tuneloop audit verify|list`, and what they say about a log that someone wrote to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from deployments.commands import console
from deployments.commands.audit import app
from tasks.adapters import audit, state, tables
from tasks.errors import UsageError


def invoke(*arguments: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_a_whole_log(home: Path) -> None:
    code, said = invoke("verify")
    assert (code, said["entries"], said["head"]) == (0, 0, "")
    entry = audit.record("dataset.versioned", "ds://p/main@1.0.0")
    code, said = invoke("verify")
    assert (code, said["status"], said["faults"]) == (0, "done", [])
    assert said["head"] == f"1:{entry.digest}"
    assert invoke("verify", "--head", str(said["head"]))[0] == 0
    assert "all as they were written" in CliRunner().invoke(app, ["verify"]).stdout


def test_a_changed_log_is_exit_20_and_says_what_to_do(home: Path) -> None:
    for _ in range(3):
        audit.record("dataset.versioned", "ds://p/main@1.0.0")
    with state.engine().begin() as connection:
        connection.execute(sa.delete(tables.audit_log).where(tables.audit_log.c.seq == 2))
    code, said = invoke("verify")
    assert (code, said["status"], said["exit_code"]) == (20, "failed", 20)
    assert [fault["words"] for fault in said["faults"]] == ["entry 2 is missing"]
    shown = CliRunner().invoke(app, ["verify"])
    assert shown.exit_code == 20
    assert "entry 2 is missing" in shown.stdout
    assert "backup" in shown.stdout


def test_a_head_in_another_form_is_wrong_usage(home: Path) -> None:
    done = CliRunner().invoke(app, ["verify", "--head", "7"])
    assert isinstance(done.exception, UsageError)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["ds://p/main@1.0.0", "ds://q/main@1.0.0", "row"]),
        (("--last", "1"), ["row"]),
        (("--object", "ds://q"), ["ds://q/main@1.0.0"]),
        (("--action", "dataset."), ["ds://p/main@1.0.0", "ds://q/main@1.0.0"]),
        (("--action", "dataset.", "--last", "1"), ["ds://q/main@1.0.0"]),
    ],
)
def test_a_list_can_be_narrowed(home: Path, options: tuple[str, ...], expected: list[str]) -> None:
    audit.record("dataset.versioned", "ds://p/main@1.0.0", reason="\x1b[31mred", details={"rows": 3})
    audit.record("dataset.exported", "ds://q/main@1.0.0")
    audit.record("vault.read", "row")
    _, said = invoke("list", *options)
    assert [entry["object"] for entry in said["entries"]] == expected
    shown = CliRunner().invoke(app, ["list", *options]).stdout
    assert "\x1b[31mred" not in shown


def test_a_reason_is_listed_as_it_was_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "_width", 250)  # a table cuts what is wider than the terminal
    reason = "fixed [/v1] route, [ticket 12]"
    audit.record("dataset.versioned", "ds://p/main@1.0.0", reason=reason)
    done = CliRunner().invoke(app, ["list"])
    assert (done.exit_code, done.exception) == (0, None)
    assert reason in done.stdout
