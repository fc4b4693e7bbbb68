"""Chat templates: how a model wants a conversation written. Rendering, tools included, and what a template must not do.

A system message is never added: a template that would add one of its own is replaced by its plain form, or refused.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.contracts import Message, ToolCall
from tasks.errors import ModelUnavailable, UsageError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PROBE_TURNS = (("user", "Q1"), ("assistant", "A1"), ("user", "Q2"))
_PROBE_TOOLS = (
    '[{"type": "function", "function": {"name": "t1", "description": "d1", "parameters": {"type": "object"}}}]'
)
_PROBE_CALL = (
    Message(role="user", content="Q1"),
    Message(role="assistant", content="", tool_calls=(ToolCall(id="call00001", name="t1", arguments='{"k1": "v1"}'),)),
    Message(role="tool", content="r1", tool_call_id="call00001", name="t1"),
)


def template_note(tokenizer: Any, folder: Path) -> str:
    """Which template is used, in words, for the record of a training."""
    from transformers import PreTrainedTokenizerFast

    own, _ = own_templates(PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True))
    if own == tokenizer.chat_template:
        return "own: the template in the model's folder"
    return "plain ChatML: the model's own is the same but adds a system text where none is given"


def own_templates(tokenizer: Any) -> tuple[str | None, str | None]:
    """The templates of a model for plain conversations and for those with tools; most have one for both."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        return own.get("default"), own.get("tool_use", own.get("default"))
    return own, own


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
    text = render(tokenizer, [Message(role=r, content=c) for r, c in _PROBE_TURNS])  # type: ignore[arg-type]
    if "Q1" not in text or "Q2" not in text:
        raise ModelUnavailable(
            "the model's chat template does not write plain texts",
            why="it expects turns in another form, with images for example",
            remedy="use a model for text, or a template that writes message['content']",
        )
    before_first = text[: text.index("Q1")].removeprefix(tokenizer.bos_token or "")
    before_second = text[: text.index("Q2")].removeprefix(tokenizer.bos_token or "")
    return not before_second.endswith(before_first)


def _is_chatml_with_system(tokenizer: Any) -> bool:
    turns = [Message(role=r, content=c) for r, c in (("system", "S"), *_PROBE_TURNS)]  # type: ignore[arg-type]
    return all(
        render(tokenizer, turns, prompt=prompt) == render(tokenizer, turns, prompt=prompt, template=CHATML)
        for prompt in (False, True)
    )


def uses_tools(messages: Sequence[Message], tools: str = "") -> bool:
    """Whether tools are defined, called or answering in a conversation."""
    return bool(tools) or any(m.tool_calls or m.role == "tool" for m in messages)


def writes_tools(tokenizer: Any) -> bool:
    """Whether the template writes definitions, calls and answers of tools; many pass over what they do not know."""
    return _writes_tools(tokenizer, _tool_template(tokenizer))


@functools.lru_cache(maxsize=8)
def _writes_tools(tokenizer: Any, template: str) -> bool:
    try:
        text = _apply(tokenizer, _with_system(_PROBE_CALL), template, prompt=True, tools=_PROBE_TOOLS)
    except UsageError:
        return False
    return text.count("t1") >= 2 and all(word in text for word in ("d1", "k1", "v1", "r1"))


def _tool_template(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "tool_template", None) or tokenizer.chat_template)


def _with_system(messages: Sequence[Message]) -> Sequence[Message]:
    return messages if messages[0].role == "system" else [Message(role="system", content=""), *messages]


def render(
    tokenizer: Any, messages: Sequence[Message], *, prompt: bool = False, template: str | None = None, tools: str = ""
) -> str:
    """A conversation as text, written by the tokenizer's template or by another one.

    Args:
        prompt: end with the header of the answer to come.
        tools: definitions of tools, a JSON list as text.

    Raises:
        UsageError: the template refuses the conversation, or it has tools and the template does not write them.
    """
    if not messages:
        raise UsageError("an empty conversation cannot be encoded", why="an answer needs something to answer")
    if not uses_tools(messages, tools):
        return _apply(tokenizer, messages, template or tokenizer.chat_template, prompt=prompt)
    if not writes_tools(tokenizer):
        raise UsageError(
            "a conversation with tool calls cannot be encoded",
            why="the model's chat template does not write calls and definitions of tools; leaving them out would teach "
            "answers to questions that nobody asked",
            remedy="use a model whose template does, or prepare the dataset again: such rows are then quarantined",
        )
    own = _tool_template(tokenizer)
    turns = _with_system(messages) if own != tokenizer.chat_template else messages  # else it would write its own text
    return _apply(tokenizer, turns, own, prompt=prompt, tools=tools)


def _apply(tokenizer: Any, messages: Sequence[Message], template: str, *, prompt: bool = False, tools: str = "") -> str:
    from jinja2.exceptions import TemplateError

    turns, defined = [_turn(m) for m in messages], json.loads(tools) if tools else None
    try:
        text = tokenizer.apply_chat_template(
            turns, tools=defined, tokenize=False, add_generation_prompt=prompt, chat_template=template
        )
    except (TemplateError, TypeError) as error:
        raise UsageError(
            "the model's chat template refuses this conversation",
            where=" → ".join(m.role for m in messages),
            why=str(error),
            remedy="use turns that alternate, or a model whose template allows them",
        ) from error
    return str(text)


def _turn(message: Message) -> dict[str, Any]:
    """A turn as templates expect it; the arguments of a call as an object, which they write in their own way."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in message.tool_calls
        ]
    named = {"tool_call_id": message.tool_call_id, "name": message.name}
    return turn | {key: value for key, value in named.items() if value}


def _arguments(call: ToolCall) -> Any:
    try:
        return json.loads(call.arguments or "{}")
    except ValueError:
        raise UsageError("the arguments of a tool call are not JSON", where=f"a call of {call.name}") from None
