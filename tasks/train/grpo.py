"""Learning from own answers that a rule scores: GRPO (arXiv 2402.03300), with one update for each sampled group.

For each prompt the model answers several times at temperature 1; an answer is worth what `reward` says of it beside
the row's reference answer, and counts by how much it is better or worse than the others of its prompt. Every step
samples anew, with torch's random state, which checkpoints hold: a resumed training samples the same answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.contracts import Row
from tasks.errors import TrainingFailed, UsageError
from tasks.tokens import Encoded, decode_answer, encode_prompt, stop_token_id
from tasks.train.data import collate
from tasks.train.objective import Micro, Objective
from tasks.train.recipe import Recipe
from tasks.train.reward import reward

if TYPE_CHECKING:
    from torch import Tensor

_CLIP = 0.2
_TINY = 1e-4


@dataclass(frozen=True)
class Asked:
    """A prompt, and the number of the row whose answer is the reference."""

    prompt: tuple[int, ...]
    reference: str
    number: int


@dataclass(frozen=True)
class Sampled:
    """One answer of the model to a prompt, and what it is worth."""

    sequence: Encoded
    worth: float


def sampled(prompt: int, recipe: Recipe) -> Micro:
    """What the answers to a prompt of so many tokens cost."""
    samples = recipe.samples_per_prompt
    return Micro((prompt + recipe.answer_tokens,) * samples, recipe.answer_tokens * samples)


class GroupRelative(Objective[Asked]):
    """Make answers likelier that are worth more than the model's other answers to the same prompt."""

    unit = "prompts"
    measured = ("reward",)

    def __init__(self, recipe: Recipe, max_tokens: int, pad: int) -> None:
        self.recipe, self.max_tokens, self.pad = recipe, max_tokens, pad
        self.tokenizer: Any = None
        self._asked: dict[int, Asked] = {}
        self._start: dict[str, Tensor] = {}

    def examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[Asked]:
        self.tokenizer = tokenizer
        made = [self._ask(row, len(self._asked) + place) for place, row in enumerate(rows)]
        self._asked |= {asked.number: asked for asked in made}
        return made

    def _ask(self, row: Row, number: int) -> Asked:
        prompt = self._prompt(row) if row.answer else ()
        why = "" if row.answer else "it has no reference answer"
        if len(prompt) + self.recipe.answer_tokens > self.max_tokens:
            why = (
                f"{len(prompt)} tokens and {self.recipe.answer_tokens} of the answer; the model reads {self.max_tokens}"
            )
        if why:
            raise TrainingFailed(
                "a training row cannot be asked",
                where=f"row {row.row_id}",
                why=why,
                remedy="lower train.answer_tokens or checks.max_tokens, or remove the row",
            )
        return Asked(prompt, row.answer, number)

    def _prompt(self, row: Row) -> tuple[int, ...]:
        """With the definitions of its tools: answers are sampled to the question as it will be asked."""
        try:
            return tuple(encode_prompt(self.tokenizer, row.prompt, row.tools))
        except UsageError as error:
            raise TrainingFailed(
                error.what, where=f"row {row.row_id}", why=error.why, remedy=error.remedy, code="TL-TRAIN-DATA"
            ) from error

    def tokens(self, example: Asked) -> int:
        """As if every answer were as long as it may be: how long it becomes is not known before."""
        return self.recipe.samples_per_prompt * (len(example.prompt) + self.recipe.answer_tokens)

    def computed(self, example: Asked) -> Micro:
        """Answers as long as they may become. What sampling them takes is part of the rate that a calibration finds."""
        return sampled(len(example.prompt), self.recipe)

    def units(self, example: Asked) -> int:  # noqa: ARG002 (each counts as much)
        return 1

    def prepare(self, model: Any, examples: Sequence[Asked], folder: Path) -> None:  # noqa: ARG002 (small enough to be kept)
        """The learned tensors as they are now are the reference: a copy of them is all that has to be kept."""
        self._start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def batch(self, examples: Sequence[Asked]) -> dict[str, Tensor]:
        import torch

        return {"asked": torch.tensor([example.number for example in examples])}

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        import torch

        from tasks.train.log_probs import learned_log_probs

        asked = [self._asked[number] for number in batch["asked"].tolist()]
        groups = [self._answers(model, one, self.recipe.samples_per_prompt) for one in asked]
        made = collate([sampled.sequence for group in groups for sampled in group], self.pad)
        worth = torch.tensor([[sampled.worth for sampled in group] for group in groups])
        advantages = ((worth - worth.mean(1, keepdim=True)) / (worth.std(1, keepdim=True) + _TINY)).flatten()
        now, learned = learned_log_probs(model, made["input_ids"], made["labels"])
        with torch.no_grad(), self._as_before(model):
            before, _ = learned_log_probs(model, made["input_ids"], made["labels"])
        losses = token_losses(now, before, advantages.to(now.device)[:, None], self.recipe.beta)
        means = (losses * learned).sum(1) / learned.sum(1)
        return means.sum() / self.recipe.samples_per_prompt

    @contextlib.contextmanager
    def _as_before(self, model: Any) -> Iterator[None]:
        """The model with the learned tensors it had before training."""
        learned = {name: p for name, p in model.named_parameters() if name in self._start}
        now = {name: p.data for name, p in learned.items()}
        try:
            for name, parameter in learned.items():
                parameter.data = self._start[name]
            yield
        finally:
            for name, parameter in learned.items():
                parameter.data = now[name]

    def _answers(self, model: Any, asked: Asked, count: int, *, greedy: bool = False) -> list[Sampled]:
        """Answers to one prompt: without padding, so that no mask can go wrong."""
        import torch

        from tasks.train.adapter import causal_model

        causal, stop = causal_model(model), stop_token_id(self.tokenizer)
        training = model.training
        model.eval()
        settings = _settings(stop, self.recipe.answer_tokens, greedy=greedy)
        ids = torch.tensor([asked.prompt] * count, device=causal.device)
        with torch.no_grad(), _generating_by(causal, settings):
            made = causal.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        model.train(training)
        return [self._sampled(asked, answer, stop) for answer in made[:, ids.shape[1] :].tolist()]

    def _sampled(self, asked: Asked, answer: list[int], stop: int) -> Sampled:
        ended = stop in answer
        answer = answer[: answer.index(stop) + 1] if ended else answer
        worth = reward(decode_answer(self.tokenizer, answer), asked.reference, ended=ended)
        learned = [False] * len(asked.prompt) + [True] * len(answer)
        return Sampled(Encoded(input_ids=[*asked.prompt, *answer], learned=learned), worth)

    def measures(self, model: Any, examples: Sequence[Asked]) -> dict[str, float]:
        """Mean worth of the likeliest answers to prompts that were not learned from."""
        found = [self._answers(model, asked, 1, greedy=True)[0].worth for asked in examples]
        return {"reward": sum(found) / len(found)} if found else {}


