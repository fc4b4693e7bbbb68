"""What does not fit is refused, with changes that would make it fit."""

from __future__ import annotations

import pytest

from tasks.errors import BudgetRefused
from tasks.train.estimate.fit import Planned, needed, proposals, refuse_if_too_large
from tasks.train.objective import Micro
from tasks.train.plan import Machine
from tasks.train.recipe import Recipe
from tests.tasks.train.estimate.test_memory import QWEN_7B, WEIGHTS

PLANNED = Planned(
    recipe=Recipe(adapter="lora", batch_rows=8, micro_batch_rows=8, activation_checkpointing="off"),
    shape=QWEN_7B,
    parameters=WEIGHTS["7b"],
    rows=tuple(Micro((1024,), 300) for _ in range(32)),
)


def gpu(gigabytes: float) -> Machine:
    return Machine(cuda=True, free_bytes=int(gigabytes * 1e9), compiler=True, cores=8, flash_attention=True)


def refused(machine: Machine) -> BudgetRefused:
    with pytest.raises(BudgetRefused) as caught:
        refuse_if_too_large(needed(PLANNED, machine), PLANNED, machine)
    return caught.value


def test_what_fits_is_let_through() -> None:
    refuse_if_too_large(needed(PLANNED, gpu(141)), PLANNED, gpu(141))


def test_a_refusal_proposes_what_fits_with_its_figure() -> None:
    error = refused(gpu(40))
    assert (error.exit_code, error.code) == (40, "TL-BUDGET")
    assert "40.0 GB free" in error.what
    assert "weights 15.2 GB" in error.why
    assert "train.micro_batch_rows: 2 at the same batch (about" in error.remedy
    assert "train.activation_checkpointing: on (about" in error.remedy


def test_every_proposal_is_true() -> None:
    machine = gpu(40)
    found = {p.change: p.total_bytes for p in proposals(PLANNED, machine)}
    assert all(total <= machine.free_bytes for total in found.values())
    changed = PLANNED.changed(activation_checkpointing="on")
    assert found["train.activation_checkpointing: on"] == needed(changed, machine).total
    halved = PLANNED.changed(micro_batch_rows=2)
    assert found["train.micro_batch_rows: 2 at the same batch"] == needed(halved, machine).total
    assert (
        "train.micro_batch_rows: 4 at the same batch" in found
        or needed(PLANNED.changed(micro_batch_rows=4), machine).total > machine.free_bytes
    )


def test_a_small_gpu_gets_4_bits_proposed() -> None:
    changes = [p.change for p in proposals(PLANNED, gpu(16))]
    assert any("adapter: qlora" in change for change in changes)
    assert not any(change.startswith("train.micro_batch_rows") for change in changes)


def test_shorter_rows_are_proposed_by_their_limit() -> None:
    assert any(p.change.startswith("checks.max_tokens: 256 ") for p in proposals(PLANNED, gpu(40)))


def test_where_nothing_is_enough_it_says_so() -> None:
    assert "smaller base model" in refused(gpu(4)).remedy
