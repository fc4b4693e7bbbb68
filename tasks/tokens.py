"""Messages → token ids and learned-token mask: the only place, for training, evaluation and the gateway.

Prompt and answer are encoded apart from each other and joined, so the tokens a model is asked with are exactly the
tokens it was trained after. A system message is never added: a template that would add one of its own is replaced by
its plain form, or refused. Special tokens written inside a message's text are encoded as ordinary text.

Loading a tokenizer does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.contracts import Message
from tasks.errors import ModelUnavailable, UsageError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters: mark the place of a message that holds special tokens
_PROBE_TURNS = (("user", "Q1"), ("assistant", "A1"), ("user", "Q2"))


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
    tokenizer.chat_template = neutral_template(tokenizer, where=str(folder))
    stop_token_id(tokenizer)
    return tokenizer


def template_note(tokenizer: Any, folder: Path) -> str:
    """Which template is used, in words, for the record of a training."""
    from transformers import PreTrainedTokenizerFast

    own = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True).chat_template
    if own == tokenizer.chat_template:
        return "own: the template in the model's folder"
    return "plain ChatML: the model's own is the same but adds a system text where none is given"


def neutral_template(tokenizer: Any, where: str = "") -> str:
    """The tokenizer's own template if it adds no text; its ChatML form if that is the same but for the added text.

    Many templates put a default system message before a conversation that has none. Two user turns of one
    conversation then begin differently; with a given system message they must agree with plain ChatML.
    """
    if not isinstance(tokenizer.chat_template, str):
        raise ModelUnavailable(
            "the model has no chat template",
            where=where,
            why="only instruct models say how a conversation is written",
            remedy="use an instruct model, or add a chat_template.jinja to the folder",
        )
    if not _adds_text(tokenizer):
        return str(tokenizer.chat_template)
    if _is_chatml_with_system(tokenizer):
        return CHATML
    raise ModelUnavailable(
        "the model's chat template adds a system text of its own",
        where=where,
        why="examples without a system message would be trained with text that nobody wrote",
        remedy="copy the model to a folder and remove the text from its chat_template.jinja",
    )


def _adds_text(tokenizer: Any) -> bool:
    """Whether the first user turn is preceded by more than the beginning-of-sequence token and its own header."""
    text = _render(tokenizer, [Message(role=r, content=c) for r, c in _PROBE_TURNS])  # type: ignore[arg-type]
    before_first = text[: text.index("Q1")].removeprefix(tokenizer.bos_token or "")
    before_second = text[: text.index("Q2")].removeprefix(tokenizer.bos_token or "")
    return not before_second.endswith(before_first)


def _is_chatml_with_system(tokenizer: Any) -> bool:
    turns = [Message(role=r, content=c) for r, c in (("system", "S"), *_PROBE_TURNS)]  # type: ignore[arg-type]
    return all(
        _render(tokenizer, turns, prompt=prompt) == _render(tokenizer, turns, prompt=prompt, template=CHATML)
        for prompt in (False, True)
    )


def stop_token_id(tokenizer: Any) -> int:
    """Id of the special token that ends an answer in this template: learned in training, ends generation."""
    tail = _answer_text(tokenizer, [Message(role="user", content="Q1")], "A1").split("A1", 1)[1]
    for token in tokenizer(tail, add_special_tokens=False)["input_ids"]:
        if token in tokenizer.added_tokens_decoder:
            return int(token)
    raise ModelUnavailable(
        "the chat template ends an answer with no special token",
        why="a model trained with it would never stop",
        remedy="use a template whose turns end with a special token",
    )


def encode_example(
    tokenizer: Any, messages: Sequence[Message], loss_on: Literal["completion", "assistant", "all"] = "completion"
) -> Encoded:
    """Token ids of a conversation that ends with an answer, and which of them are learned.

    completion: the last answer and the token that ends it. all: every token but the first (nothing predicts it).
    """
    if not messages or messages[-1].role != "assistant":
        raise UsageError("an example without an answer cannot be encoded", why="its last turn is not the assistant's")
    prompt = encode_prompt(tokenizer, messages[:-1])
    answer = encode_answer(tokenizer, messages[:-1], messages[-1].content)
    first_learned = len(prompt) if loss_on == "completion" else 1
    ids = prompt + answer
    return Encoded(input_ids=ids, learned=[position >= first_learned for position in range(len(ids))])


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to and with the header of the answer to come."""
    return _tokenize(tokenizer, *_marked(tokenizer, messages), prompt=True)


