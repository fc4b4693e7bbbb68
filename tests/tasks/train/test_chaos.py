"""The short form of `make chaos-train`: trainings that are killed again and again end the same, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.chaos_train_attempts import plans
from bench.chaos_train_cases import AXES, Case, covering, pairs
from bench.chaos_train_journal import Journal

ROOT = Path(__file__).parents[3]


def test_killed_trainings_end_the_same(tmp_path: Path) -> None:
    """In a process of its own, which forks: this one has threads."""
    command = [sys.executable, "-m", "bench.chaos_train", "--short", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["kills"] == said["identical"] >= 10
    assert said["adapters_learned"]
    assert said["seeds_differ"]


def test_the_set_covers_every_pair() -> None:
    def possible(case: Case) -> str:
        return "no" if {"dpo", "packed"} <= set(case.choice) else ""

    cases, left_out = covering(possible, 1)
    covered = set().union(*map(pairs, cases))
    names = [[name for name, _ in options] for options in AXES.values()]
    every = {(a, b) for i, some in enumerate(names) for others in names[i + 1 :] for a in some for b in others}
    assert every - covered == {("dpo", "packed")}
    assert left_out == ["dpo with packed: no"]
    assert len(cases) <= 9


def test_every_boundary_is_planned() -> None:
    import random

    planned = plans(200, boundaries=30, starts=5, processes=2, chance=random.Random(1), first=0)
    assert {kill.number for kill in planned if kill.kind == "boundary"} == set(range(1, 31))
    assert {kill.number for kill in planned if kill.kind == "start"} == {1, 2, 3, 4, 5}
    assert {kill.rank for kill in planned if kill.kind == "random"} == {0, 1}


def test_the_journal_goes_on_and_belongs_to_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "journal.jsonl"
    Journal(file, {"kills": 1}).add("a", {"kills": []})
    with file.open("a") as stream:
        stream.write('{"task": "b", "outc')
    assert list(Journal(file, {"kills": 1}).results) == ["a"]
    assert list(Journal(file, {"kills": 2}).results) == []
    assert "starting anew" in capsys.readouterr().out
