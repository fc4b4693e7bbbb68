"""A first look at unknown data: what it is, how much of it fits a time limit, and a configuration that says so. Pure
apart from reading the files.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deployments.config_file import Template
from tasks.config import RunConfig
from tasks.contracts import Record
from tasks.errors import DataRefused, UsageError
from tasks.ingest.config import SourceConfig
from tasks.ingest.documents import SourceReport
from tasks.ingest.look import FileLook, look_into
from tasks.validate.config import ChecksConfig

_HELD_OUT = re.compile(r"(^|[^a-z])(test|heldout|held_out|holdout|valid|validation|eval|dev)([^a-z]|$)", re.IGNORECASE)
_CHARACTERS_PER_TOKEN = 4.0
_TEMPLATE_TOKENS = 10
# Share of the machine's bf16 product rate that a training step of the built-in model reaches (281 tokens/s at
# 426 GFLOP/s, `make demo`; docs/log.md), and the operations a token costs: 4 for every frozen weight.
_STEP_EFFICIENCY = 0.33
_OPERATIONS_PER_TOKEN = 4 * 135e6
_TRAINING_SHARE = 0.6
_ANSWERS_PER_SECOND = 2.0
_SMALL_ROWS = 1000
_KINDS_SHOWN = 3


class SourceLook(Record):
    """One source as it was found; `copies` are files with the same content, which are left out."""

    path: str
    shape: str
    why: str
    rows: int
    usable: int
    named_held_out: bool
    held_out: bool = False
    copies: tuple[str, ...] = ()

    @property
    def left_out(self) -> list[str]:
        """A sentence on each copy."""
        return [f"{copy} holds the same content as {self.path} and is left out" for copy in self.copies]


class Look(Record):
    """All sources, with what sizes are estimated from."""

    sources: tuple[SourceLook, ...]
    train_rows: int
    test_rows: int
    tokens_per_row: float
    longest_characters: int


class Sizes(Record):
    """How much of the data a run within the time limit sees."""

    train_rows: int
    train_rows_available: int
    train_share: float
    test_rows: int
    test_rows_available: int
    epochs: int
    tokens_per_second: float
    minutes: float

    @property
    def sentence(self) -> str:
        """The shares, for people."""
        return (
            f"in {self.minutes:g} minutes this machine trains on about {self.train_rows:,} of "
            f"{self.train_rows_available:,} rows ({self.train_share:.0%}) and evaluates {self.test_rows:,} of "
            f"{self.test_rows_available:,} held-out rows"
        )


def look_at(files: Sequence[Path], folder: Path) -> Look:
    """Read the files as the ingest stage would and note what they are.

    Args:
        files: data files or folders.
        folder: where the configuration will lie; paths are written relative to it.

    Raises:
        UsageError, DataRefused: as reading raises them; DataRefused also when fewer than two rows are usable.
    """
    sources = [
        SourceConfig(path=str(f.absolute()), split="test" if _HELD_OUT.search(f.stem) else "auto") for f in files
    ]
    looks: list[SourceLook] = []
    lengths: dict[bool, list[int]] = {True: [], False: []}  # of usable rows, by whether the name says held out
    with tempfile.TemporaryDirectory() as scratch:
        for found in look_into(sources, folder, Path(scratch)):
            looks += _source_look(found, folder)
            lengths[found.source.split == "test"] += [
                sum(len(m.content) for m in row.messages) for row in found.rows if row.outcome == "kept"
            ]
    return _measured(looks, lengths[False], lengths[True], files)


def _source_look(found: FileLook, folder: Path) -> list[SourceLook]:
    """The file as one source, with all that an archive holds; nothing where it holds no file with records."""
    if not found.reports:
        return []
    shapes = {r.shape for r in found.reports}
    return [SourceLook(
        path=os.path.relpath(found.path, folder), shape=shapes.pop() if len(shapes) == 1 else "auto",
        why=_why(found.reports), rows=sum(r.rows for r in found.reports), usable=sum(r.kept for r in found.reports),
        named_held_out=found.source.split == "test",
        copies=tuple(dict.fromkeys(os.path.relpath(path, folder) for path in found.copies if path != found.path)),
    )]  # fmt: skip


def _why(reports: Sequence[SourceReport]) -> str:
    """Why the shape is what it is; of an archive with members of several shapes, the first few of them."""
    if len(reports) == 1:
        return reports[0].why
    kinds = Counter(f"{r.shape}: {r.why}" for r in reports)
    more = f"; and {len(kinds) - _KINDS_SHOWN} more" if len(kinds) > _KINDS_SHOWN else ""
    return "; ".join(f"{n} x {kind}" for kind, n in kinds.most_common(_KINDS_SHOWN)) + more


def _measured(looks: Sequence[SourceLook], plain: list[int], named: list[int], files: Sequence[Path]) -> Look:
    """Sizes from the lengths of the usable rows, in characters.

    Names decide what is held out only where both sides have rows: otherwise no run could train, or evaluate.
    """
    lengths, apart = plain + named, bool(plain and named)
    if len(lengths) < 2:
        raise _too_few(looks, len(lengths), files)
    test = len(named) if apart else max(1, round(0.2 * len(lengths)))
    tokens = statistics.fmean(lengths) / _CHARACTERS_PER_TOKEN + _TEMPLATE_TOKENS
    return Look(
        sources=tuple(s.model_copy(update={"held_out": apart and s.named_held_out}) for s in looks),
        train_rows=len(lengths) - test,
        test_rows=test,
        tokens_per_row=tokens,
        longest_characters=max(lengths),
    )


def _too_few(looks: Sequence[SourceLook], usable: int, files: Sequence[Path]) -> DataRefused:
    return DataRefused(
        "only one row is usable" if usable else "no row is usable",
        where=", ".join(map(str, files)),
        why="; ".join(f"{s.path}: {s.usable} of {s.rows} rows usable ({s.why})" for s in looks) or "there is no row",
        remedy="give at least two rows that are understood: one is trained on, one is held out",
    )


def sizes_for(look: Look, minutes: float, gflops: float) -> Sizes:
    """How many rows and passes fit into the time limit at this machine's product rate."""
    rate = gflops * 1e9 * _STEP_EFFICIENCY / _OPERATIONS_PER_TOKEN
    passes = max(1.0, rate * minutes * 60 * _TRAINING_SHARE / look.tokens_per_row)  # rows a pass, times passes
    epochs = 1 if look.train_rows > _SMALL_ROWS else max(1, min(3, int(passes / max(1, look.train_rows))))
    train = max(16, min(look.train_rows, int(passes / epochs)))
    test = max(30, min(look.test_rows, int(minutes * 60 * (1 - _TRAINING_SHARE) * _ANSWERS_PER_SECOND / 2)))
    return Sizes(
        train_rows=min(train, look.train_rows), train_rows_available=look.train_rows,
        train_share=min(1.0, train / max(1, look.train_rows)), test_rows=min(test, look.test_rows),
        test_rows_available=look.test_rows, epochs=epochs, tokens_per_second=round(rate, 1), minutes=minutes,
    )  # fmt: skip


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
    longest = int(look.longest_characters / 2.5) + _TEMPLATE_TOKENS
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
