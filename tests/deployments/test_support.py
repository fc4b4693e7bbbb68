"""The archive for somebody who helps: what has to be in it, and what must not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import yaml

from deployments.log_lines import safe_lines
from deployments.support_bundle import contents, masked, write_bundle
from tasks.adapters import failure_log
from tasks.adapters.run_events import EventLog, RunEvent
from tasks.adapters.runs import note_output
from tests.deployments.past_runs import NOW, failed_run, runs_of

KEY = "ab" * 32
# What must never be in an archive: rows, answers, personal values, secrets of every kind that a run can hold.
PLANTED = (
    "jane.doe@example.org",
    "+49 30 901820",
    "DE89370400440532013000",
    "hunter2-of-the-database",
    "sk-live-0123456789abcdef0123456789abcdef",
    "My grandmother's violet umbrella",
    "we will refund the violet umbrella",
    "row content in a key error",
)
CONFIG = {
    "project": "support_desk",
    "data": {
        "sources": [
            {"path": "postgres://reader:hunter2-of-the-database@db.example.org/tickets"},
            {
                "path": "data/jane.doe@example.org.jsonl",
                "options": {"api_key": "sk-live-0123456789abcdef0123456789abcdef"},
            },
        ]
    },
    "train": {"epochs": 2.0},
}
LOG = """\
Traceback (most recent call last):
  File "/srv/app/tasks/train/data.py", line 20, in read_rows
    return [Row.model_validate_json(line) for line in lines]
pydantic_core._pydantic_core.ValidationError: 1 validation error for Row
  Invalid JSON [type=json_invalid, input_value='{"content": "My grandmother\\'s violet umbrella"}', input_type=str]
KeyError: 'row content in a key error'
{"messages": [{"role": "user", "content": "My grandmother's violet umbrella"}]}
We told jane.doe@example.org that we will refund the violet umbrella
/usr/lib/torch/x.py:12: UserWarning: jane.doe@example.org, call +49 30 901820
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. prompt: My grandmother's violet umbrella
checkpoint step-00000004 was not used: adapter.safetensors differs from what was written
TL-TRAIN-OOM-GPU: the GPU's memory ran out, said jane.doe@example.org
IBAN DE89370400440532013000
"""


@pytest.fixture
def bundle(home: Path) -> dict[str, str]:
    run = failed_run(CONFIG, "TrainingFailed: told jane.doe@example.org")
    note_output([run.id], "train", f"store://train/{KEY}", "ds://support_desk/main@1.0.0")
    (home / "logs").mkdir()
    (home / "logs" / f"train-{KEY[:16]}.log").write_text(LOG, encoding="utf-8")
    events = [
        RunEvent(run=KEY, writer="flow", seq=1, at=NOW, kind="progress", step=3, loss=2.5),
        RunEvent(run=KEY, writer="flow", seq=2, at=NOW, kind="failure", step=3,
                 text="the GPU's memory ran out",
                 details={"code": "TL-TRAIN-OOM-GPU", "where": "jane.doe@example.org"}),
    ]  # fmt: skip
    EventLog.of(home, KEY).append(events)
    failure_log.note("TL-TRAIN-OOM-GPU", KEY, step=3, change="micro-batch 16 → 8 rows")
    runs = runs_of(home, run, ["Beginning flow run 'x' for flow 'retrain'", *LOG.splitlines()])
    file = home / "out" / "support.zip"
    names = write_bundle(runs, run, file)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == names
        return {name: archive.read(name).decode() for name in names}


def test_nothing_that_was_planted_is_in_it(bundle: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in bundle.items():
        assert [planted for planted in PLANTED if planted in text] == [], name
        assert "umbrella" not in text, name


def test_what_helps_is_in_it(bundle: dict[str, str], home: Path) -> None:
    about = json.loads(bundle["run.json"])
    assert (about["state"], about["error"]["code"], about["error"]["step"]) == ("failed", "TL-TRAIN-OOM-GPU", 3)
    config = yaml.safe_load(bundle["config.yaml"])
    assert config["train"] == {"epochs": 2.0}
    assert config["data"]["sources"][1]["options"] == {"api_key": "***"}
    assert [json.loads(line)["kind"] for line in bundle["events.jsonl"].splitlines()] == ["progress", "failure"]
    for line in (
        '  File "/srv/app/tasks/train/data.py", line 20, in read_rows',
        "    return [Row.model_validate_json(line) for line in lines]",
        "pydantic_core._pydantic_core.ValidationError",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
        "checkpoint step-00000004 was not used: adapter.safetensors differs from what was written",
        "lines left out",
    ):
        assert line in bundle["trainer.log"]
    assert "Beginning flow run" in bundle["flow.log"]
    machine = json.loads(bundle["environment.json"])
    assert {"python", "cores", "memory_gb", "gpus"} <= machine.keys()
    assert machine["libraries"]["torch"]
    assert "TUNELOOP_HOME" in machine["settings"]
    assert str(home) not in bundle["environment.json"]
    assert json.loads(bundle["errors.json"])[0]["code"] == "TL-TRAIN-OOM-GPU"


def test_a_run_without_a_training(home: Path) -> None:
    run = failed_run({"project": "p"})
    found = contents(runs_of(home, run, ["Encountered TL-DATA: nothing usable"]), run)
    assert json.loads(found["run.json"])["error"] == {"code": "TL-DATA"}
    assert found["events.jsonl"] == ""


def test_secrets_are_known_by_their_names_and_numbers_stay() -> None:
    values = {
        "password": "a",
        "api_key": "b",
        "max_tokens": "512",
        "nested": [{"db_secret": "c", "rank": 4}],
        "empty": "",
    }
    found = masked(values, str)
    hidden = {"password": "***", "api_key": "***", "nested": [{"db_secret": "***", "rank": 4}]}
    assert found == values | hidden


def test_lines_left_out_are_counted() -> None:
    assert safe_lines(["free text", "more", "MemoryError", "text"], str) == [
        "[2 lines left out: free text can hold what data says]",
        "MemoryError: MemoryError",
        "[1 lines left out: free text can hold what data says]",
    ]
