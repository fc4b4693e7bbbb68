"""`tuneloop runs retry|errors`: what a repeated run would do differently."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.runs_retry import Change, differences, repeated, standing_of, what_follows
from deployments.config_file import load_config
from deployments.error_statistics import count_error
from tasks.adapters import failure_log
from tasks.adapters.run_events import EventLog, RunEvent
from tasks.adapters.runs import note_output
from tasks.errors import EnvironmentUnusable, TrainingFailed, UsageError
from tasks.train.unfinished import Begun
from tests.deployments.past_runs import NOW, failed_run, runs_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk" / "config.yaml"
CONFIG = load_config(EXAMPLE).config.model_dump(mode="json")


def changed(home: Path, *overrides: str) -> list[Change]:
    before, loaded = repeated(home, failed_run(CONFIG), overrides)
    return differences(before, loaded.config)


def test_the_same_configuration_again(home: Path) -> None:
    assert changed(home) == []
    file = home / "runs" / "retry-0123abcd.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_config(file).config.model_dump(mode="json") == CONFIG


def test_a_changed_value_is_shown_and_kept(home: Path) -> None:
    found = changed(home, "train.epochs=7", "train.timeout_minutes=9", "gate.min_retention_share=0.5")
    assert [(c.name, c.now, c.learns_anew) for c in found] == [
        ("train.epochs", 7.0, True),
        ("train.timeout_minutes", 9.0, False),
        ("gate.min_retention_share", 0.5, False),
    ]
    assert found[0].words.endswith("→ 7.0")
    assert yaml.safe_load((home / "runs" / "retry-0123abcd.yaml").read_text())["train"]["epochs"] == 7.0


def test_what_becomes_of_what_was_done() -> None:
    anew = Change(name="train.rank", before=8, now=16, learns_anew=True)
    same = Change(name="train.max_attempts", before=5, now=9, learns_anew=False)
    assert "checkpoint of step 40 is left alone" in what_follows([anew], 40, False)
    assert "train.rank" in what_follows([anew, same], 0, False)
    assert what_follows([same], 40, False).startswith("training goes on from the checkpoint of step 40")
    assert "used again" in what_follows([], 0, True)
    assert "from the beginning" in what_follows([], 0, False)


def test_what_cannot_be_repeated(home: Path) -> None:
    with pytest.raises(UsageError, match="cannot be started again by itself"):
        repeated(home, failed_run(CONFIG, parent_task_run="task"), ())
    with pytest.raises(UsageError, match="cannot be started again by itself"):
        repeated(home, failed_run(CONFIG, flow="prepare-data"), ())
    with pytest.raises(UsageError) as caught:
        repeated(home, failed_run(CONFIG), ("train.epoch=1",))
    assert "--set train.epoch" in caught.value.where


def test_errors_are_counted_by_code(home: Path) -> None:
    failure_log.note("TL-TRAIN-OOM-HOST", "k", step=3, change="micro-batch 16 → 8 rows")
    failure_log.note("TL-TRAIN-OOM-HOST", "k", step=5, change="micro-batch 8 → 4 rows")
    failure_log.settle("k", repaired=True)
    failure_log.note("TL-TRAIN-DATA", "j", change="the same would happen again")
    failure_log.settle("j", repaired=False)
    failure_log.note("TL-TRAIN-OOM-HOST", "i")
    done = CliRunner().invoke(app, ["runs", "errors", "--json"])
    found = json.loads(done.stdout)["errors"]
    assert [(e["code"], e["count"], e["repaired"], e["open"]) for e in found] == [
        ("TL-TRAIN-OOM-HOST", 3, 2, 1),
        ("TL-TRAIN-DATA", 1, 0, 0),
    ]
    assert found[1]["last_change"] == "the same would happen again"
    shown = CliRunner().invoke(app, ["runs", "errors"]).stdout
    assert "TL-TRAIN-OOM-HOST" in shown


def test_a_home_without_errors(home: Path) -> None:
    assert "no errors" in CliRunner().invoke(app, ["runs", "errors"]).stdout


def test_errors_that_end_a_run_are_counted_once(home: Path) -> None:
    count_error(EnvironmentUnusable("the disk is nearly full"), "p")
    count_error(TrainingFailed("the loss exploded", code="TL-TRAIN-SPIKE"), "p")  # counted by its supervisor
    assert [(c.code, c.count, c.open) for c in failure_log.counts()] == [("TL-ENV", 1, 0)]


def test_the_diff_of_a_run_that_failed(home: Path) -> None:
    run = failed_run(CONFIG)
    key = "ab" * 32
    note_output([run.id], "train", f"store://train/{key}", "ds://support_desk/main@1.0.0")
    said = "repaired after TL-TRAIN-OOM-HOST: micro-batch 16 → 8 rows"
    EventLog.of(home, key).append([RunEvent(run=key, writer="flow", seq=1, at=NOW, kind="repair", text=said)])
    begun = Begun(
        key=key, dataset="ds://support_desk/main@1.0.0", dataset_digest="d", base="b", base_digest="e", recipe={}
    )
    folder = home / "work" / "train" / key / "checkpoints"
    (folder / "step-00000040").mkdir(parents=True)
    (folder / "training.json").write_text(begun.model_dump_json(), encoding="utf-8")
    (folder / "step-00000040" / "_COMPLETE.json").write_text("{}", encoding="utf-8")
    found = standing_of(runs_of(home, run), run)
    assert (found.checkpoint, found.trained, found.repairs) == (40, False, (said,))
