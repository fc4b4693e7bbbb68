"""What a causal language model does to the products of its head before they are logits: a factor, and a cap.

Llama's logits are the products themselves. Granite divides them, Cohere and Falcon-H1 multiply them, Gemma bends them
below a cap. Whoever computes logits outside of the model's own forward pass, in slices or of single tokens, takes
`finish_of` for it, so that every number is the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.errors import ModelUnavailable

if TYPE_CHECKING:
    from torch import Tensor

_CAPS = ("final_logit_softcapping", "logits_soft_cap")
_MULTIPLIES = "hyperclovax"  # has Granite's name for its factor, and multiplies by it
_UNKNOWN = ("output_multiplier",)  # settings of heads that nothing here computes


@dataclass(frozen=True)
class Finish:
    """Logits of products p: `scale * p`, with a cap `cap * tanh(scale * p / cap)`."""

    scale: float = 1.0
    cap: float | None = None

    @property
    def plain(self) -> bool:
        """Whether the products are the logits."""
        return self.scale == 1.0 and self.cap is None

    def logits(self, products: Tensor) -> Tensor:
        """Logits of products (tokens, vocabulary); at least in fp32 where they are changed."""
        if self.plain:
            return products
        import torch

        scaled = products.to(torch.promote_types(products.dtype, torch.float32)) * self.scale
        return scaled if self.cap is None else torch.tanh(scaled / self.cap) * self.cap

    def slope(self, logits: Tensor) -> Tensor | float:
        """How much each logit grows with its product."""
        return self.scale if self.cap is None else self.scale * (1 - (logits / self.cap) ** 2)


PLAIN = Finish()


def products(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Products (tokens, vocabulary) of states (tokens, width) with a head, in the states' type."""
    import torch

    return states @ weight.t() if bias is None else torch.addmm(bias, states, weight.t())


def bias_of(model: Any) -> Tensor | None:
    """What the head of a causal language model adds to every product, as Phi's does; None: nothing."""
    bias: Tensor | None = getattr(model.get_output_embeddings(), "bias", None)
    return bias


def finish_of(model: Any) -> Finish:
    """What a causal language model makes of the products of its head.

    Raises:
        ModelUnavailable: its configuration asks for something that is not known here.
    """
    config = model.config.get_text_config()
    odd = [name for name in _UNKNOWN if getattr(config, name, None) not in (None, 1)]
    if odd:
        raise ModelUnavailable(
            "the head of this base model is not supported",
            where="model.base",
            why=f"{type(model).__name__} changes its logits by {', '.join(odd)}",
            remedy="use a base model of another architecture",
        )
    cap = next((value for name in _CAPS if (value := getattr(config, name, None))), None)
    return Finish(_scale(model, config), None if cap is None else float(cap))


def _scale(model: Any, config: Any) -> float:
    """The factor. Other models have settings of the same names and do not use them: those keep it on themselves."""
    scaling = float(getattr(config, "logits_scaling", None) or 1.0)
    own = float(getattr(model, "logit_scale", None) or 1.0)
    own *= float(getattr(model.get_decoder(), "lm_head_multiplier", None) or 1.0)
    return own * (scaling if config.model_type.startswith(_MULTIPLIES) else 1.0 / scaling)
