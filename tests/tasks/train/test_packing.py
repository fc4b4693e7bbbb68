"""Rows of a pack are isolated from one another: losses, gradients, masks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tasks.tokens import Encoded
from tasks.train import llama_layers
from tasks.train.batches import packed
from tasks.train.data import IGNORED, collate
from tasks.train.forward import answer_loss, hidden_states, whole_loss
from tasks.train.llama_layers import fuse
from tasks.train.packing import block_mask, by_row, by_token, mask_as_text, segments_of
from tests.tasks.train.test_llama_layers import adapted

ROWS, LONGEST, BATCH = 1000, 60, 20


def rows_of(count: int, seed: int = 1) -> list[Encoded]:
    """Rows of random tokens, 2 to LONGEST long; a part of each is learned."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        length = min(LONGEST, 2 + int(chance.expovariate(1 / 12)))
        first = chance.randrange(length - 1)
        rows.append(Encoded([chance.randrange(3, 200) for _ in range(length)], [i > first for i in range(length)]))
    return rows


def model_of(folder: Path, *, fused: bool) -> Any:
    """The tiny model in fp32 with an adapter that is not zero."""
    model = adapted(folder)
    if fused:
        fuse(model.get_base_model())
    return model


def row_losses(model: Any, rows: list[Encoded], *, pack: bool) -> list[float]:
    """The loss of each row, the mean over its learned tokens; in the order of `packed` (short rows first)."""
    rows = sorted(rows, key=lambda row: len(row.input_ids))
    batch = packed(rows) if pack else collate(rows, pad=2)
    causal = model.get_base_model()
    with torch.no_grad():
        logits = causal.get_output_embeddings()(hidden_states(causal, batch))
    targets = functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    tokens = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    parts = tokens.split([len(row.input_ids) for row in rows]) if pack else tokens.view(len(rows), -1).unbind()
    return [float(part.double().sum() / sum(row.learned[1:])) for part, row in zip(parts, rows, strict=True)]


@pytest.mark.parametrize("fused", [True, False])
def test_every_row_of_a_thousand_has_the_loss_it_has_alone(tiny_model: Path, fused: bool) -> None:
    """Packed by our attention by rows, or by the mask of blocks; the reference is the unfused model, padded."""
    model, plain = model_of(tiny_model, fused=fused), model_of(tiny_model, fused=False)
    rows = rows_of(ROWS)
    assert len({len(row.input_ids) for row in rows}) > 30
    for start in range(0, ROWS, BATCH):
        part = rows[start : start + BATCH]
        ours, theirs = row_losses(model, part, pack=True), row_losses(plain, part, pack=False)
        assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-5


@pytest.mark.parametrize("short_scores", [4_000_000, 5_000, 0])
def test_a_changed_row_changes_no_other(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, short_scores: int) -> None:
    monkeypatch.setattr(llama_layers, "_SHORT_SCORES", short_scores)
    model = model_of(tiny_model, fused=True)
    rows = sorted(rows_of(12), key=lambda row: len(row.input_ids))
    before = row_losses(model, rows, pack=True)
    for changed in (0, 5, 11):
        other = Encoded([203 - token for token in rows[changed].input_ids], rows[changed].learned)
        after = row_losses(model, [*rows[:changed], other, *rows[changed + 1 :]], pack=True)
        assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [changed]


def test_a_row_has_no_gradient_from_another(tiny_model: Path) -> None:
    """The loss of one row depends on the embeddings of its own tokens only."""
    model = model_of(tiny_model, fused=True)
    causal = model.get_base_model()
    batch = packed(rows_of(6))
    lengths = batch["lengths"].tolist()
    start = sum(lengths[:3])
    states: list[torch.Tensor] = []
    embed = causal.get_input_embeddings().register_forward_hook(
        lambda _module, _given, out: states.append(out.requires_grad_()) or out
    )
    hidden = hidden_states(causal, batch)
    embed.remove()
    (gradient,) = torch.autograd.grad(hidden[0, start : start + lengths[3]].square().sum(), states[0])
    touched = gradient[0].abs().sum(1).nonzero().flatten().tolist()
    assert touched == list(range(start, start + lengths[3]))


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("fused", "loss"), [(True, answer_loss), (False, whole_loss), (True, whole_loss)])
def test_a_pack_learns_what_its_rows_learn_padded(tiny_model: Path, fused: bool, loss: Any) -> None:
    model, plain, rows = model_of(tiny_model, fused=fused), model_of(tiny_model, fused=False), rows_of(16)
    ours, theirs = loss(model, packed(rows)), whole_loss(plain, collate(rows, pad=2))
    torch.testing.assert_close(ours, theirs)
    expected = gradients(plain, theirs)
    for name, gradient in gradients(model, ours).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4, msg=name)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
@settings(deadline=None, max_examples=60)
def test_groups_hold_every_token_once(lengths: list[int]) -> None:
    segments = segments_of(sorted(lengths))
    x = torch.randn(sum(lengths), 2, dtype=torch.float64).requires_grad_()
    parts = x.split([group.tokens for group in segments.groups])
    back = torch.cat([by_token(by_row(part, g), g) for part, g in zip(parts, segments.groups, strict=True)])
    assert torch.equal(back, x)
    assert torch.equal(torch.autograd.grad(back.square().sum(), x)[0], 2 * x)
    scores = sum(group.rows * group.length**2 for group in segments.groups)
    assert scores <= sum(n**2 for n in lengths) / 0.85 + 1e-6


def test_the_mask_of_a_pack() -> None:
    assert mask_as_text(block_mask([2, 1, 3])).splitlines() == [
        "■ · · · · ·",
        "■ ■ · · · ·",
        "· · ■ · · ·",
        "· · · ■ · ·",
        "· · · ■ ■ ·",
        "· · · ■ ■ ■",
    ]
