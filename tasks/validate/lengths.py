"""Lengths in the model's own tokens: exactly those of `tasks.tokens.count_tokens`, at many times its speed.

Two things make that possible where a tokenizer allows it, and both are proven before they are used. A chat template
that only puts fixed texts around each message is applied by joining strings. A tokenizer that never makes one token of
characters on both sides of a single blank gives every word the same number of tokens wherever it stands, so words are
counted once and remembered. Any other tokenizer is asked for every row.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.chat_template import writes_tools
from tasks.contracts import Message
from tasks.errors import UsageError
from tasks.tokens import count_tokens, load_tokenizer, stop_token_id

CountTokens = Callable[[Sequence[Message], str], int | None]  # of a conversation and the tools it could call
_REMEMBERED_WORDS = 200_000
_LONGEST_REMEMBERED = 64
_PROVEN_ON = 16  # conversations of each shard that are counted both ways
_CUT = re.compile(r"(?<=\S) (?=\S)")
_BLANK_RUN = re.compile(r"\s{2,}")
_PROBE = (
    "It's 3rd-rate: don't pay $1,234.50 (net) \"now\" née Größe 東京 です ok? "
    "http://a.b/c #1 _x_ {y: [z]} \\n END\n x\n\ny"
)


@dataclass(frozen=True)
class Frame:
    """What a chat template writes around messages: start + head + content + tail for each + ask."""

    start: str
    heads: dict[str, str]
    tails: dict[str, str]
    ask: str

    def prompt(self, messages: Sequence[Message]) -> str:
        return "".join(self.pieces(messages))

    def pieces(self, messages: Sequence[Message]) -> Iterator[str]:
        """The prompt, cut where each answer of the assistant begins, as `tasks.tokens` encodes it."""
        text = self.start
        for index, message in enumerate(messages):
            text += self.heads[message.role]
            if message.role == "assistant" and index:
                yield text
                text = ""
            text += message.content + self.tails[message.role]
        yield text + self.ask


class TokenCounter:
    """Counts the tokens of conversations with the tokenizer in a folder.

    Raises:
        ModelUnavailable: no usable tokenizer in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = load_tokenizer(folder)
        backend = self._tokenizer.backend_tokenizer
        added = list(self._tokenizer.added_tokens_decoder.values())
        self._special = re.compile("|".join(re.escape(t.content) for t in added) or r"(?!)")
        self._frame = learn_frame(self._tokenizer) if words_are_independent(backend, added) else None
        stop = self._tokenizer.convert_ids_to_tokens(stop_token_id(self._tokenizer))
        self._end = _up_to(self._frame.tails["assistant"], stop) if self._frame else ""

        def encoded(text: str) -> int:
            return len(backend.encode(text, add_special_tokens=False))

        self._first = _Remembered(encoded)
        self._spaced = _Remembered(lambda word: encoded(f" {word}"))

    @property
    def is_fast(self) -> bool:
        return self._frame is not None

    @property
    def writes_tools(self) -> bool:
        """Whether conversations with tools are written by the model's template, so that they can be learned."""
        return writes_tools(self._tokenizer)

    def proven(self, conversations: Sequence[Sequence[Message]]) -> CountTokens:
        """The fast way to count where it agrees with the exact one on some of the conversations, else the exact one."""
        sample = conversations[:_PROVEN_ON]
        return self.fast if all(self.fast(c, "") == self.exact(c, "") for c in sample) else self.exact

    def exact(self, messages: Sequence[Message], tools: str = "") -> int | None:
        """As training counts them; None where the model's template refuses the conversation."""
        try:
            return count_tokens(self._tokenizer, messages, tools)
        except UsageError:
            return None

    def fast(self, messages: Sequence[Message], tools: str = "") -> int | None:
        """The same number by joining and remembering, where that is possible for this conversation."""
        frame = self._frame
        if frame is None or tools or not messages or not all(self._is_plain(m, frame) for m in messages):
            return self.exact(messages, tools)
        if messages[-1].role != "assistant":
            return sum(map(self._tokens, frame.pieces(messages)))
        if len(messages) == 1:
            return self.exact(messages)
        return sum(map(self._tokens, frame.pieces(messages[:-1]))) + self._tokens(messages[-1].content + self._end)

    def _is_plain(self, message: Message, frame: Frame) -> bool:
        text = message.content
        plain = message.role in frame.heads and not message.tool_calls
        return plain and text == text.strip() and self._special.search(text) is None

    def _tokens(self, text: str) -> int:
        parts = self._special.split(text)
        return len(parts) - 1 + sum(self._words(part) for part in parts if part)

    def _words(self, text: str) -> int:
        """Tokens of a text without special tokens: a run of blanks stays with the word after it."""
        total, start, lead = 0, 0, ""
        for run in _BLANK_RUN.finditer(text):
            total += self._line(lead, text[start : run.start()])
            lead, start = run[0], run.end()
        return total + self._line(lead, text[start:])

    def _line(self, lead: str, text: str) -> int:
        words = text.split(" ")
        return self._first[lead + words[0]] + sum(map(self._spaced.__getitem__, itertools.islice(words, 1, None)))


