"""A model ready to answer: loads base and adapter, generates in batches, streams, and measures losses.

The same class answers in evaluation, in the smoke call before a release and in the gateway. It is not made for
several callers at once: whoever shares an engine between threads holds a lock around each call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.adapters.cycles import collect_as_usual
from tasks.contracts import BaseModelRef, Message, Precision, Quantization
from tasks.inference.batching import longest_first, padded, shared_prefix
from tasks.inference.cache import make_cache, seeded_cache
from tasks.inference.head import finish_of
from tasks.inference.lora import attach
from tasks.inference.streaming import Finished, TextStream, pick_token
from tasks.inference.weights import is_whole_model, load_base
from tasks.tokens import Encoded, decode_answer, encode_example, encode_prompt, load_tokenizer, stop_token_id

if TYPE_CHECKING:
    import torch

OnProgress = Callable[[int, int], None]  # rows done, rows in all
_COMPACT_SHARE = 0.75  # finished rows leave the batch once at most this share of it is still running


class Engine:
    """A base model with or without an adapter. Make it with `Engine.load`."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._decoder, self._head = model.get_decoder(), model.get_output_embeddings()
        self._finish = finish_of(model)
        self._layers: int = model.config.get_text_config().num_hidden_layers
        self._stop = stop_token_id(tokenizer)

    @classmethod
    def load(cls, base: BaseModelRef, adapter: Path | None, quantization: Quantization) -> Engine:
        """Load from disk. nf4: the base has the values of 4-bit training, expanded to dense weights.

        `adapter` is the folder of an adapter, or of a fully trained model: then only tokenizer and template are the
        base's.
        """
        whole = adapter is not None and is_whole_model(adapter)
        model = load_base(adapter if adapter is not None and whole else Path(base.path), quantization)
        if adapter is not None and not whole:
            attach(model, adapter)
        engine = cls(model, load_tokenizer(Path(base.path)))
        collect_as_usual()
        return engine

    @property
    def precision(self) -> Precision:
        """The type that the model is computed in."""
        import torch

        return "bf16" if self.model.dtype == torch.bfloat16 else "fp32"

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        max_new_tokens: int,
        batch_rows: int,
        on_progress: OnProgress | None = None,
        tools: Sequence[str] | None = None,
    ) -> list[str]:
        """Greedy answers, in the order of the prompts; `tools` has the definitions that each of them could call."""
        import torch

        defined = tools or [""] * len(prompts)
        encoded = [encode_prompt(self.tokenizer, p, t) for p, t in zip(prompts, defined, strict=True)]
        shared = shared_prefix(encoded)
        answers = [""] * len(encoded)
        done = 0
        with torch.inference_mode():
            prefix = self._prefix_cache(encoded[0][:shared] if shared else [])
            for batch in longest_first(encoded, batch_rows):
                made = self._greedy([encoded[row][shared:] for row in batch], prefix, shared, max_new_tokens)
                for row, ids in zip(batch, made, strict=True):
                    answers[row] = decode_answer(self.tokenizer, ids)
                done += len(batch)
                if on_progress:
                    on_progress(done, len(encoded))
        return answers

    def answer_losses(
        self,
        examples: Sequence[Sequence[Message]],
        batch_rows: int,
        on_progress: OnProgress | None = None,
        tools: Sequence[str] | None = None,
    ) -> list[tuple[float, int]]:
        """For each example: summed negative log likelihood (nats) of its answer, and the answer's tokens.

        The answer's tokens include the one that ends it, as in training.
        """
        import torch

        defined = tools or [""] * len(examples)
        encoded = [encode_example(self.tokenizer, e, tools=t) for e, t in zip(examples, defined, strict=True)]
        prompts = [e.input_ids[: e.learned.index(True)] for e in encoded]
        shared = shared_prefix(prompts)
        losses = [(0.0, 0)] * len(encoded)
        done = 0
        with torch.inference_mode():
            prefix = self._prefix_cache(prompts[0][:shared] if shared else [])
            for batch in longest_first([e.input_ids for e in encoded], batch_rows):
                found = self._losses([encoded[row] for row in batch], prefix, shared)
                for row, loss in zip(batch, found, strict=True):
                    losses[row] = loss
                done += len(batch)
                if on_progress:
                    on_progress(done, len(encoded))
        return losses

    def stream(
        self,
        messages: Sequence[Message],
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Generator[str, None, Finished]:
        """Yield an answer's text as it is made; the generator's return value says how it ended and its length."""
        import torch

        prompt = encode_prompt(self.tokenizer, messages)
        text = TextStream(self.tokenizer, stop)
        generator = torch.Generator().manual_seed(seed) if seed is not None else None
        cache = make_cache(self._layers, len(prompt) + max_new_tokens)
        ids, count, ended = prompt, 0, False
        while count < max_new_tokens and not ended:
            with torch.inference_mode():  # entered anew for each token: the consumer runs between two of them
                logits = self._next_logits(torch.tensor([ids]), None, cache)[0]
            token = pick_token(logits.cpu(), temperature, top_p, generator)
            count, ids = count + 1, [token]
            if token == self._stop:
                ended = True
            elif piece := text.push(token):
                yield piece
            ended = ended or text.stopped
        if rest := text.flush():
            yield rest
        return Finished("stop" if ended else "length", len(prompt), count)

    # --- one batch ---------------------------------------------------------------------------------------------

    def _prefix_cache(self, ids: list[int]) -> Any:
        """Keys and values of a beginning that all rows share; None without one."""
        import torch

        if not ids:
            return None
        cache = make_cache(self._layers, len(ids))
        self._hidden(torch.tensor([ids]), None, cache)
        return cache

    def _cache(self, prefix: Any, rows: int, capacity: int) -> Any:
        return seeded_cache(prefix, rows, capacity) if prefix else make_cache(self._layers, capacity)

    def _greedy(self, rows: list[list[int]], prefix: Any, shared: int, max_new_tokens: int) -> list[list[int]]:
        """Generated ids of each row, the stop token included where it came."""
        import torch

        ids, own = padded(rows, self._stop, left=True)
        mask = torch.cat([torch.ones(len(rows), shared, dtype=torch.long), own], dim=1)
        cache = self._cache(prefix, len(rows), mask.shape[1] + max_new_tokens)
        made: list[list[int]] = [[] for _ in rows]
        running = list(range(len(rows)))
        for _ in range(max_new_tokens):
            tokens = self._next_logits(ids, mask, cache).argmax(-1).cpu()
            for row, token in zip(running, tokens.tolist(), strict=True):
                if not made[row] or made[row][-1] != self._stop:
                    made[row].append(token)
            keep = [i for i, row in enumerate(running) if made[row][-1] != self._stop]
            if not keep:
                break
            if len(keep) <= _COMPACT_SHARE * len(running):
                cache.batch_select_indices(torch.tensor(keep))
                mask, tokens, running = mask[keep], tokens[keep], [running[i] for i in keep]
            ids = tokens[:, None]
            mask = torch.cat([mask, torch.ones(len(running), 1, dtype=torch.long)], dim=1)
        return made

    def _losses(self, rows: list[Encoded], prefix: Any, shared: int) -> list[tuple[float, int]]:
        import torch

        ids, own = padded([row.input_ids[shared:] for row in rows], self._stop, left=False)
        learned, _ = padded([list(map(int, row.learned[shared:])) for row in rows], 0, left=False)
        mask = None  # what is padded comes after everything real: causal attention never looks at it
        if prefix:
            mask = torch.cat([torch.ones(len(rows), shared, dtype=torch.long), own], dim=1)
        hidden = self._hidden(ids, mask, self._cache(prefix, len(rows), shared + ids.shape[1]))
        wanted = learned[:, 1:].bool()  # position i predicts token i + 1; the first learned token has a predecessor
        logits = self._finish.logits(self._head(hidden[:, :-1][wanted])).float()
        nll = torch.nn.functional.cross_entropy(logits, ids[:, 1:][wanted].to(logits.device), reduction="none").cpu()
        counts = wanted.sum(1).tolist()
        return [(float(part.double().sum()), n) for part, n in zip(torch.split(nll, counts), counts, strict=True)]

    def _next_logits(self, ids: torch.Tensor, mask: torch.Tensor | None, cache: Any) -> torch.Tensor:
        return self._finish.logits(self._head(self._hidden(ids, mask, cache)[:, -1]))

    def _hidden(self, ids: torch.Tensor, mask: torch.Tensor | None, cache: Any) -> torch.Tensor:
        """Final hidden states of the new tokens `ids`; `mask` covers what is in the cache and the new tokens."""
        device = self.model.device
        positions = None
        if mask is not None:
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :].to(device)
            mask = None if bool(mask.all()) else mask.to(device)
        out = self._decoder(
            input_ids=ids.to(device), attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return out.last_hidden_state  # type: ignore[no-any-return]
