"""`tuneloop templates`: settings of a run under a name, to start other runs from."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson, ConfigPath, Overrides
from deployments.commands.console import out, print_json
from deployments.config_file import given_sections, load_config
from deployments.environment import prepare_home, use_home
from tasks.errors import UsageError

SECTIONS = ("model", "train", "evaluate", "gate")
_CREDENTIALS = re.compile(r"://[^/@\s]*:?[^/@\s]*@")

app = typer.Typer(help="Save settings under a name and start from them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the template: small letters, digits, - and _.", metavar="NAME")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration whose home is used; empty: the working directory's.")
]


@app.command()
def save(
    name: Name,
    config: ConfigPath,
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a template of this name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Save what a configuration gives for model, train, evaluate and gate; data, project and addresses stay out."""
    from tasks.adapters import templates

    check_name(name)
    sections = given_sections(load_config(config, overrides or ()), SECTIONS)
    refuse_secrets(sections)
    prepare_home(use_home(config))
    at = datetime.datetime.now(datetime.UTC)
    made = templates.SavedTemplate(name=name, sections=sections, saved_from=config.name, at=at)
    templates.save(made, replace=force)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "template": made.model_dump(mode="json")})
        return
    out.print(f"saved {name}: {', '.join(sections) or 'nothing is given, so nothing is in it'}", markup=False)
    out.print(f"next: tuneloop run CONFIG --template {name}", markup=False, soft_wrap=True)


@app.command("list")
def list_templates(config: ConfigOption = None, as_json: AsJson = False) -> None:
    """All templates of this home."""
    from tasks.adapters import templates

    prepare_home(use_home(config))
    found = templates.saved()
    if as_json:
        print_json({"status": "done", "exit_code": 0, "templates": [t.model_dump(mode="json") for t in found]})
        return
    table = Table("name", "saved from", "at (UTC)", "gives", header_style="bold")
    for template in found:
        gives = ", ".join(f"{section}.{key}" for section, values in template.sections.items() for key in values)
        table.add_row(template.name, Text(template.saved_from), f"{template.at:%Y-%m-%d %H:%M}", gives)
    out.print(table)


@app.command()
def show(name: Name, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """What a template gives."""
    from tasks.adapters import templates

    prepare_home(use_home(config))
    found = templates.find(name)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "template": found.model_dump(mode="json")})
        return
    out.print(as_yaml(found.sections), markup=False, highlight=False, soft_wrap=True, end="")


@app.command()
def remove(name: Name, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Forget a template; configurations that were started from it stay as they are."""
    from tasks.adapters import templates

    prepare_home(use_home(config))
    templates.remove(name)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "removed": name})
        return
    out.print(f"removed {name}", markup=False)


def check_name(name: str) -> None:
    """Refuse a name that is none.

    Raises:
        UsageError: other characters than small letters, digits, `-` and `_`, or more than 64 of them.
    """
    from tasks.adapters.templates import NAME

    if not re.fullmatch(NAME, name):
        raise UsageError("this is no name for a template", where=repr(name)[:80],
                         remedy="use up to 64 small letters, digits, - and _, a letter or digit first")  # fmt: skip


def refuse_secrets(sections: dict[str, Any], place: str = "") -> None:
    """Refuse sections with a key, a password or an address with credentials; the error names the field, not the value.

    Raises:
        UsageError: a text looks like a secret.
    """
    from tasks.privacy.secret_values import assigned_secrets, keys

    for name, value in sections.items():
        if isinstance(value, dict):
            refuse_secrets(value, f"{place}{name}.")
            continue
        text = str(value)
        if _CREDENTIALS.search(text) or any(keys(text)) or any(assigned_secrets(text)):
            raise UsageError("a template must not hold a secret", where=f"{place}{name}",
                             why="its value looks like a key, a password or an address with credentials",
                             remedy="take it out; secrets belong into the environment")  # fmt: skip


def as_yaml(sections: dict[str, Any]) -> str:
    """Sections as they stand in a configuration file."""
    return str(yaml.safe_dump(sections, sort_keys=False, allow_unicode=True))
