"""Starts are counted and what was said is kept, on this machine and on the next."""

from __future__ import annotations

from pathlib import Path

from tasks.train.history import History
from tests.tasks.train.test_checkpoint import position


def test_starts_are_counted_over_processes(tmp_path: Path) -> None:
    told: list[str] = []
    for expected in (0, 1, 2):
        history = History(tmp_path / "history.json", told.append)
        history.begin(None)
        assert history.interruptions == expected
        history.say(f"start {expected}")
    history.remember("not told")
    assert told == ["start 0", "start 1", "start 2"]
    assert History(tmp_path / "history.json", told.append).said == (*told, "not told")


def test_another_machine_counts_on_from_the_checkpoint(tmp_path: Path) -> None:
    there = position(4).model_copy(update={"starts": 3, "said": ("interrupted 2×, resumed at step 4",)})
    history = History(tmp_path / "history.json", lambda _: None)
    history.say("said before the checkpoint was read")
    history.begin(there)
    assert history.interruptions == 3
    assert history.said == ("interrupted 2×, resumed at step 4", "said before the checkpoint was read")
    history.begin(there)
    assert history.starts == 5, "what this machine knows counts more"


def test_a_damaged_note_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text("{")
    assert History(tmp_path / "history.json", lambda _: None).starts == 0


def test_other_processes_of_a_team_keep_nothing(tmp_path: Path) -> None:
    history = History(None, lambda _: None)
    history.begin(None)
    assert (history.starts, list(tmp_path.iterdir())) == (1, [])
