"""Formulas of the preference methods, on summed log-probabilities of answers. Pure.

Each takes what the model gives an answer now and what it gave it before training (the reference), both as sums over
the answer's tokens in nats, and returns one loss for each pair or answer.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def dpo(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Direct preference optimisation (arXiv 2305.18290, equation 7).

    Args:
        chosen: log ratio of the chosen answer, now minus reference, for each pair.
        rejected: the same of the rejected answer.
        beta: how closely the model stays to its start.
    """
    return -functional.logsigmoid(beta * (chosen - rejected))


def ipo(chosen: Tensor, rejected: Tensor, chosen_tokens: Tensor, rejected_tokens: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation (arXiv 2310.12036, equation 17; beta is the paper's tau).

    Each log ratio is divided by the tokens of its answer, as TRL does after asking the authors: the paper's numbers
    were made that way, and a sum would let the length decide how far an answer has to move.
    """
    return (chosen / chosen_tokens - rejected / rejected_tokens - 1 / (2 * beta)).square()


def kto(ratios: Tensor, desirable: Tensor, divergence: Tensor, beta: float) -> Tensor:
    """Kahneman-Tversky optimisation (arXiv 2402.01306, equation 7; both weights 1).

    Args:
        ratios: log ratio of each answer, now minus reference.
        desirable: whether each answer is one to be learned.
        divergence: estimate of how far the model has moved from its start, at least 0; without gradient.
    """
    gain = (ratios - divergence) * beta
    return 1 - functional.sigmoid(gain.where(desirable, -gain))
