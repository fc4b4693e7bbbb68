"""`tuneloop data`: dataset versions. The commands lie in the modules `data_*` beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markdown import Markdown
from rich.table import Table

from deployments.commands import data_diff, data_mix, data_rows, data_trace, erase, quarantine
from deployments.commands.config import AsJson, ConfigPath, Overrides
from deployments.commands.console import out, print_json
from deployments.commands.data_home import Address, open_store
from deployments.commands.models import ConfigOption
from deployments.config_file import LoadedConfig, load_config
from deployments.environment import prepare_home, use_home
from tasks.config import RunConfig
from tasks.errors import DataRefused, UsageError
from tasks.ingest.config import SourceConfig

if TYPE_CHECKING:
    from tasks.adapters.store import Store

app = typer.Typer(
    help="Dataset versions: make, look, compare, trace, verify, mix, bring back, export.", no_args_is_help=True
)


@app.command()
def prepare(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Raw files to a dataset version, without training."""
    _prepare(load_config(config, overrides or ()), as_json)


@app.command()
def append(
    config: ConfigPath,
    files: Annotated[list[Path], typer.Argument(help="Files to read in addition to the configured sources.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """A version with the rows of more files: the configured sources and these, under the same rules.

    What was held out stays held out, what was read before is not read again. The configuration is not changed: name
    the files in data.sources to keep them in later versions.
    """
    loaded = load_config(config, overrides or ())
    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise UsageError("the file to append does not exist", where=", ".join(missing), remedy="correct the path")
    _prepare(loaded._replace(config=_with_files(loaded.config, files)), as_json)


def _with_files(config: RunConfig, files: Sequence[Path]) -> RunConfig:
    """The configuration with more sources; a file that it names already is read as it says."""
    known = {source.path for source in config.data.sources}
    new = [path for path in dict.fromkeys(str(file.absolute()) for file in files) if path not in known]
    sources = (*config.data.sources, *(SourceConfig(path=path) for path in new))
    return config.model_copy(update={"data": config.data.model_copy(update={"sources": sources})})


def _prepare(loaded: LoadedConfig, as_json: bool) -> None:
    from deployments.in_process import run_flow
    from deployments.terminal import LiveRun

    home = use_home(loaded.path)
    prepare_home(home)
    with LiveRun():
        made = run_flow(home, "flows.prepare_data", "prepare_data", loaded.config)
    if isinstance(made, DataRefused):
        raise made
    _show(made.address, open_store(loaded.path), as_json)


@app.command("list")
def list_versions(
    project: Annotated[str | None, typer.Argument(help="Only this project's.")] = None,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """All dataset versions of a home."""
    open_store(config)
    from tasks.version.catalog import list_versions as entries

    found = entries(project)
    if as_json:
        versions = [{"address": e.address, "version": e.version, **e.model_dump(mode="json")} for e in found]
        print_json({"status": "done", "exit_code": 0, "versions": versions})
        return
    table = Table("address", "digest", "created", header_style="bold")
    for e in found:
        table.add_row(e.address, e.digest[:12], f"{e.created_at:%Y-%m-%d %H:%M}")
    out.print(table)


@app.command()
def show(address: Address, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """A version's card."""
    _show(address, open_store(config), as_json)


def _show(address: str, store: Store, as_json: bool) -> None:
    from tasks.version.card import IMAGE
    from tasks.version.catalog import show as look

    version, card = look(address, store)
    image = store.path(version.uri) / IMAGE
    if as_json:
        print_json(
            {"status": "done", "exit_code": 0, **version.model_dump(mode="json"), "card": card, "image": str(image)}
        )
    else:
        out.print(Markdown(card))
        out.print(f"{version.address}, image of the card: {image}", soft_wrap=True, markup=False)


@app.command()
def verify(address: Address, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Recompute every digest and number of a version."""
    from tasks.version.verify import verify as check

    faults = check(address, open_store(config))
    if as_json:
        found = [fault.model_dump() for fault in faults]
        print_json({"status": "failed" if faults else "done", "exit_code": 20 if faults else 0, "faults": found})
    elif not faults:
        out.print(f"{address}: every file and row is what the manifest says", markup=False)
    for fault in () if as_json else faults:
        out.print(f"{fault.file}: {fault.what}", markup=False)
    raise typer.Exit(20 if faults else 0)


@app.command()
def rollback(address: Address, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Make an old version the newest one again, under a new number."""
    store = open_store(config)
    from tasks.version.catalog import rollback as bring_back

    version = bring_back(address, store)
    if as_json:
        print_json({"status": "done", "exit_code": 0, **version.model_dump(mode="json")})
    else:
        out.print(f"{version.address} holds the rows of {address}", markup=False)


for module in (data_diff, data_rows, data_trace, data_mix, erase):
    module.add_to(app)
app.add_typer(quarantine.app, name="quarantine")
