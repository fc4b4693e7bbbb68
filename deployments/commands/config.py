"""`tuneloop config show`: every value with where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deployments.commands.console import out, print_json
from deployments.config_file import load_config, shown_values

app = typer.Typer(help="Look at a configuration.", no_args_is_help=True)

ConfigPath = Annotated[Path, typer.Argument(help="Configuration file (YAML).", metavar="CONFIG")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override one value: a.b=c. Repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, logs on standard error.")]


@app.callback()
def _group() -> None:
    """Look at a configuration."""


@app.command()
def show(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Every value with where it came from and what it means."""
    values = shown_values(load_config(config, overrides or ()))
    if as_json:
        print_json({v.name: {"value": _plain(v.value), "origin": v.origin} for v in values})
        return
    table = Table("key", "value", "from", "meaning", title=str(config), header_style="bold")
    for v in values:
        table.add_row(
            v.name, str(_plain(v.value)), v.origin, v.description, style="" if v.origin != "default" else "dim"
        )
    out.print(table)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
