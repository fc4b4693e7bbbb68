"""`tuneloop runs` on runs of a real Prefect server, by its commands."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.embedded import prefect_server
from deployments.run_history import DATABASE
from deployments.runs.prefect_history import DatabaseHistory, ServerHistory
from deployments.runs.views import Runs
from tasks.errors import UsageError
from tests.deployments.runs.home_with_runs import ADDRESS, make_runs

NAMES = ("good", "better", "turned down", "broken")


@pytest.fixture(scope="module")
def ids(
    tmp_path_factory: pytest.TempPathFactory, empty_databases: Path, run_database: Path
) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("runs") / "home"
    shutil.copytree(empty_databases, home)
    shutil.copytree(run_database, home / "prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(home))
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_server(home) as server:
            yield {**make_runs(home), "home": str(home), "url": server.api_url}


def command(*arguments: str) -> str:
    return CliRunner().invoke(app, ["runs", *arguments], catch_exceptions=False, env={"COLUMNS": "120"}).stdout


def tell(*arguments: str) -> Any:
    return json.loads(command(*arguments, "--json"))


def test_server_and_database_tell_the_same(ids: dict[str, str]) -> None:
    asked, read = ServerHistory(ids["url"]), DatabaseHistory(Path(ids["home"]) / DATABASE)
    every = [run.id for run in asked.runs()]
    assert len(every) == 4
    assert asked.runs() == read.runs()
    deadline = time.monotonic() + 20
    while not read.logs(every) and time.monotonic() < deadline:  # logs travel in batches
        time.sleep(0.1)
    assert asked.logs(every) == read.logs(every) != []
    assert asked.tasks_at_work(every) == read.tasks_at_work(every) == []
    assert asked.parents(every) == read.parents(every) == {}


def test_the_list_says_what_became_of_each(ids: dict[str, str]) -> None:
    runs = {run["id"]: run for run in tell("list")["runs"]}
    states = [runs[ids[name]]["state"] for name in NAMES]
    assert states == ["completed", "completed", "refused", "failed"]
    better, broken = runs[ids["better"]], runs[ids["broken"]]
    assert (better["dataset"], better["base"], better["interruptions"]) == (ADDRESS, "tiny", 2)
    assert better["validation_loss"] == 0.41  # of the adapter that was written
    assert (broken["steps"], broken["loss"]) == (7, 2 / 7)  # as far as it came
    assert "TL-TRAIN-NAN" in broken["detail"]
    assert [run["id"] for run in tell("list", "--state", "refused")["runs"]] == [ids["turned down"]]
    assert tell("list", "--limit", "1")["found"] == 4
    text = command("list")
    assert "interrupted 2×, resumed" in " ".join(text.split())
    assert ids["good"][:8] in text


def test_a_run_and_everything_about_it(ids: dict[str, str]) -> None:
    told = tell("show", ids["good"][:8])
    assert told["decisions"] == {"compile": "off: a short run"}
    assert told["estimate"]["estimated"] == "1 min 00 s"
    assert told["estimate"]["actual"] == "1 min 30 s (+50 %)"
    assert told["config"]["train"]["rank"] == 16
    assert "off: a short run" in command("show", "finetune good")
    assert "it failed" in command("show", ids["broken"])
    assert "Finished in state Completed" in command("logs", ids["good"])


def test_an_unknown_run_names_close_ones(ids: dict[str, str]) -> None:
    runs = Runs(Path(ids["home"]))
    with pytest.raises(UsageError) as caught:
        runs.find("finetune goo")
    assert f"{ids['good'][:8]} (finetune good)" in caught.value.why
    with pytest.raises(UsageError, match="no such run"):
        runs.find("zzz")
    with pytest.raises(UsageError, match="no such state"):
        command("list", "--state", "dreaming")


def test_runs_side_by_side(ids: dict[str, str], tmp_path: Path) -> None:
    told = tell("compare", ids["good"], ids["better"], ids["turned down"], "--out", str(tmp_path))
    rows = {row["name"]: row for row in told["measures"]}
    assert rows["validation loss"]["values"] == [0.48, 0.41, 0.8]
    assert rows["validation loss"]["best"] == 1
    assert rows["steps"]["best"] is None
    assert told["differences"]["train.learning_rate"] == ["0.0002", "0.0004", "0.0002"]
    assert told["differences"]["train.rank"] == ["8", "16", "8"]  # what the trainer said counts before what was asked
    assert "project" not in told["differences"]
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert page.count("<polyline") == 2 * (3 * 2 + 3)  # over steps and tokens: raw and smoothed loss, validation
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert "★" in command("compare", ids["good"], ids["better"], "--out", str(tmp_path))


@pytest.mark.parametrize("names", [NAMES[:1], ("good", "good"), (*NAMES, "good")])
def test_two_to_four_different_runs_are_compared(ids: dict[str, str], names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        command("compare", *(ids[name] for name in names), "--out", str(tmp_path))


def test_a_file_where_a_folder_is_needed_and_a_folder_where_a_file_is(ids: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "there.txt"
    file.write_text("kept", encoding="utf-8")
    for out in (file, file / "below"):
        with pytest.raises(UsageError, match="need a folder") as caught:
            command("compare", ids["good"], ids["better"], "--out", str(out))
        assert "there.txt is a file" in caught.value.why
    with pytest.raises(UsageError, match="needs a file"):
        command("export", ids["better"], "--out", str(tmp_path))
    done = CliRunner().invoke(app, ["support", ids["better"], "--out", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert (done.exception.why, done.exception.where) == ("it is a folder", f"--out {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["there.txt"]


def test_numbers_and_events_as_files(ids: dict[str, str], tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(command("export", ids["better"]))))
    assert len(rows) == 60
    assert (rows[29]["step"], rows[29]["validation_loss"], rows[28]["validation_loss"]) == ("30", "0.41", "")
    file = tmp_path / "run.json"
    assert tell("export", ids["better"], "--format", "json", "--out", str(file))["lines"] == 60
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["run"]["id"] == ids["better"]
    assert told["steps"][0]["tokens"] == 700
    events = [json.loads(line) for line in command("export", ids["broken"], "--events").splitlines()]
    assert [event["seq"] for event in events] == list(range(1, 10))
    with pytest.raises(UsageError, match="one object"):
        command("export", ids["better"], "--json")


def test_tags_notes_and_search(ids: dict[str, str]) -> None:
    assert tell("tag", ids["good"], "baseline", "for the paper")["tags"] == ["baseline", "for the paper"]
    assert tell("tag", ids["good"], "for the paper", "--remove")["tags"] == ["baseline"]
    assert tell("tag", "baseline", "baseline")["tags"] == ["baseline"]  # a tag names the run; twice is once
    notes = tell("note", ids["broken"], "[bold]the rate was too high[/]")["notes"]
    assert [note["text"] for note in notes] == ["[bold]the rate was too high[/]"]
    assert "[bold]the rate was too high[/]" in command("show", ids["broken"])
    notes = tell("note", ids["broken"], "asked for by anna@example.com")["notes"]
    assert notes[-1]["text"] == "asked for by <EMAIL_ADDRESS>"

    def found(*words: str) -> set[str]:
        return {run["id"] for run in tell("search", *words)["runs"]}

    assert found("BASELINE") == {ids["good"]}
    assert found("too high", "failed") == {ids["broken"]}
    assert found("desk/main", "finetune") == {ids[name] for name in NAMES}
    assert found("desk/main", "baseline", "failed") == set()
    with pytest.raises(UsageError, match="no tag"):
        command("tag", ids["good"], " ")


def test_a_run_that_has_ended_is_not_cancelled(ids: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="has ended: completed"):
        command("cancel", ids["good"])


def test_a_home_without_runs(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert tell("list") == {"status": "done", "exit_code": 0, "found": 0, "runs": []}
    with pytest.raises(UsageError, match="no such run"):
        command("show", "abcdef12")
