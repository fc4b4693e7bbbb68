"""`tuneloop config show`: every value with where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deployments.commands.console import err, out, print_json
from deployments.config_file import LoadedConfig, Template, load_config, shown_values
from deployments.environment import use_home

app = typer.Typer(help="Look at a configuration.", no_args_is_help=True)

ConfigPath = Annotated[Path, typer.Argument(help="Configuration file (YAML).", metavar="CONFIG")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override one value: a.b=c. Repeatable.")]
TemplateName = Annotated[
    str, typer.Option("--template", help="Settings saved by `templates save`: they hold where the file says nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, logs on standard error.")]


@app.callback()
def _group() -> None:
    """Look at a configuration."""


@app.command()
def show(config: ConfigPath, overrides: Overrides = None, template: TemplateName = "", as_json: AsJson = False) -> None:
    """Every value with where it came from and what it means."""
    from deployments.known_facts import known_facts

    loaded = load_with_template(config, overrides, template)
    use_home(loaded.path)
    facts = known_facts(loaded.config)
    values = shown_values(loaded, facts.rows, facts.parameters)
    if as_json:
        print_json({v.name: {"value": _plain(v.value), "origin": v.origin} for v in values})
        return
    table = Table(
        "key", "value", "from", "meaning", title=escape(str(config)), header_style="bold", caption=escape(facts.words)
    )
    for v in values:
        faint = v.origin.startswith(("default", "every preset"))
        table.add_row(
            v.name, Text(str(_plain(v.value))), Text(v.origin), Text(v.description), style="dim" if faint else ""
        )
    out.print(table)
    _print_warnings(loaded, facts.rows, facts.parameters)


def load_with_template(config: Path, overrides: list[str] | None, template: str) -> LoadedConfig:
    """A configuration, with the sections of a saved template below its own values if one is named."""
    return load_config(config, overrides or (), find_template(template, config))


def find_template(name: str, config: Path) -> Template | None:
    """The saved template of this name, in the home of a configuration; None for no name."""
    if not name:
        return None
    from tasks.adapters import templates

    use_home(config)
    return Template(name, templates.find(name).sections)


def _print_warnings(loaded: LoadedConfig, rows: int | None, parameters: int | None) -> None:
    """Say which values of the training are unusual, where that can be known."""
    from tasks.train.recipe import Facts, resolve_recipe

    if rows is not None and parameters is not None:
        for text in resolve_recipe(loaded.config.train, Facts(rows=rows, parameters=parameters)).warnings:
            err.print(f"unusual: {text}", style="yellow", markup=False, soft_wrap=True)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
