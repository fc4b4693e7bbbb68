"""The commands on dataset versions, on versions that are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands import data_diff
from tasks.adapters.row_files import merged
from tasks.adapters.store import Store
from tasks.contracts import Message, Row
from tasks.errors import UsageError
from tests.tasks.version.versions import prompt, some_row, some_rows, versioned

OLD, NEW = "ds://proj/main@1.0.0", "ds://proj/main@1.1.0"


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["data", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code
    return done.stdout


def run_json(*arguments: str, code: int = 0) -> dict[str, object]:
    return json.loads(run(*arguments, "--json", code=code))  # type: ignore[no-any-return]


@pytest.fixture
def two_versions(home: Path) -> Path:
    old = some_rows(20)
    answer = (old[1].messages[0], Message(role="assistant", content="no, not today"))
    gone = merged(old[2], old[3].row_id, "near_duplicate", "nearly the same").model_copy(update={"split": None})
    moved = old[4].model_copy(update={"split": "test"})
    new = [
        old[0],
        old[1].model_copy(update={"messages": answer}),
        gone,
        old[3],
        moved,
        *old[5:],
        some_row(30, prompt(30)),
    ]
    versioned(old)
    versioned(new)
    return home


def test_list_and_show(two_versions: Path) -> None:
    assert [v["version"] for v in run_json("list")["versions"]] == ["1.0.0", "1.1.0"]  # type: ignore[attr-defined]
    assert "ds://proj/main@1.1.0" in run("list", "proj")
    shown = run_json("show", "ds://proj/main")
    assert shown["address"] == NEW
    assert Path(str(shown["image"])).read_bytes().startswith(b"\x89PNG")
    assert "rows to train on" in run("show", OLD)


def test_diff_for_people(two_versions: Path) -> None:
    text = run("diff", OLD, NEW)
    assert "1 added   1 removed   1 changed   1 moved   17 the same" in text
    assert "~ abababababababab:000001  same row" in text
    assert "2 assistant: [-yes-]{+no, not today+}" in text
    assert "now: near_duplicate: nearly the same" in text
    assert "> abababababababab:000004  train → test" in text
    assert "refused or merged: near_duplicate" in text
    assert text.index("added") < text.index("rows to train on") < text.index("added (1)")


def test_diff_for_programs_is_complete(two_versions: Path) -> None:
    versioned(some_rows(60, first=100))
    found = run_json("diff", NEW, "ds://proj/main@1.2.0")
    assert len(found["added"]) == 60  # type: ignore[arg-type]
    text = run("diff", NEW, "ds://proj/main@1.2.0", "--limit", "2")
    assert "… 58 more: --limit 60 or --json" in text
    assert text.count("\n+ ") == 2


def test_colours_instead_of_brackets(two_versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(force_terminal=True, color_system="standard", highlight=False, width=120, record=True)
    monkeypatch.setattr(data_diff, "out", console)
    run("diff", OLD, NEW)
    text = console.export_text(styles=True)
    assert "\x1b[9;31myes" in text
    assert "[-" not in text


def test_no_difference(two_versions: Path) -> None:
    text = run("diff", OLD, OLD)
    assert "0 added   0 removed   0 changed   0 moved   20 the same" in text
    assert "policy" not in text


def test_verify(two_versions: Path) -> None:
    assert run_json("verify", OLD) == {"status": "done", "exit_code": 0, "faults": []}
    assert "is what the manifest says" in run("verify", OLD)
    from tasks.version.catalog import find

    path = Store.open().path(find(OLD).uri) / "card.png"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = run_json("verify", OLD, code=20)
    assert {"file": "card.png", "what": "its SHA-256 is not the one in the manifest"} in found["faults"]  # type: ignore[operator]
    assert "card.png: its SHA-256" in run("verify", OLD, code=20)


def test_rollback(home: Path) -> None:
    versioned(some_rows(20))
    versioned(some_rows(21))
    assert run_json("rollback", OLD)["address"] == "ds://proj/main@1.2.0"
    with pytest.raises(UsageError, match="already"):
        run("rollback", OLD)


def test_export(two_versions: Path, tmp_path: Path) -> None:
    files = run_json("export", OLD, str(tmp_path / "out"), "--format", "sharegpt")["files"]
    assert [Path(f["path"]).name for f in files] == ["test.jsonl", "train.jsonl"]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="already"):
        run("export", OLD, str(tmp_path / "out"))
    assert "16 rows" in run("export", OLD, str(tmp_path / "out"), "--force")
    assert "csv" in CliRunner().invoke(app, ["data", "export", OLD, str(tmp_path), "--format", "csv"]).output


def test_preview(two_versions: Path) -> None:
    rows = run_json("preview", OLD, "--rows", "3", "--split", "test")["rows"]
    assert [row["split"] for row in rows] == ["test"] * 3  # type: ignore[attr-defined]
    text = run("preview", OLD, "--rows", "2")
    assert text.count("user: ") == 2
    assert run("preview", OLD) == run("preview", OLD) != run("preview", OLD, "--seed", "7")


def test_mask(two_versions: Path, tiny_model: Path) -> None:
    text = run("mask", OLD, "ab" * 8 + ":000001", "--model", str(tiny_model))
    assert "<|im_start|>assistant\n⟦yes<|im_end|>⟧" in text
    found = run_json("mask", OLD, "ab" * 8 + ":000001", "--model", str(tiny_model))
    assert [piece["learned"] for piece in found["pieces"]] == [False, True]  # type: ignore[attr-defined]
    every = run_json("mask", OLD, "ab" * 8 + ":000001", "--model", str(tiny_model), "--loss-on", "all")
    assert every["learned"] == every["tokens"] - 1  # type: ignore[operator]


def test_mix(two_versions: Path) -> None:
    versioned(some_rows(40, first=500, source="cd"), name="other")
    made = run_json("mix", "both", f"{OLD}=3", "ds://proj/other", "--rows", "16")
    assert (made["address"], made["train_rows"]) == ("ds://proj/both@1.0.0", 16)
    assert "ds://proj/both@1.0.0: 16 rows" in run("mix", "both", f"{OLD}=3", "ds://proj/other", "--rows", "16")
    for parts in ([OLD], [OLD, f"{OLD}=2"], [f"{OLD}=0", "ds://proj/other"]):
        with pytest.raises(UsageError):
            run("mix", "both", *parts)
    for weight in ("much", "inf", "nan"):
        with pytest.raises(UsageError, match="not a number"):
            run("mix", "both", f"{OLD}={weight}", "ds://proj/other")


def test_where(two_versions: Path, tmp_path: Path) -> None:
    found = run_json("where", "data/ab.jsonl")["found"]
    assert [(f["address"], f["rows"]) for f in found] == [(NEW, 21), (OLD, 20)]  # type: ignore[attr-defined]
    assert "no version holds" in run("where", "elsewhere.csv")
    assert "ds://proj/main@1.0.0" in run("where", "abababab")
    assert "21 rows: 15 trained on, 5 held out, 1 merged; " in run("where", "abababab")


def written(folder: Path) -> Row:
    """A row of a file that is there."""
    from tasks.digest import digest_file

    lines = ['{"prompt": "mail me", "completion": "a@b.example"}\n', '{"prompt": "second", "completion": "x"}\n']
    path = folder / "x.jsonl"
    path.write_text("".join(lines))
    digest = digest_file(path)
    row = some_row(1, "second", "x")
    origin = row.origin.model_copy(update={
        "source_uri": str(path), "source_digest": digest, "line": 2, "byte_offset": len(lines[0]),
        "byte_length": len(lines[1]) - 1,
    })  # fmt: skip
    return row.model_copy(update={"origin": origin, "row_id": f"{digest[:16]}:000001"})


def test_trace_leads_to_the_bytes(home: Path, tmp_path: Path) -> None:
    row = written(tmp_path)
    versioned([*some_rows(10), row])
    found = run_json("trace", row.row_id)
    assert found["source"] == {
        "state": "same", "text": "the source still has these bytes", "opened": row.origin.source_uri,
    }  # fmt: skip
    text = run("trace", row.row_id).replace("\n", "")
    assert "still has these bytes" in text
    assert "completion" not in text
    Path(row.origin.source_uri).write_text("{}")
    assert run_json("trace", row.row_id)["source"]["state"] == "changed"  # type: ignore[index]
    Path(row.origin.source_uri).unlink()
    assert run_json("trace", row.row_id)["source"]["state"] == "missing"  # type: ignore[index]


def test_an_original_is_shown_for_a_reason_that_is_written_down(home: Path, tmp_path: Path) -> None:
    from tasks.adapters import audit

    row = written(tmp_path)
    versioned([*some_rows(10), row])
    with pytest.raises(UsageError, match="needs a reason"):
        run("trace", row.row_id, "--original")
    assert list(audit.entries()) == []
    found = run_json("trace", row.row_id, "--original", "--reason", "a customer asked")
    assert found["original"] == '{"prompt": "second", "completion": "x"}'
    (entry,) = audit.entries()
    assert (entry.action, entry.object, entry.reason) == ("source.read", row.row_id, "a customer asked")
    assert '"second"' in run("trace", row.row_id, "--original", "--reason", "again")


def test_what_was_done_with_versions_is_in_the_audit_log(home: Path, tmp_path: Path) -> None:
    from tasks.adapters import audit

    versioned(some_rows(20))
    versioned(some_rows(21))
    versioned(some_rows(40, first=500, source="cd"), name="other")
    run("rollback", OLD)
    run("export", OLD, str(tmp_path / "out"))
    run("mix", "both", OLD, "ds://proj/other")
    run("mix", "both", OLD, "ds://proj/other")
    found = [(entry.action, entry.object) for entry in audit.entries()]
    assert found == [
        ("dataset.versioned", "ds://proj/main@1.2.0"), ("dataset.rolled_back", "ds://proj/main@1.2.0"),
        ("dataset.exported", OLD),
        ("dataset.versioned", "ds://proj/both@1.0.0"), ("dataset.mixed", "ds://proj/both@1.0.0"),
    ]  # fmt: skip
    assert CliRunner().invoke(app, ["audit", "verify"]).exit_code == 0


def test_neighbours_are_mounted(home: Path) -> None:
    for command in (["data", "erase"], ["data", "quarantine"], ["audit"]):
        assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0


def test_appended_files_join_the_configured_sources(home: Path, tmp_path: Path) -> None:
    from deployments.commands.data import _with_files
    from deployments.config_file import load_config

    config = tmp_path / "config.yaml"
    config.write_text("project: p\ndata:\n  sources:\n    - {path: a.jsonl, split: test}\n")
    files = [tmp_path / "a.jsonl", tmp_path / "b.csv", tmp_path / "b.csv"]
    made = _with_files(load_config(config).config, files)
    assert [(s.path, s.split) for s in made.data.sources] == [
        (str(tmp_path / "a.jsonl"), "test"), (str(tmp_path / "b.csv"), "auto"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="does not exist"):
        run("append", str(config), str(files[1]))
