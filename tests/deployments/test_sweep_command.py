"""`tuneloop sweep`: what its options mean, and what it shows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.sweep import space_of, trials_table, write_page
from tasks.contracts import ValidationPoint
from tasks.errors import TrainingFailed, UsageError
from tasks.train.space import judge, trial_of
from tests.deployments.example_outcome import HOSTILE, trained

METRIC = "validation_loss"
CONFIG = {"project": "p", "data": {"sources": [{"path": "rows.jsonl"}]}}


def test_options_make_a_space() -> None:
    space = space_of(["train.learning_rate=1e-4,2e-4", "train.adapter=lora,qlora"], [], 3, METRIC)
    assert space.grid == {"learning_rate": (1e-4, 2e-4), "adapter": ("lora", "qlora")}
    assert space.trials == 3
    assert space_of([], ["train.learning_rate=1e-5..1e-3"], 4, METRIC).ranges == {"learning_rate": (1e-5, 1e-3)}


@pytest.mark.parametrize(
    ("grid", "ranges", "trials"),
    [
        (["rank=8"], [], None),
        (["train.rank"], [], None),
        (["train.rnak=8"], [], None),
        ([], ["train.learning_rate=low..high"], 2),
        ([], ["train.rank=8..inf"], 2),
        (["train.rank=8", "train.rank=16,32"], [], None),
        ([], ["train.rank=4..8", "train.rank=8..16"], 2),
        ([], ["train.learning_rate=1e-5..1e-3"], None),
        (["train.rank=8"], [], 0),
        ([], [], None),
    ],
)
def test_options_that_make_none(grid: list[str], ranges: list[str], trials: int | None) -> None:
    with pytest.raises(UsageError):
        space_of(grid, ranges, trials, METRIC)


@pytest.mark.parametrize(
    ("option", "where"),
    [
        (("--grid", "train.learning_rate=1e-4,abc"), "train.learning_rate"),
        (("--range", "train.rank=0.1..0.4", "--trials", "2"), "train.rank"),
        (("--grid", "train.rank=8,16", "--metric", "acuracy"), "--metric"),
        (("--grid", "train.adapter=lora,full", "--grid", "train.rank=8"), "train.rank, trial: adapter full, rank 8"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_starts(home: Path, option: tuple[str, ...], where: str) -> None:
    config = home.parent / "config.yaml"
    config.write_text(json.dumps({**CONFIG, "train": {"validation_share": 0.1}}), encoding="utf-8")
    done = CliRunner().invoke(app, ["sweep", str(config), "--dataset", "ds://p/main@1.0.0", *option])
    assert isinstance(done.exception, UsageError)
    assert done.exception.where == where
    assert done.exception.remedy
    assert not home.exists() or not list(home.iterdir())


def test_trials_as_people_see_them(tmp_path: Path) -> None:
    found = [trained().model_copy(update={"validation": (ValidationPoint(step=1, loss=v),)}) for v in (0.5, 0.4)]
    trials = [trial_of({"rank": 8 * (i + 1)}, each, METRIC) for i, each in enumerate((*found, TrainingFailed(HOSTILE)))]
    swept = judge(trials, METRIC)
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(trials_table(swept))
    text = console.export_text()
    assert "0.4000 ★" in text
    assert "0.5000 ★" not in text
    assert "[bold red]not markup[/]" in text
    page = write_page(swept, tmp_path)
    assert page is not None
    assert "the best 2 of 3 trials" in page.read_text(encoding="utf-8")
    assert write_page(judge(trials[:1], METRIC), tmp_path / "one") is None
