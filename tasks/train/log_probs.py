"""Log-probabilities of learned tokens and whole answers, without the logits of all tokens at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.inference.head import PLAIN, Finish, bias_of, finish_of, products
from tasks.train.adapter import causal_model
from tasks.train.data import IGNORED
from tasks.train.fused import apply

_Gradients = tuple[Tensor | None, ...]


class TokenLogProbs(torch.autograd.Function):
    """Log-probability of each target under a head, computed in slices.

    Args of apply: hidden (tokens, width), head (vocabulary, width), targets (tokens), the head's bias (vocabulary) or
    None, and what the model makes of the products. Returns (tokens). With a frozen head the gradient is made on the way
    forward, while a slice's logits are in the cache; a head that learns has its logits computed again on the way back.
    """

    SLICE_TOKENS = 256

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, bias: Tensor | None = None, finish: Finish = PLAIN
    ) -> Tensor:
        directions, found = [], []
        ctx.bias_learns = bias is not None and ctx.needs_input_grad[3]
        ctx.head_learns, ctx.finish = ctx.needs_input_grad[1] or ctx.bias_learns, finish
        now = ctx.needs_input_grad[0] and not ctx.head_learns
        for part, wanted in _slices(hidden, targets):
            logits, log_shares = _log_shares(part, head, bias, finish)
            found.append(log_shares.gather(1, wanted)[:, 0])
            if now:
                directions.append(_direction(logits, log_shares, wanted, finish).to(head.dtype) @ head)
        ctx.save_for_backward(*((torch.cat(directions),) if now else (hidden, head, targets, bias)))
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        if not ctx.head_learns:
            (direction,) = ctx.saved_tensors
            return direction * grad[:, None].to(direction.dtype), None, None, None, None
        hidden, head, targets, bias = ctx.saved_tensors
        to_hidden, to_head = [], torch.zeros_like(head, dtype=_precise(head))
        to_bias = to_head.new_zeros(len(head))
        slices = zip(_slices(hidden, targets), torch.split(grad, TokenLogProbs.SLICE_TOKENS), strict=True)
        for (part, wanted), weights in slices:
            logits, log_shares = _log_shares(part, head, bias, ctx.finish)
            precise = _direction(logits, log_shares, wanted, ctx.finish) * weights[:, None]
            direction = precise.to(head.dtype)
            to_hidden.append(direction @ head)
            to_head += direction.t() @ part
            to_bias += precise.sum(0)
        back = to_bias.to(bias.dtype) if ctx.bias_learns else None
        return torch.cat(to_hidden), to_head.to(head.dtype), None, back, None


def _slices(hidden: Tensor, targets: Tensor) -> Any:
    size = TokenLogProbs.SLICE_TOKENS
    return list(zip(torch.split(hidden, size), torch.split(targets[:, None], size), strict=True))


def _precise(tensor: Tensor) -> torch.dtype:
    """At least fp32: sums over a vocabulary need it."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _log_shares(part: Tensor, head: Tensor, bias: Tensor | None, finish: Finish) -> tuple[Tensor, Tensor]:
    """Logits of a slice, and the logarithms of their softmax."""
    logits = finish.logits(products(part, head, bias))
    return logits, torch.log_softmax(logits, dim=-1, dtype=_precise(part))


def _direction(logits: Tensor, log_shares: Tensor, wanted: Tensor, finish: Finish) -> Tensor:
    """Gradient of the target's log-probability by the products: one at the target minus all shares, by the slope."""
    shares = log_shares.exp_().neg_()
    shares.scatter_add_(1, wanted, shares.new_ones(wanted.shape))
    return shares if finish.plain else shares.mul_(finish.slope(logits))


def token_log_probs(
    hidden: Tensor, head: Tensor, targets: Tensor, bias: Tensor | None = None, finish: Finish = PLAIN
) -> Tensor:
    """Log-probability (tokens) of the targets after the final hidden states (tokens, width)."""
    added = None if bias is None else bias.to(hidden.dtype)
    return apply(TokenLogProbs, hidden, head.to(hidden.dtype), targets, added, finish)


def answer_log_probs(model: Any, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of a right-padded batch: summed log-probability of its learned tokens, and their number."""
    found, learned = learned_log_probs(model, ids, labels)
    return found.sum(1), learned.sum(1)


def learned_log_probs(model: Any, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each row and position of a right-padded batch: log-probability of the next token, 0 where it is not learned.

    The second tensor says where it is learned. Only states that predict a learned token reach the head.
    """
    causal = causal_model(model)
    ids, targets = ids.to(causal.device), labels[:, 1:].to(causal.device)
    wanted = targets != IGNORED
    hidden = causal.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][wanted]
    head = causal.get_output_embeddings().weight
    found = token_log_probs(hidden, head, targets[wanted], bias_of(causal), finish_of(causal))
    empty = torch.zeros(targets.shape, dtype=found.dtype, device=found.device)
    return empty.masked_scatter(wanted, found), wanted