def encode_answer(tokenizer: Any, prompt: Sequence[Message], answer: str) -> list[int]:
    """Token ids of an answer after `prompt`, up to and with the token that ends it."""
    marks: dict[str, str] = {}
    text = _answer_text(tokenizer, prompt, _mark(tokenizer, answer, 0, marks))
    ids = _ids(tokenizer, text, marks)
    stop = stop_token_id(tokenizer)
    last = len(ids) - 1 - ids[::-1].index(stop)
    return ids[: last + 1]


def count_tokens(tokenizer: Any, messages: Sequence[Message]) -> int:
    """Length of a conversation in tokens, template included."""
    if messages and messages[-1].role == "assistant":
        return len(encode_example(tokenizer, messages).input_ids)
    return len(encode_prompt(tokenizer, messages))


def decode_answer(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of generated tokens, up to the token that ends the answer, without special tokens."""
    stop = stop_token_id(tokenizer)
    kept = list(ids)
    kept = kept[: kept.index(stop)] if stop in kept else kept
    return str(tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _answer_text(tokenizer: Any, prompt: Sequence[Message], answer: str) -> str:
    """What the template writes for an answer after the header: its text and what ends the turn."""
    before = _render(tokenizer, prompt, prompt=True)
    whole = _render(tokenizer, [*prompt, Message(role="assistant", content=answer)])
    if not whole.startswith(before):
        raise ModelUnavailable(
            "the chat template writes a prompt in another way once it is answered",
            why="training and generation would see different prompts",
            remedy="use a template that does not",
        )
    return whole[len(before) :]


def _render(tokenizer: Any, messages: Sequence[Message], *, prompt: bool = False, template: str | None = None) -> str:
    from jinja2.exceptions import TemplateError

    if not messages:
        raise UsageError("an empty conversation cannot be encoded", why="an answer needs something to answer")
    if any(m.tool_calls or m.role == "tool" for m in messages):
        raise UsageError(
            "a conversation with tool calls cannot be encoded",
            why="calls and definitions of tools are not written into prompts yet; leaving them out would teach answers "
            "to questions that nobody asked",
            remedy="prepare the dataset again: such rows are quarantined when it is made",
        )
    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        return str(
            tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt, chat_template=template)
        )
    except TemplateError as error:
        raise UsageError(
            "the model's chat template refuses this conversation",
            where=" → ".join(m.role for m in messages),
            why=str(error.message),
            remedy="use turns that alternate, or a model whose template allows them",
        ) from error


def _marked(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[Message], dict[str, str]]:
    """The messages with a mark in place of every text that contains special tokens, and what the marks stand for."""
    marks: dict[str, str] = {}
    kept = [Message(role=m.role, content=_mark(tokenizer, m.content, index, marks)) for index, m in enumerate(messages)]
    return kept, marks


def _mark(tokenizer: Any, text: str, index: int, marks: dict[str, str]) -> str:
    if not any(token.content in text for token in tokenizer.added_tokens_decoder.values()):
        return text
    mark = f"{_OPEN}{index}{_CLOSE}"
    marks[mark] = text
    return mark


def _tokenize(tokenizer: Any, messages: Sequence[Message], marks: dict[str, str], *, prompt: bool) -> list[int]:
    return _ids(tokenizer, _render(tokenizer, messages, prompt=prompt), marks)


def _ids(tokenizer: Any, text: str, marks: dict[str, str]) -> list[int]:
    """Ids of rendered text; what a mark stands for is encoded as ordinary text."""
    ids: list[int] = []
    for mark, content in marks.items():
        before, text = text.split(mark, 1)
        ids += _encode(tokenizer, before) + _encode(tokenizer, content, plain=True)
    return ids + _encode(tokenizer, text)


def _encode(tokenizer: Any, text: str, *, plain: bool = False) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"])
