"""Log-probabilities in slices are those of the whole logits, and so are their gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.inference.weights import load_base
from tasks.train.data import IGNORED
from tasks.train.fused import apply
from tasks.train.log_probs import TokenLogProbs, answer_log_probs, token_log_probs

TARGETS = torch.tensor([0, 4, 8, 2, 2, 7, 1])


@pytest.mark.parametrize("slice_tokens", [3, 256])
@pytest.mark.parametrize("head_learns", [False, True])
def test_gradients(monkeypatch: pytest.MonkeyPatch, slice_tokens: int, head_learns: bool) -> None:
    monkeypatch.setattr(TokenLogProbs, "SLICE_TOKENS", slice_tokens)
    torch.manual_seed(0)
    hidden = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    head = torch.randn(9, 4, dtype=torch.float64, requires_grad=head_learns)
    assert torch.autograd.gradcheck(lambda h, w: apply(TokenLogProbs, h, w, TARGETS), (hidden, head))
    expected = torch.log_softmax(hidden @ head.t(), -1).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(token_log_probs(hidden, head, TARGETS), expected)


def test_answers_of_a_batch(tiny_model: Path) -> None:
    model = load_base(tiny_model, "none").float()
    ids = torch.arange(3, 27).view(2, 12)
    labels = ids.clone()
    labels[0, :7], labels[1, :3], labels[1, 9:] = IGNORED, IGNORED, IGNORED
    sums, counts = answer_log_probs(model, ids, labels)
    shares = torch.log_softmax(model(input_ids=ids).logits, -1)
    expected = [
        sum(float(shares[row, place - 1, ids[row, place]]) for place in places)
        for row, places in ((0, range(7, 12)), (1, range(3, 9)))
    ]
    assert counts.tolist() == [5, 6]
    assert sums.tolist() == pytest.approx(expected, rel=1e-4)
