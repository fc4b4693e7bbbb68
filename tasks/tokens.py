"""Messages → token ids and learned-token mask: the only place, for training, evaluation and the gateway.

Prompt and answer are encoded apart from each other and joined, so the tokens a model is asked with are exactly the
tokens it was trained after; earlier answers in a prompt have the tokens that the model answered with. A system message
is never added: a template that would add one of its own is replaced by its plain form, or refused. Special tokens
written inside a message's text, a call or a definition of a tool are encoded as ordinary text.

Loading a tokenizer does not import torch.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.chat_template import neutral_template, own_templates, render
from tasks.contracts import Message
from tasks.errors import ModelUnavailable, UsageError

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters: mark the place of a special token written as text
LossOn = Literal["completion", "assistant", "all"]


@dataclass(frozen=True)
class Encoded:
    """One training example: `learned[i]` says whether the loss counts the prediction of `input_ids[i]`."""

    input_ids: list[int]
    learned: list[bool]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder` (a transformers fast tokenizer), with a template that adds no text of its own.

    Raises:
        ModelUnavailable: no tokenizer.json or chat template, or a template that cannot be made neutral.
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise ModelUnavailable(
            "the model has no tokenizer.json", where=str(folder), remedy="add the tokenizer in the 'fast' format"
        )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    tokenizer.chat_template, tokenizer.tool_template = own_templates(tokenizer)
    tokenizer.chat_template = neutral_template(tokenizer, where=str(folder))
    stop_token_id(tokenizer)
    return tokenizer


def stop_token_id(tokenizer: Any) -> int:
    """Id of the special token that ends an answer in this template: learned in training, ends generation."""
    return _stop_token_id(tokenizer, tokenizer.chat_template)


@functools.lru_cache(maxsize=8)
def _stop_token_id(tokenizer: Any, _template: str) -> int:
    question, answer = Message(role="user", content="Q1"), Message(role="assistant", content="A1")
    tail = _answer_text(tokenizer, [question], answer, "").split("A1", 1)[1]
    for token in tokenizer(tail, add_special_tokens=False)["input_ids"]:
        if token in tokenizer.added_tokens_decoder:
            return int(token)
    raise ModelUnavailable(
        "the chat template ends an answer with no special token",
        why="a model trained with it would never stop",
        remedy="use a template whose turns end with a special token",
    )


def encode_example(
    tokenizer: Any, messages: Sequence[Message], loss_on: LossOn = "completion", tools: str = ""
) -> Encoded:
    """Token ids of a conversation that ends with an answer, and which of them are learned.

    completion: the last answer and the token that ends it. assistant: every answer and call of the assistant, each
    with the token that ends it. all: every token but the first (nothing predicts it).

    Args:
        tools: definitions of the tools that the conversation could call, a JSON list as text.
    """
    if not messages or messages[-1].role != "assistant":
        raise UsageError("an example without an answer cannot be encoded", why="its last turn is not the assistant's")
    marks = _Marks(tokenizer)
    marked, known = [marks.message(m) for m in messages], marks(tools)
    prompt = _prompt_ids(tokenizer, marked[:-1], known, marks, loss_on == "assistant")
    answer = _answer_ids(tokenizer, marked[:-1], marked[-1], known, marks)
    ids = prompt.input_ids + answer
    if loss_on == "all":
        return Encoded(ids, [position > 0 for position in range(len(ids))])
    before = prompt.learned if loss_on == "assistant" else [False] * len(prompt.input_ids)
    return Encoded(ids, before + [True] * len(answer))


def encode_prompt(tokenizer: Any, messages: Sequence[Message], tools: str = "") -> list[int]:
    """Token ids of a conversation up to and with the header of the answer to come."""
    marks = _Marks(tokenizer)
    return _prompt_ids(tokenizer, [marks.message(m) for m in messages], marks(tools), marks).input_ids


def encode_answer(tokenizer: Any, prompt: Sequence[Message], answer: str, tools: str = "") -> list[int]:
    """Token ids of an answer after `prompt`, up to and with the token that ends it."""
    marks = _Marks(tokenizer)
    turns = [marks.message(m) for m in (*prompt, Message(role="assistant", content=answer))]
    return _answer_ids(tokenizer, turns[:-1], turns[-1], marks(tools), marks)


def count_tokens(tokenizer: Any, messages: Sequence[Message], tools: str = "") -> int:
    """Length of a conversation in tokens, template included."""
    if messages and messages[-1].role == "assistant":
        return len(encode_example(tokenizer, messages, tools=tools).input_ids)
    return len(encode_prompt(tokenizer, messages, tools))


def decode_answer(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of generated tokens, up to the token that ends the answer, without special tokens."""
    stop = stop_token_id(tokenizer)
    kept = list(ids)
    kept = kept[: kept.index(stop)] if stop in kept else kept
    return str(tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _prompt_ids(
    tokenizer: Any, messages: Sequence[Message], tools: str, marks: _Marks, learn_answers: bool = False
) -> Encoded:
    """A prompt, cut where each answer of the assistant begins: so its tokens are those the answer was made of.

    A template that writes the beginning of a conversation in another way once it goes on (it moves the tools to the
    last question, or drops thoughts) is not cut there; then single answers cannot be learned either.
    """
    text = render(tokenizer, messages, prompt=True, tools=tools)
    answers = [i for i, m in enumerate(messages) if m.role == "assistant" and i > 0]
    before = [render(tokenizer, messages[:i], prompt=True, tools=tools) for i in answers]
    cuts = [len(start) for start in before if text.startswith(start)]
    if learn_answers and len(cuts) < len([m for m in messages if m.role == "assistant"]):
        raise UsageError(
            "the answers before the last one cannot be learned",
            where="train.loss_on: assistant",
            why="the chat template writes them in another way once the conversation goes on, or nothing stands before",
            remedy="set train.loss_on to completion",
        )
    ids: list[int] = []
    learned: list[bool] = []
    for start, end in itertools.pairwise((0, *cuts, len(text))):
        piece = _ids(tokenizer, text[start:end], marks)
        stop = piece.index(stop_token_id(tokenizer)) if start and learn_answers else -1
        ids += piece
        learned += [position <= stop for position in range(len(piece))]
    return Encoded(ids, learned)


def _answer_ids(tokenizer: Any, prompt: Sequence[Message], answer: Message, tools: str, marks: _Marks) -> list[int]:
    ids = _ids(tokenizer, _answer_text(tokenizer, prompt, answer, tools), marks)
    last = len(ids) - 1 - ids[::-1].index(stop_token_id(tokenizer))
    return ids[: last + 1]


def _answer_text(tokenizer: Any, prompt: Sequence[Message], answer: Message, tools: str) -> str:
    """What the template writes for an answer after the header: its text and what ends the turn."""
    before = render(tokenizer, prompt, prompt=True, tools=tools)
    whole = render(tokenizer, [*prompt, answer], tools=tools)
    if not whole.startswith(before):
        raise ModelUnavailable(
            "the chat template writes a prompt in another way once it is answered",
            why="training and generation would see different prompts",
            remedy="use a template that does not",
        )
    return whole[len(before) :]


class _Marks:
    """Stand for special tokens that are written as text, from rendering to encoding."""

    def __init__(self, tokenizer: Any) -> None:
        self._special = _special_tokens(tokenizer)
        self.kept: list[str] = []

    def __call__(self, text: str) -> str:
        return self._special.sub(self._mark, text.replace(_OPEN, self._keep(_OPEN)) if _OPEN in text else text)

    def message(self, message: Message) -> Message:
        """The message with a mark in place of every special token in its texts."""
        calls = tuple(call.model_copy(update={"arguments": self(call.arguments)}) for call in message.tool_calls)
        return message.model_copy(update={"content": self(message.content), "tool_calls": calls})

    def _mark(self, found: re.Match[str]) -> str:
        return self._keep(found[0])

    def _keep(self, text: str) -> str:
        self.kept.append(text)
        return f"{_OPEN}{len(self.kept) - 1}{_CLOSE}"

    def restored(self, text: str) -> str:
        """The text with what the marks stand for."""
        return re.sub(f"{_OPEN}(\\d+){_CLOSE}", lambda mark: self.kept[int(mark[1])], text)


@functools.lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> re.Pattern[str]:
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return re.compile("|".join(re.escape(text) for text in sorted(special, key=len, reverse=True)) or r"(?!)")


def _ids(tokenizer: Any, text: str, marks: _Marks) -> list[int]:
    """Ids of rendered text; what a mark stands for is encoded as ordinary text, together with what stands around it."""
    if not marks.kept:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids: list[int] = []
    special, start = _special_tokens(tokenizer), 0
    for found in [*special.finditer(text), None]:
        plain = marks.restored(text[start : found.start() if found else len(text)])
        ids += tokenizer(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if found:
            ids.append(int(tokenizer.convert_tokens_to_ids(found[0])))
            start = found.end()
    return ids