class _Remembered(dict[str, int]):
    """Text → its number of tokens, worked out where it is not known yet."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count

    def __missing__(self, text: str) -> int:
        number = self._count(text)
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED_WORDS:
                self.clear()
            self[text] = number
        return number


def _up_to(tail: str, stop: str) -> str:
    return tail[: tail.rindex(stop) + len(stop)]


def words_are_independent(backend: Any, added: Sequence[Any]) -> bool:
    """Whether the tokenizer always parts a text at a single blank between two words.

    A byte-level tokenizer without normalisation encodes each of its pieces for itself; where the pieces begin is seen
    on a text with letters, digits, signs and scripts of many kinds.
    """
    stages = json.loads(backend.to_str())
    normalizer = stages.get("normalizer")
    pieces = stages.get("pre_tokenizer") or {}
    kinds = [p["type"] for p in pieces.get("pretokenizers", [pieces])] if pieces else []
    if (normalizer and normalizer["type"] != "NFC") or kinds[-1:] != ["ByteLevel"]:
        return False
    if any(t.lstrip or t.rstrip or t.single_word for t in added):
        return False
    starts = {span[0] for _, span in backend.pre_tokenizer.pre_tokenize_str(_PROBE)}
    return all(cut.start() in starts for cut in _CUT.finditer(_PROBE))


def learn_frame(tokenizer: Any) -> Frame | None:
    """The template as fixed texts around each message; None for one that does more than that."""
    try:
        frame = _frame(tokenizer)
    except (ValueError, KeyError, TypeError):
        return None
    turns = [_turn("user", "a b"), _turn("assistant", "c"), _turn("user", "d\n\ne")]
    system = [Message(role="system", content="s t")] if "system" in frame.heads else []
    plain = all(frame.prompt(m) == _rendered(tokenizer, m, ask=True) for m in (turns, [*system, *turns], turns[:1]))
    answered = [*turns, Message(role="assistant", content="f")]
    whole = frame.prompt(answered).removesuffix(frame.ask) == _rendered(tokenizer, answered)
    return frame if plain and whole and frame.ask == frame.heads["assistant"] else None


def _frame(tokenizer: Any) -> Frame:
    user, answer, system = (_turn(r, f"Probe{r}") for r in ("user", "assistant", "system"))
    before, after_user = _rendered(tokenizer, [user]).split(user.content)
    _, between, after_answer = re.split("Probe(?:user|assistant)", _rendered(tokenizer, [user, answer]))
    third = re.split("Probe(?:user|assistant)", _rendered(tokenizer, [user, answer, user]))[2]
    head = third.removeprefix(after_answer)
    heads = {"user": head, "assistant": between.removeprefix(after_user)}
    tails = {"user": after_user, "assistant": after_answer}
    start = before.removesuffix(head)
    try:
        opened, joined, _ = re.split("Probe(?:user|system)", _rendered(tokenizer, [system, user]))
        heads["system"], tails["system"] = opened.removeprefix(start), joined.removesuffix(head)
    except ValueError:
        pass  # a template without a place for it: rows with a system message are counted the exact way
    ask = _rendered(tokenizer, [user], ask=True).removeprefix(before + user.content + after_user)
    return Frame(start=start, heads=heads, tails=tails, ask=ask)


def _turn(role: Any, content: str) -> Message:
    return Message(role=role, content=content)


def _rendered(tokenizer: Any, messages: Sequence[Message], *, ask: bool = False) -> str:
    from jinja2.exceptions import TemplateError

    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask))
    except TemplateError as error:
        raise ValueError(str(error)) from error
