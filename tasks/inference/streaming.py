"""Choosing the next token, and turning tokens into text that can be sent piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

_INCOMPLETE = "\ufffd"  # what a decoder writes for bytes that are no whole character yet


@dataclass(frozen=True)
class Finished:
    """How a streamed answer ended."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


def pick_token(logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> int:
    """The next token of one row: the likeliest at temperature 0, else drawn from the smallest set of mass `top_p`."""
    import torch

    if temperature <= 0:
        return int(logits.argmax())
    shares, tokens = torch.softmax(logits.float() / temperature, dim=-1).sort(descending=True)
    before = shares.cumsum(0) - shares
    shares = torch.where(before < top_p, shares, torch.zeros_like(shares))
    return int(tokens[torch.multinomial(shares, 1, generator=generator)])


class TextStream:
    """Text of growing token ids: whole characters only, and nothing of what a stop string may turn out to be."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(filter(None, stop))
        self._ids: list[int] = []
        self._sent = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; the text that may be sent now (often nothing)."""
        self._ids.append(token)
        text = self._text()
        if text.endswith(_INCOMPLETE):
            return ""
        found = [place for s in self._stop if (place := text.find(s)) >= 0]
        if found:
            self.stopped = True
            return self._send(text, min(found))
        return self._send(text, len(text) - self._possible_stop(text))

    def flush(self) -> str:
        """What was held back, at the end of the answer."""
        text = self._text()
        return "" if self.stopped else self._send(text, len(text))

    def _text(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _send(self, text: str, end: int) -> str:
        piece = text[self._sent : end]
        self._sent = max(self._sent, end)
        return piece

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        return max((n for s in self._stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
