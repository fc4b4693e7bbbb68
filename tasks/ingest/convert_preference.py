"""From a preference pair, as several formats write it, to the prompt, the chosen answer and the rejected one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasks.contracts import Message
from tasks.ingest.convert_turns import Converted, NotARow, sound, text_of, turn_of, turns_of
from tasks.ingest.shape_columns import ROLE_KEYS, TEXT_KEYS, ShapeDecision, value_at
from tasks.ingest.shape_preference import as_verdict

_DIALOGUE = re.compile(r"\n\n(Human|Assistant): ?")  # conversations as text, as the HH-RLHF data set writes them
_Turns = tuple[Message, ...]


def preferred(value: Mapping[str, Any], decision: ShapeDecision, tools: str) -> Converted:
    """The pair; the chosen answer is the last turn.

    Raises:
        NotARow: an answer or the prompt is missing, the answers answer different prompts or do not differ, or nobody
            said which is better.
    """
    columns = decision.columns
    chosen, rejected = columns["chosen"], columns["rejected"]
    if "verdict" in columns and not _first_is_better(value.get(columns["verdict"]), decision):
        chosen, rejected = rejected, chosen
    prompt = _prompt(value, decision)
    good, bad = (_conversation(value_at(value, c), c, prompt) for c in (chosen, rejected))
    if good[:-1] != bad[:-1]:
        raise NotARow("no_preference", "the two answers do not answer the same prompt")
    if good[-1].content == bad[-1].content:
        raise NotARow("no_preference", "the two answers are equal")
    if not bad[-1].content or not good[-1].content:
        raise NotARow("empty", "an answer holds no text")
    system = value.get(columns["system"]) if "system" in columns else None
    if isinstance(system, str) and system.strip() and good[0].role != "system":
        good = (Message(role="system", content=sound(system, "system")), *good)
    return Converted(good, bad[-1].content, tools)


def _first_is_better(verdict: object, decision: ShapeDecision) -> bool:
    said = as_verdict(verdict)
    if said in decision.first_answer:
        return True
    if said in decision.second_answer:
        return False
    column = decision.columns["verdict"]
    raise NotARow("no_preference", f"'{column}' names neither of the two answers")


def _prompt(value: Mapping[str, Any], decision: ShapeDecision) -> _Turns:
    """What both answers answer; nothing where no column says it."""
    columns = decision.columns
    if "messages" in columns:
        found = value_at(value, columns["messages"])
        return turns_of(found, columns["messages"], decision.turn_keys)
    if "prompt" not in columns:
        return ()
    found = value_at(value, columns["prompt"])
    if isinstance(found, list):
        return _turns(found, columns["prompt"])
    text = text_of(found, columns["prompt"])
    return _dialogue(text) or (Message(role="user", content=text),)


def _conversation(found: object, column: str, prompt: _Turns) -> _Turns:
    """The whole conversation with this answer at its end."""
    if isinstance(found, Mapping):
        turns: _Turns = (turn_of(found, *_keys_of(found)),)
    elif isinstance(found, list):
        turns = _turns(found, column)
    else:
        text = text_of(found, column)
        turns = _dialogue(text) or (Message(role="assistant", content=text),)
    if turns[-1].role != "assistant":
        raise NotARow("no_answer", f"'{column}' does not end with a turn of the assistant")
    whole = turns if any(turn.role == "user" for turn in turns) else (*prompt, *turns)
    if not any(turn.role == "user" for turn in whole):
        raise NotARow("missing_field", "has no prompt that the answers answer")
    return whole


def _turns(found: list[object], column: str) -> _Turns:
    first = next((turn for turn in found if isinstance(turn, Mapping)), {})
    return turns_of(found, column, _keys_of(first))


def _keys_of(turn: Mapping[str, Any]) -> tuple[str, str]:
    role = next((k for k in ROLE_KEYS if k in turn), "role")
    return role, next((k for k in TEXT_KEYS if k in turn), "content")


def _dialogue(text: str) -> _Turns:
    """Turns of a conversation that is written as one text; nothing where it is none."""
    if not text.startswith("\n\nHuman:"):
        return ()
    pieces = _DIALOGUE.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    turns = [Message(role=roles[name], content=sound(said.strip(), "text")) for name, said in pairs]  # type: ignore[arg-type]
    return tuple(turn for turn in turns if turn.content)
