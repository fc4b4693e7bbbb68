"""`tuneloop data`: dataset versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markdown import Markdown
from rich.table import Table

from deployments.commands.config import AsJson, ConfigPath, Overrides
from deployments.commands.console import out, print_json
from deployments.commands.models import ConfigOption
from deployments.config_file import load_config
from deployments.environment import prepare_home, use_home
from tasks.errors import DataRefused

app = typer.Typer(help="Dataset versions: prepare, look, compare, verify, bring back, export.", no_args_is_help=True)
Address = Annotated[str, typer.Argument(help="ds://project/name@1.2.0; without a number, the newest.")]


def _store(config: Path | None) -> Any:
    from tasks.adapters.store import Store

    prepare_home(use_home(config))
    return Store.open()


@app.command()
def prepare(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Raw files to a dataset version, without training."""
    from deployments.in_process import run_flow
    from deployments.terminal import LiveRun

    loaded = load_config(config, overrides or ())
    home = use_home(loaded.path)
    prepare_home(home)
    with LiveRun():
        from_flow = run_flow(home, "flows.prepare_data", "prepare_data", loaded.config)
    if isinstance(from_flow, DataRefused):
        raise from_flow
    _show(from_flow.address, _store(config), as_json)


@app.command("list")
def list_versions(
    project: Annotated[str | None, typer.Argument(help="Only this project's.")] = None,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """All dataset versions of a home."""
    _store(config)
    from tasks.version.catalog import list_versions as entries

    found = [e.model_dump(mode="json") for e in entries(project)]
    if as_json:
        print_json({"status": "done", "exit_code": 0, "versions": found})
        return
    table = Table("address", "digest", "created", header_style="bold")
    for e in entries(project):
        table.add_row(e.address, e.digest[:12], f"{e.created_at:%Y-%m-%d %H:%M}")
    out.print(table)


@app.command()
def show(address: Address, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """A version's card."""
    _show(address, _store(config), as_json)


def _show(address: str, store: Any, as_json: bool) -> None:
    from tasks.version.catalog import show as look

    version, card = look(address, store)
    if as_json:
        print_json({"status": "done", "exit_code": 0, **version.model_dump(mode="json"), "card": card})
    else:
        out.print(Markdown(card))


@app.command()
def diff(old: Address, new: Address, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Rows that were added, removed or moved between two versions."""
    from tasks.version.catalog import diff as compare

    difference = compare(old, new, _store(config))
    if as_json:
        print_json({"status": "done", "exit_code": 0, **difference.model_dump(mode="json")})
        return
    out.print(
        f"{difference.old} → {difference.new}: {len(difference.added)} added, {len(difference.removed)} removed, "
        f"{len(difference.moved)} moved" + (", policy changed" if difference.policy_changed else "")
    )
    for mark, ids in (("+", difference.added), ("-", difference.removed), ("~", difference.moved)):
        for row_id in ids:
            out.print(f"{mark} {row_id}", markup=False)


@app.command()
def verify(address: Address, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Recompute every digest of a version."""
    from tasks.version.catalog import verify as check

    faults = check(address, _store(config))
    if as_json:
        print_json({"status": "failed" if faults else "done", "exit_code": 20 if faults else 0, "faults": faults})
    else:
        out.print("\n".join(faults) if faults else f"{address}: every file and row is what the manifest says")
    raise typer.Exit(20 if faults else 0)


@app.command()
def rollback(address: Address, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Make an old version the newest one again, under a new number."""
    from tasks.version.catalog import rollback as bring_back

    version = bring_back(address, _store(config))
    if as_json:
        print_json({"status": "done", "exit_code": 0, **version.model_dump(mode="json")})
    else:
        out.print(f"{version.address} holds the rows of {address}")


@app.command()
def export(
    address: Address,
    target: Annotated[Path, typer.Argument(help="Folder to write chat JSONL files to.")],
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Write a version's training and test rows as chat JSONL."""
    from tasks.version.catalog import export as write

    files = [str(p) for p in write(address, target, _store(config))]
    if as_json:
        print_json({"status": "done", "exit_code": 0, "files": files})
    else:
        out.print("\n".join(files))
