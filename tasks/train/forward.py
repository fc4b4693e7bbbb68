"""A micro-batch through the model: to the states before the head, and to the summed loss of its learned tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tasks.inference.head import bias_of, finish_of
from tasks.train.adapter import causal_model
from tasks.train.batches import LENGTHS, is_packed
from tasks.train.data import IGNORED
from tasks.train.fused import AnswerLoss, Chosen, apply
from tasks.train.layers import FLASH
from tasks.train.llama_layers import is_fused
from tasks.train.packing import block_mask, segments_of


def answer_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Only the states of learned tokens meet the vocabulary, in slices; no logits are kept."""
    causal = causal_model(model)
    # the last token of a row predicts nothing
    targets = functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED).flatten().to(causal.device)
    places = (targets != IGNORED).nonzero().squeeze(1)
    chosen = apply(Chosen, hidden_states(causal, batch).flatten(0, 1), places)
    head = causal.get_output_embeddings().weight
    return apply(AnswerLoss, chosen, head, targets[places], bias_of(causal), finish_of(causal))


def hidden_states(causal: Any, batch: dict[str, Tensor]) -> Tensor:
    """What the decoder makes of every token of a batch: (rows, positions, width)."""
    states: Tensor = causal.get_decoder()(**_inputs(causal, batch), use_cache=False).last_hidden_state
    return states


def whole_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The model's own forward and loss, logits of all tokens included."""
    causal = causal_model(model)
    out = causal(
        **_inputs(causal, batch), labels=batch["labels"].to(causal.device), num_items_in_batch=1, use_cache=False
    )
    loss: Tensor = out.loss
    return loss


def _inputs(causal: Any, batch: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments of the decoder. A packed batch says in the form that its attention understands where rows begin."""
    ids = batch["input_ids"].to(causal.device)
    if not is_packed(batch):
        return {"input_ids": ids}
    inputs = {"input_ids": ids, "position_ids": batch["position_ids"].to(causal.device)}
    lengths = batch[LENGTHS].tolist()
    if is_fused(causal):
        # a mask of four dimensions is handed on as it is; the fused attention looks at the segments only
        return inputs | {"attention_mask": ids.new_zeros((1, 1, 1, 1)), "segments": segments_of(lengths)}
    if causal.config._attn_implementation == FLASH:
        return inputs  # positions that start again tell FlashAttention where rows begin
    dtype = torch.float32 if causal.dtype == torch.float32 else torch.bfloat16
    closed = ~block_mask(lengths).to(causal.device)
    mask = torch.zeros(closed.shape, dtype=dtype, device=causal.device).masked_fill_(closed, torch.finfo(dtype).min)
    return inputs | {"attention_mask": mask[None, None]}
