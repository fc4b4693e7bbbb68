"""The commented configuration that `tuneloop init` proposes for what a first look found. Pure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from deployments.config_file import Template
from deployments.first_look import Look, Sizes, SourceLook, sizes_for, tokens_at_most
from tasks.config import RunConfig
from tasks.errors import UsageError
from tasks.validate.config import ChecksConfig


def describe(
    look: Look, *, minutes: float, gflops: float, project: str, template: Template | None = None
) -> tuple[str, Sizes]:
    """The text of a commented configuration, and the sizes it holds.

    Args:
        template: settings that stand in place of those proposed here; how much of the data is used is this look's.
    """
    sizes = sizes_for(look, minutes, gflops)
    name = project or _project_name(look.sources[0].path)
    lines = [
        "# Written by `tuneloop init`; every key is explained by `tuneloop config show`.",
        f"# {sizes.sentence}.",
        _pair("project", name),
        "data:",
        "  sources:",
        *(line for source in look.sources for line in _source_lines(source)),
        *_check_lines(look),
        *_settings(look, sizes, minutes),
        "release:",
        "  approval: automatic         # required: a person promotes",
    ]
    text = "\n".join(lines) + "\n"
    return with_template(text, template) if template else text, sizes


def _settings(look: Look, sizes: Sizes, minutes: float) -> list[str]:
    """Model, training, evaluation and gate."""
    return [
        "model:",
        "  base: smollm2-135m          # built in; or hf:owner/name@revision, or a folder",
        "train:",
        "  preset: balanced            # what is left out here: rank 16 and more; `tuneloop config show` names each",
        "  adapter: qlora              # frozen weights in NF4",
        "  learning_rate: auto         # by the model's size: small models want higher rates than the preset's 2e-4",
        f"  epochs: {sizes.epochs}",
        *_limit_lines("max_rows", sizes.train_rows, sizes.train_rows_available, "rows are trained on, a seeded sample"),
        f"  timeout_minutes: {max(10.0, 3 * minutes):g}         # training is stopped and fails after this time",
        "evaluate:",
        *_limit_lines("max_rows", sizes.test_rows, sizes.test_rows_available, "held-out rows are evaluated"),
        "  examples_for_base: 2        # worked examples in the base model's prompt",
        *_gate_lines(look),
    ]


def with_template(text: str, template: Template) -> str:
    """A configuration's text with the sections of a template: its values replace lines that give others.

    Comments of the lines that stay are kept; each value of the template says where it is from.
    """
    lines = text.splitlines()
    for section, values in template.sections.items():
        if f"{section}:" not in lines:
            lines.append(f"{section}:")
        start = lines.index(f"{section}:") + 1
        for key, value in values.items():
            line = f"  {_pair(key, value)}   # template {template.name}"
            end = next((i for i in range(start, len(lines)) if not lines[i].startswith(" ")), len(lines))
            place = next((i for i in range(start, end) if lines[i].startswith(f"  {key}:")), None)
            lines[slice(end, end) if place is None else slice(place, place + 1)] = [line]
    return "\n".join(lines) + "\n"


def _pair(key: str, value: Any) -> str:
    """One key with its value on one line of YAML."""
    return yaml.safe_dump({key: value}, default_flow_style=True, width=10_000, allow_unicode=True).strip()[1:-1]


def _source_lines(source: SourceLook) -> list[str]:
    text = [
        f"    - path: {_quoted(source.path)}   # {source.usable:,} of {source.rows:,} rows usable",
        f"      shape: {source.shape}   # {_remark(source.why)}",
    ]
    text += [f"      # {_remark(sentence)}" for sentence in source.left_out]
    if source.held_out:
        text.append("      split: test   # by its name; auto lets the split decide")
    elif source.named_held_out:
        text.append(
            "      split: auto   # its name says test, but then no row would be left to train on, or to hold out"
        )
    return text


def _check_lines(look: Look) -> list[str]:
    """A limit on length where the default would quarantine long rows that are there."""
    longest = tokens_at_most(look)
    if longest <= ChecksConfig().max_tokens:
        return []
    return [
        "checks:",
        f"  max_tokens: {longest}   # the longest row has {look.longest_characters:,} characters",
    ]


def _gate_lines(look: Look) -> list[str]:
    """A model that only gives labels loses its general knowledge; asking it to keep that would refuse every one."""
    if not all(source.shape == "classification" for source in look.sources):
        return []
    return [
        "gate:",
        "  min_retention_share: 0      # one purpose: general knowledge is measured and shown, not required",
    ]


def _limit_lines(key: str, used: int, available: int, what: str) -> list[str]:
    share = used / max(1, available)
    return [f"  {key}: {used if share < 1 else 'null'}   # {share:.0%} of {available:,} {what}; null: all"]


def check_project(name: str) -> None:
    """Refuse a name that no project can have.

    Raises:
        UsageError: with the closest one that can be.
    """
    (pattern,) = (m.pattern for m in RunConfig.model_fields["project"].metadata if hasattr(m, "pattern"))
    if name and not re.search(pattern, name):
        raise UsageError(
            "this cannot be the name of a project",
            where=f"--project {name!r}",
            why="it is part of addresses: small letters, digits, - and _, with a letter or digit first",
            remedy=f"e.g. --project {_project_name(name)}",
        )


def _project_name(path: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", Path(path).stem.lower()).strip("_")
    if name in ("train", "data", "rows", "test", ""):
        name = re.sub(r"[^a-z0-9]+", "_", Path(path).resolve().parent.name.lower()).strip("_")
    return name or "project"


def _quoted(path: str) -> str:
    """Always in double quotes: they hold every character a file name may have, on one line."""
    named = f"./{path}" if path.startswith("~") else path  # a file of that name, nobody's home
    return yaml.safe_dump(named, default_style='"', width=10_000, allow_unicode=True).strip()


def _remark(text: str) -> str:
    """As a comment can hold it: names of columns may have line breaks and characters that YAML does not allow."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
