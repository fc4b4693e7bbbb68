"""A checkpoint brings everything back, and a damaged one is never used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.contracts import LossPoint
from tasks.train.checkpoint import MARKER, Position, last_good, remove_all, restore, save


def position(step: int, key: str = "k") -> Position:
    curve = tuple(LossPoint(step=i + 1, loss=1.0 / (i + 1), learning_rate=1e-3, tokens=i) for i in range(step))
    return Position(key=key, step=step, tokens=10 * step, seconds=1.5, curve=curve)


def trained(dtype: torch.dtype) -> tuple[dict[str, torch.nn.Parameter], torch.optim.AdamW]:
    torch.manual_seed(0)
    parameters = {name: torch.nn.Parameter(torch.randn(3, 2).to(dtype)) for name in ("a", "b")}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        sum(p.square().sum() for p in parameters.values()).backward()
        optimizer.step()
    return parameters, optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_everything_comes_back_in_its_own_type(tmp_path: Path, dtype: torch.dtype) -> None:
    parameters, optimizer = trained(dtype)
    torch.manual_seed(5)
    folder = save(tmp_path, position(3), parameters, optimizer)
    drawn = torch.rand(4)
    fresh = {name: torch.nn.Parameter(torch.zeros(3, 2, dtype=dtype)) for name in parameters}
    other = torch.optim.AdamW(fresh.values(), lr=0.1)
    torch.set_rng_state(restore(folder, fresh, other, 3))
    assert torch.equal(torch.rand(4), drawn)
    for name, parameter in fresh.items():
        assert parameter.dtype == dtype
        assert torch.equal(parameter, parameters[name])
        theirs, ours = optimizer.state[parameters[name]], other.state[parameter]
        assert float(ours["step"]) == float(theirs["step"]) == 3
        assert torch.equal(ours["exp_avg"], theirs["exp_avg"])
        assert torch.equal(ours["exp_avg_sq"], theirs["exp_avg_sq"])


def test_the_newest_is_found_and_older_ones_go(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save(tmp_path, position(step), *trained(torch.float32))
    found = last_good(tmp_path, "k")
    assert found is not None
    assert found[1] == position(6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000004", "step-00000006"]


@pytest.mark.parametrize("part", ["tensors.safetensors", "state.json", MARKER])
@pytest.mark.parametrize("harm", ["shortened", "changed", "gone"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, part: str, harm: str) -> None:
    for step in (2, 4):
        save(tmp_path, position(step), *trained(torch.float32))
    victim = tmp_path / "step-00000004" / part
    content = victim.read_bytes()
    victim.unlink()
    if harm != "gone":
        victim.write_bytes(
            content[: len(content) // 2] if harm == "shortened" else bytes([content[0] ^ 1]) + content[1:]
        )
    found = last_good(tmp_path, "k")
    assert found is not None
    assert found[1].step == 2


def test_a_checkpoint_of_another_training_is_never_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, position(2, key="other"), *trained(torch.float32))
    assert last_good(tmp_path, "k") is None
    assert "belongs to another training" in caplog.text


def test_nothing_there(tmp_path: Path) -> None:
    assert last_good(tmp_path / "none", "k") is None
    remove_all(tmp_path / "none")
