"""The data stages together: the same dataset digest however, wherever and how often they run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.adapters.store import Store
from tasks.config import RunConfig
from tasks.contracts import DatasetVersion
from tasks.ingest.stage import read_sources
from tasks.process.stage import process_rows
from tasks.validate.stage import validate_rows
from tasks.version.stage import make_version

ROOT = Path(__file__).parent.parent.parent
WORDS = ("harbour", "lantern", "copper", "velvet", "granite", "willow", "saffron", "orchard", "falcon", "marble")


def write_data(folder: Path, order: int) -> None:
    """Six files with duplicates, near duplicates, contradictions and personal data; `order` changes their names."""
    chance = random.Random(5)
    rows = [
        {"prompt": " ".join(chance.choices(WORDS, k=12)) + f" {n}", "completion": chance.choice(("yes", "no", "later"))}
        for n in range(600)
    ]
    rows += rows[:20] + [{**r, "prompt": r["prompt"] + "!"} for r in rows[20:40]]
    rows += [{**r, "completion": "never"} for r in rows[40:45]]
    rows += [{"prompt": f"write to user{n}@example.com about {WORDS[n]}", "completion": "done"} for n in range(8)]
    folder.mkdir(parents=True)
    names = list(range(6))
    random.Random(order).shuffle(names)
    for number, name in enumerate(names):
        text = "".join(json.dumps(r) + "\n" for r in rows[number::6])
        (folder / f"{name}.jsonl").write_text(text + ("{broken\n" if number == 2 else ""))


def prepare(folder: Path, home: Path, tokenizer: Path) -> DatasetVersion:
    """A dataset version of a folder, stage by stage, with the settings of the environment."""
    config = RunConfig.model_validate({"project": "same", "data": {"sources": [{"path": str(folder)}]}})
    store = Store(str(home / "store"), home)
    rows = process_rows(read_sources(config.data, folder, store), config.process, store)
    validated = validate_rows(rows, config.checks, "tokenizer", tokenizer, store)
    return make_version(validated, "same", config.split, config.policy_digest, "tokenizer", store)


def run(number: int, root: Path, tokenizer: Path, patch: pytest.MonkeyPatch, **settings: str) -> DatasetVersion:
    home, data = root / f"home{number}", root / f"data{number}"
    write_data(data, number)
    for name, value in {"HOME": str(home), **settings}.items():
        patch.setenv(f"TUNELOOP_{name}", value)
    return prepare(data, home, tokenizer)


WHERE = (
    pytest.param({"WORKERS": "2"}, id="two", marks=pytest.mark.long),
    pytest.param(
        {"ENGINE": "ray", "RAY_ADDRESS": "local"}, id="ray", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]
    ),
)


@pytest.mark.parametrize("where", WHERE)
def test_one_worker_two_workers_and_ray_agree(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, where: dict[str, str]
) -> None:
    alone = run(0, tmp_path, tiny_model, monkeypatch, WORKERS="1")
    other = run(1, tmp_path, tiny_model, monkeypatch, **where)
    assert alone.digest == other.digest
    assert alone.counts == other.counts
    assert alone.reasons == other.reasons
    assert alone.counts.merged >= 20
    assert {"contradicting_answers", "broken_json", "exact_duplicate"} <= set(alone.reasons)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_times_in_any_file_order(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {
        run(n, tmp_path, tiny_model, monkeypatch, WORKERS=str(1 + n % 2)).digest for n in range(10)
    }  # fmt: skip
    assert len(digests) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
import tests.tasks.test_data_stages as stages
from tasks import progress
left = int(sys.argv[4])
def kill(_progress):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    with progress.listening(kill):
        stages.prepare(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
    print("events left", left)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_kill_anywhere_changes_nothing(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run(0, tmp_path, tiny_model, monkeypatch, WORKERS="2")
    home, data = tmp_path / "killed", tmp_path / "data1"
    write_data(data, 1)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "TUNELOOP_HOME": str(home), "TUNELOOP_WORKERS": "2", "PYTHONPATH": str(ROOT)}
    kills = 0
    for event in range(1, 60):
        command = [sys.executable, str(script), str(data), str(home), str(tiny_model), str(event)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
    assert kills >= 4
    monkeypatch.setenv("TUNELOOP_HOME", str(home))
    made = prepare(data, home, tiny_model)
    assert (made.digest, made.counts, made.version) == (wanted.digest, wanted.counts, "1.0.0")
