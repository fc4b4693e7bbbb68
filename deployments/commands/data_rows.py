"""`tuneloop data export|preview|mask`: the rows of a version, for other tools and for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import out, print_json
from deployments.commands.data_home import Address, open_store
from deployments.commands.models import ConfigOption

if TYPE_CHECKING:
    from tasks.contracts import Row
    from tasks.version.preview import Piece

Seed = Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other rows; the same one the same rows.")]


def add_to(app: typer.Typer) -> None:
    for command in (export, preview, mask):
        app.command()(command)


def export(
    address: Address,
    target: Annotated[Path, typer.Argument(help="Folder to write to: train.jsonl, test.jsonl, ...")],
    form: Annotated[
        Literal["openai", "sharegpt", "alpaca", "parquet"], typer.Option("--format", help="Form of the rows.")
    ] = "openai",
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Write a version's kept rows in a form that other tools read; preference pairs go to files of their own."""
    store = open_store(config)
    from tasks.version.export import export as write

    files = write(address, target, form, store, force=force)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "files": [file.model_dump() for file in files]})
        return
    for file in files:
        out.print(f"{file.path}  {file.rows} rows", markup=False, soft_wrap=True)


def preview(
    address: Address,
    rows: Annotated[int, typer.Option("--rows", min=1, max=1000, help="How many rows.")] = 5,
    split: Annotated[Literal["train", "test"] | None, typer.Option("--split", help="Only rows of this split.")] = None,
    seed: Seed = 0,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """A random sample of the kept rows, as they are trained on: personal data is replaced in them."""
    store = open_store(config)
    from tasks.version.preview import sample

    drawn = sample(address, store, rows=rows, split=split, seed=seed)
    if as_json:
        found = [row.model_dump(mode="json", exclude_defaults=True) for row in drawn]
        print_json({"status": "done", "exit_code": 0, "rows": found})
        return
    for row in drawn:
        out.print(_shown(row), soft_wrap=True)


def _shown(row: Row) -> Text:
    from tasks.version.trace import source_name

    quality = "" if row.quality is None else f"  quality {row.quality}"
    text = Text(f"{row.row_id}", style="bold")
    text.append(
        f"  {row.split}  {row.shape}{quality}  {source_name(row.origin)} #{row.origin.record_index}\n", "not bold dim"
    )
    for message in row.messages:
        text.append(f"  {message.role}: ", "not bold cyan").append(f"{message.content}\n", "not bold")
        for call in message.tool_calls:
            text.append("  calls ", "not bold cyan").append(f"{call.name}({call.arguments})\n", "not bold")
    if row.rejected:
        text.append("  rejected: ", "not bold cyan").append(f"{row.rejected}\n", "not bold")
    return text


def mask(
    address: Address,
    row: Annotated[str, typer.Argument(help="Row id, the beginning of one, or a row digest.", metavar="ROW")],
    model: Annotated[
        str, typer.Option("--model", help="Base model whose tokenizer and template are used.")
    ] = "smollm2-135m",
    loss_on: Annotated[
        Literal["completion", "assistant", "all"],
        typer.Option("--loss-on", help="As train.loss_on in the configuration."),
    ] = "completion",
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Which tokens of a row are learned: green and underlined, or between ⟦ and ⟧ where there is no colour."""
    store = open_store(config)
    from tasks.adapters.base_models import resolve
    from tasks.tokens import load_tokenizer
    from tasks.version.preview import learned_pieces
    from tasks.version.trace import find_row

    entry, found = find_row(row, store, address)
    base = resolve(model)
    pieces = learned_pieces(load_tokenizer(Path(base.path)), found.messages, loss_on, found.tools)
    learned, total = sum(p.tokens for p in pieces if p.learned), sum(p.tokens for p in pieces)
    if as_json:
        parts = [piece._asdict() for piece in pieces]
        print_json({"status": "done", "exit_code": 0, "address": entry.address, "row_id": found.row_id,
                    "model": base.name, "tokens": total, "learned": learned, "pieces": parts})  # fmt: skip
        return
    out.print(marked(pieces, coloured=out.color_system is not None), soft_wrap=True)
    out.print(f"\n{learned} of {total} tokens are learned ({base.name}, loss on {loss_on})", style="dim")


def marked(pieces: Sequence[Piece], *, coloured: bool) -> Text:
    """The conversation with what is learned made visible."""
    text = Text()
    for piece in pieces:
        if not piece.learned:
            text.append(piece.text, "dim")
        elif coloured:
            text.append(piece.text, "bold green underline")
        else:
            text.append(f"⟦{piece.text}⟧")
    return text