def _settings(stop: int, answer_tokens: int, *, greedy: bool) -> Any:
    """How an answer is made: drawn from the model's own shares, or its likeliest one."""
    from transformers import GenerationConfig

    drawn: dict[str, Any] = {} if greedy else {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        do_sample=not greedy, max_new_tokens=answer_tokens, eos_token_id=stop, pad_token_id=stop, **drawn
    )


@contextlib.contextmanager
def _generating_by(causal: Any, settings: Any) -> Iterator[None]:
    """The model without the settings that came with it: what these leave open, `generate` takes from there.

    A temperature or a penalty of the model's own would draw from other shares than the loss computes with.
    """
    own = causal.generation_config
    causal.generation_config = settings
    try:
        yield
    finally:
        causal.generation_config = own


def token_losses(now: Tensor, before: Tensor, advantages: Tensor, beta: float) -> Tensor:
    """Loss of each sampled token: clipped policy gradient and divergence from the start (equations 3 and 4).

    Answers are sampled from the model as it is, and used once: the ratio is 1, and only its gradient counts. The
    clipping is the paper's and takes effect when sampled answers are used again.
    """
    import torch

    ratio = torch.exp(now - now.detach())
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - _CLIP, 1 + _CLIP) * advantages)
    divergence = torch.exp(before - now) - (before - now) - 1
    loss: Tensor = beta * divergence - gain
    return loss
