"""A checkpoint is whole or it is not there: damage of every kind is found, and the one before is used."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tasks.contracts import LossPoint
from tasks.errors import EnvironmentUnusable
from tasks.train.checkpoint import MARKER, examine, full_disk_named, name_of, write
from tasks.train.checkpoint_files import read_tensors
from tasks.train.checkpoints import Checkpoints
from tasks.train.position import Position, layout, objection, plan_digest

FILES = (
    "adapter.safetensors",
    "optimizer.safetensors",
    "random.safetensors",
    "best.safetensors",
    "state.json",
    "decisions.json",
    MARKER,
)


def position(step: int, key: str = "k") -> Position:
    curve = tuple(LossPoint(step=i + 1, loss=1.0 / (i + 1), learning_rate=1e-3, tokens=i) for i in range(step))
    return Position(key=key, step=step, tokens=10 * step, seconds=1.5, curve=curve)


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    groups = ("adapter", "optimizer", "random", "best")
    return {
        g: {"a": torch.full((3, 2), float(step)), "b": torch.full((4,), step, dtype=torch.bfloat16)} for g in groups
    }


def kept(folder: Path, said: list[str] | None = None) -> Checkpoints:
    return Checkpoints(folder, "", (said if said is not None else []).append)


def saved(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = kept(folder)
    for step in steps:
        checkpoints.save(position(step), tensors(step), "{}")
    return checkpoints


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = write(tmp_path, position(3), tensors(3), '{"compile": 1}')
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert examine(folder, "k") == ("", position(3))
    for group, expected in tensors(3).items():
        found = read_tensors(folder, group)
        assert all(torch.equal(found[name], t) and found[name].dtype == t.dtype for name, t in expected.items())
    assert read_tensors(folder, "none") == {}


def test_a_view_is_written_as_what_it_shows(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    folder = write(tmp_path, position(1), {"adapter": {"first": whole[:2], "rest": whole[2:]}}, "{}")
    assert {name: t.tolist() for name, t in read_tensors(folder, "adapter").items()} == {
        "first": [0, 1],
        "rest": [2, 3, 4, 5],
    }


def test_the_newest_is_found_and_older_ones_go(tmp_path: Path) -> None:
    found = saved(tmp_path, 2, 4, 6).last_good("k")
    assert found is not None
    assert (found.position, found.fetched) == (position(6), False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name_of(4), name_of(6)]


def damages() -> Iterator[tuple[str, int]]:
    """Each file of a checkpoint: gone once, cut at some places, one bit turned at many; 112 together."""
    for name in FILES:
        yield from ((name, kind) for kind in range(16))


def harm(path: Path, kind: int, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if kind == 0:
        path.unlink()
    elif kind < 5:
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def test_every_damage_is_found_and_the_one_before_used(tmp_path: Path) -> None:
    chance = random.Random(17)
    detected = 0
    for name, kind in damages():
        folder = tmp_path / f"{name}-{kind}"
        saved(folder, 2, 4)
        harm(folder / name_of(4) / name, kind, chance)
        said: list[str] = []
        found = kept(folder, said).last_good("k")
        assert found is not None, (name, kind)
        assert found.position == position(2), (name, kind)
        assert read_tensors(found.folder, "adapter")["a"].tolist() == tensors(2)["adapter"]["a"].tolist()
        assert [text.split(":")[0] for text in said] == [f"checkpoint {name_of(4)} was not used"], (name, kind)
        detected += 1
    assert detected >= 100


def test_of_many_files_none_can_be_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.train.checkpoint_files.PART_BYTES", 24)
    saved(tmp_path / "whole", 4)
    names = sorted(path.name for path in (tmp_path / "whole" / name_of(4)).iterdir())
    assert len(names) == 2 * 4 + 3
    for name in names:
        saved(tmp_path / name, 2, 4)
        (tmp_path / name / name_of(4) / name).unlink()
        found = kept(tmp_path / name).last_good("k")
        assert found is not None
        assert found.position == position(2), name


def test_a_damaged_one_never_pushes_out_a_good_one(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 2, 4, 6)
    for step in (4, 6):
        (tmp_path / name_of(step) / "state.json").write_text("{}")
    assert checkpoints.last_good("k") is None
    checkpoints.save(position(3), tensors(3), "{}")
    found = checkpoints.last_good("k")
    assert found is not None
    assert found.position.step == 3
    checkpoints.save(position(4), tensors(4), "{}")
    assert sorted(p.name for p in tmp_path.iterdir()) == [name_of(3), name_of(4), name_of(6)]


def test_going_back_forgets_what_came_after(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4, 6)
    checkpoints.forget_after(4)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name_of(4)]


def test_what_a_killed_attempt_left_is_removed_and_never_used(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    (tmp_path / f".{name_of(4)}.123").mkdir()
    (tmp_path / f".gone-{name_of(1)}.123").mkdir()
    unfinished = tmp_path / name_of(3)
    unfinished.mkdir()
    said: list[str] = []
    found = kept(tmp_path, said).last_good("k")
    assert found is not None
    assert found.position.step == 2
    assert said == [f"checkpoint {name_of(3)} was not used: it is incomplete: {MARKER} is missing"]
    saved(tmp_path, 4)
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_training_is_never_used(tmp_path: Path) -> None:
    said: list[str] = []
    write(tmp_path, position(2, key="other"), tensors(2), "{}")
    assert kept(tmp_path, said).last_good("k") is None
    assert "belongs to another training" in said[0]
    assert said[1] == "no checkpoint could be used: the training begins again at its first step"


def test_nothing_there(tmp_path: Path) -> None:
    said: list[str] = []
    assert kept(tmp_path / "none", said).last_good("k") is None
    assert said == []
    kept(tmp_path / "none").remove_all()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """A file size limit of this process is a disk that is full for it, in whichever library writes."""
    import resource
    import signal

    checkpoints = saved(tmp_path, 2)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        large = {"adapter": {"a": torch.zeros(10_000)}}
        with pytest.raises(Exception, match=r"os error 27|File too large"):
            checkpoints.save(position(4), large, "{}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == [name_of(2)]
    found = checkpoints.last_good("k")
    assert found is not None
    assert found.position.step == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O error (os error 28)")])
def test_a_full_disk_has_a_code(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(EnvironmentUnusable, match="the disk is full"), full_disk_named(tmp_path):
        raise error
    with pytest.raises(KeyError), full_disk_named(tmp_path):
        raise KeyError("other")


def test_what_must_agree() -> None:
    steps = [((0, 1), (2, 3)), ((4, 5),)]
    parameters = {"a": torch.zeros(2, 3, dtype=torch.bfloat16)}
    there = position(1).model_copy(update={"plan": plan_digest(steps), "tensors": layout(parameters)})
    assert layout(parameters) == {"a": "bfloat16 [2, 3]"}
    assert objection(there, plan_digest([((0,), (1,), (2,), (3,)), ((4, 5),)]), layout(parameters)) == ""
    assert "order of the rows" in objection(there, plan_digest([((0, 1), (2, 4)), ((3, 5),)]), layout(parameters))
    assert "types" in objection(there, there.plan, layout({"a": parameters["a"].float()}))
