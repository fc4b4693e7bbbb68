"""`tuneloop data diff`: what two versions differ in, the summary first, then the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import out, print_json
from deployments.commands.data_home import Address, open_store
from deployments.commands.models import ConfigOption

if TYPE_CHECKING:
    from tasks.version.diff import Changed, Difference, DiffRow, PartChange, Side

_CONTEXT_CHARACTERS = 60
_COMMON = {"row": "same row", "prompt": "same question", "record": "same record of its source"}
_CUT = " … "


def add_to(app: typer.Typer) -> None:
    app.command()(diff)


def diff(
    old: Address,
    new: Address,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Rows of each kind that are shown; --json has all.")
    ] = 10,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """What two versions differ in: added, removed, changed and moved rows; distributions side by side."""
    store = open_store(config)
    from tasks.version.diff import diff as compare

    found = compare(old, new, store, None if as_json else limit)
    if as_json:
        print_json({"status": "done", "exit_code": 0, **found.model_dump(mode="json")})
        return
    out.print(_headline(found))
    out.print(_distributions(found.old, found.new))
    for line in _rows(found):
        out.print(line, soft_wrap=True)


def _headline(found: Difference) -> Text:
    totals = found.totals
    text = Text(f"{found.old.address} → {found.new.address}\n", style="bold")
    parts = (("added", "green"), ("removed", "red"), ("changed", "yellow"), ("moved", "cyan"), ("same", "dim"))
    for number, (name, style) in enumerate(parts):
        text.append("   " if number else "", style="not bold")
        text.append(f"{totals[name]} {'the same' if name == 'same' else name}", style=f"not bold {style}")
    if found.policy_changed:
        text.append(
            "\nthe policy changed: privacy, process, checks or split are configured otherwise", style="not bold"
        )
    return text


def _distributions(old: Side, new: Side) -> Table:
    """The numbers of both sides; below the first lines only what differs."""
    table = Table("", "old", "new", "", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    before, after = _numbers(old), _numbers(new)
    for name in [*before, *(n for n in after if n not in before)]:
        one, two = before.get(name, 0), after.get(name, 0)
        always = name.startswith("rows")
        if always or one != two:
            change = "" if one == two else f"{two - one:+d}"
            table.add_row(Text(name), str(one), str(two), change, style="" if one != two else "dim")
    return table


def _numbers(side: Side) -> dict[str, int]:
    numbers, counts = side.numbers, side.numbers.counts
    made = {"rows in": counts.rows_in, "rows to train on": numbers.splits["train"],
            "rows held out": numbers.splits["test"], "rows with personal data": counts.redacted}  # fmt: skip
    made |= {f"refused or merged: {code}": count for code, count in numbers.reasons.items()}
    made |= {f"replaced: {entity}": count for entity, count in numbers.redactions.items()}
    made |= {f"shape: {shape}": count for shape, count in numbers.shapes.items()}
    made |= {f"language: {language}": count for language, count in numbers.languages.items()}
    made |= {f"quality {name}": count for name, count in numbers.quality.items()}
    for name, lengths in numbers.lengths.items():
        made |= {f"words, {name}, median": lengths.median, f"words, {name}, 95 %": lengths.p95}
    for field, values in side.labels.items():
        made |= {f"{field or 'answer'} = {value}": count for value, count in values.items()}
    return made | _by_source(side)


def _by_source(side: Side) -> dict[str, int]:
    made: dict[str, int] = {}
    for source in side.numbers.sources:
        name = f"kept from {source.uri}"
        made[name] = made.get(name, 0) + source.kept
    return made


def _rows(found: Difference) -> Iterator[Text]:
    for title, style, sign, rows in (("added", "green", "+", found.added), ("removed", "red", "-", found.removed)):
        yield from _section(title, found.totals[title], len(rows), (_row(sign, style, row) for row in rows))
    yield from _section("changed", found.totals["changed"], len(found.changed),
                        (line for change in found.changed for line in _change(change)))  # fmt: skip
    lines = (Text(f"> {m.row_id}  {m.old_split} → {m.new_split}", style="cyan") for m in found.moved)
    yield from _section("moved", found.totals["moved"], len(found.moved), lines)


def _section(title: str, total: int, shown: int, lines: Iterable[Text]) -> Iterator[Text]:
    if not total:
        return
    yield Text(f"\n{title} ({total})", style="bold")
    yield from lines
    if shown < total:
        yield Text(f"… {total - shown} more: --limit {total} or --json", style="dim")


def _row(sign: str, style: str, row: DiffRow) -> Text:
    line = Text(f"{sign} {row.row_id}", style=style)
    line.append(f"  {row.split or ''}  {row.source} #{row.record_index}  ", style="dim")
    line.append(row.excerpt, style="default")
    if row.why:
        line.append(f"\n    {'before' if sign == '+' else 'now'}: {row.why}", style="yellow")
    return line


def _change(change: Changed) -> Iterator[Text]:
    same = change.old_row_id == change.new_row_id
    ids = change.new_row_id if same else f"{change.old_row_id} → {change.new_row_id}"
    line = Text(f"~ {ids}", style="yellow")
    moved = "" if change.old_split == change.new_split else f", {change.old_split} → {change.new_split}"
    line.append(f"  {_COMMON[change.by]}{moved}", style="dim")
    yield line
    for part in change.parts:
        yield Text(f"    {part.part}: ", style="dim").append_text(inline(part, coloured=out.color_system is not None))


def inline(part: PartChange, *, coloured: bool) -> Text:
    """Both texts in one line: what went is struck out in red, what came is green; without colour [-went-] {+came+}."""
    line = Text(style="not dim")
    last = len(part.words) - 1
    for number, (sign, words) in enumerate(part.words):
        text = " ".join(words.split("\n"))
        if sign == "=":
            line.append(_shortened(text, first=number == 0, last=number == last))
        elif coloured:
            line.append(text, style="red strike" if sign == "-" else "green")
        else:
            line.append(f"[-{text}-]" if sign == "-" else f"{{+{text}+}}")
    return line


def _shortened(text: str, *, first: bool, last: bool) -> str:
    """What both have in common, without the middle of a long piece."""
    if len(text) <= 2 * _CONTEXT_CHARACTERS:
        return text
    head = "" if first else text[:_CONTEXT_CHARACTERS]
    tail = "" if last else text[-_CONTEXT_CHARACTERS:]
    return f"{head}{_CUT}{tail}"
