"""`tuneloop runs retry|errors`: start a run again with its configuration, and which errors there were so far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from pydantic import Field
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson, Overrides
from deployments.commands.console import err, out, print_json
from deployments.commands.models import ConfigOption
from deployments.commands.runs_home import Name, open_runs
from deployments.config_file import LoadedConfig, load_config
from deployments.wording import printable
from tasks.config import RunConfig
from tasks.contracts import Record
from tasks.errors import UsageError

if TYPE_CHECKING:
    from deployments.runs.prefect_history import FlowRun
    from deployments.runs.views import Runs

_FLOWS = ("retrain", "finetune")
_MODE = 0o600  # a configuration can hold addresses that others need not know
# Sections that do not decide what is learned, and fields of `train` that only say how long and how often.
_AFTER_TRAINING = ("evaluate", "gate", "registry", "release", "monitor")
_OPERATIONAL = ("train.checkpoint_steps", "train.max_attempts", "train.timeout_minutes", "train.max_cost")


class Change(Record):
    """One value that differs from the run that is repeated."""

    name: str
    before: Any
    now: Any
    learns_anew: bool

    @property
    def words(self) -> str:
        return f"{self.name}: {self.before} → {self.now}"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("retry")(retry)
    app.command("errors")(errors)


def retry(
    name: Name,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be different.")] = False,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Start a run again with its configuration, or with some values changed; training goes on from its checkpoint."""
    runs = open_runs(config)
    run = runs.find(name)
    before, loaded = repeated(runs.home, run, tuple(overrides or ()))
    changes = differences(before, loaded.config)
    standing = standing_of(runs, run)
    note = what_follows(changes, standing.checkpoint, standing.trained)
    _show(run, changes, note, standing.repairs, as_json and dry_run)
    if dry_run:
        return
    _start(loaded, run, runs.home, as_json)


def _start(loaded: LoadedConfig, run: FlowRun, home: Path, as_json: bool) -> None:
    """Start the flow that the run was of: the main job, or a training on a dataset version."""
    from deployments.commands.run import check_sources, run_here
    from deployments.commands.train import train

    if run.flow == "finetune":
        train(loaded.path, str(run.parameters["dataset"]), as_json=as_json, template="", resume="")
    check_sources(loaded.config)
    reason = f"again after {run.name} ({run.id[:8]})"
    raise typer.Exit(run_here(loaded, home, (reason, ""), as_json))


def repeated(home: Path, run: FlowRun, overrides: tuple[str, ...]) -> tuple[RunConfig, LoadedConfig]:
    """The configuration of a run, and the one with the new values; the latter is kept as a file that can be edited.

    Raises:
        UsageError: the run has no configuration (a part of another run), or a new value is wrong.
    """
    values = run.parameters.get("config")
    if not isinstance(values, dict) or run.parent_task_run or run.flow not in _FLOWS:
        raise UsageError(
            "this run cannot be started again by itself",
            where=run.id,
            why=f"it is a run of {run.flow}, or a part of another run",
            remedy="name the run that it was a part of; `tuneloop runs list` shows those",
        )
    file = home / "runs" / f"retry-{run.id[:8]}.yaml"
    _write(file, values)
    before = load_config(file).config
    loaded = load_config(file, overrides)
    _write(file, loaded.config.model_dump(mode="json"))
    return before, loaded


def _write(file: Path, values: dict[str, Any]) -> None:
    from tasks.adapters.store import write_atomically

    write_atomically(file, yaml.safe_dump(values, sort_keys=False, allow_unicode=True), _MODE)


def differences(before: RunConfig, now: RunConfig) -> list[Change]:
    """Every value that differs, in the order of the configuration."""
    old, new = dict(_flat(before.model_dump(mode="json"))), dict(_flat(now.model_dump(mode="json")))
    names = [*new, *(name for name in old if name not in new)]
    changed = [name for name in names if old.get(name) != new.get(name)]
    return [Change(name=n, before=old.get(n), now=new.get(n), learns_anew=_learns_anew(n)) for n in changed]


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list) and values and isinstance(values[0], dict):
        for index, value in enumerate(values):
            yield from _flat(value, f"{name}.{index}")
    else:
        yield name, values


def _learns_anew(name: str) -> bool:
    return name not in _OPERATIONAL and name.split(".", 1)[0] not in _AFTER_TRAINING


def what_follows(changes: list[Change], checkpoint: int, trained: bool) -> str:
    """What becomes of what the run has done already."""
    anew = [change.name for change in changes if change.learns_anew]
    if anew:
        left = f"; the checkpoint of step {checkpoint} is left alone" if checkpoint else ""
        return f"a new training, since other values decide what is learned ({', '.join(anew[:3])}){left}"
    if trained:
        return "its adapter is there already and is used again, if the data are the same"
    if checkpoint:
        return f"training goes on from the checkpoint of step {checkpoint}, if the data are the same"
    return "nothing was trained yet: from the beginning"


class Standing(Record):
    """What a run has done already."""

    checkpoint: int = Field(description="Step of the newest complete checkpoint of its training; 0: none.")
    trained: bool = Field(description="Whether its training came to its end.")
    repairs: tuple[str, ...] = Field(description="What repairs changed; it stays so when the training goes on.")


def standing_of(runs: Runs, run: FlowRun) -> Standing:
    """What a run has done already."""
    from tasks.train.unfinished import unfinished

    key, events = runs.training_of(run.id), runs.events(run)
    steps = [one.step for one in unfinished(runs.store) if key and one.begun.key == key]
    repairs = tuple(event.text for event in events if event.kind == "repair")
    return Standing(checkpoint=max(steps, default=0), trained=runs.trained(run, events) is not None, repairs=repairs)


def _show(run: FlowRun, changes: list[Change], note: str, repairs: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        values = [change.model_dump(mode="json") for change in changes]
        print_json(
            {"status": "done", "exit_code": 0, "run": run.id, "changes": values, "next": note, "repairs": repairs}
        )
        return
    err.print(Text(f"{run.name} ({run.id[:8]}) again", style="bold"))
    for change in changes:
        err.print(Text(f"  {printable(change.words)}", style="yellow" if change.learns_anew else ""))
    if not changes:
        err.print(Text("  no value is different", style="dim"))
    for text in repairs:
        err.print(Text(f"  {printable(text)}", style="dim"))
    err.print(Text(f"  {note}"), soft_wrap=True)


def errors(config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Errors of the past: how often each occurred, how many a repair got over, when the last one was."""
    from deployments.environment import use_home
    from tasks.adapters.failure_log import counts

    use_home(config)
    found = counts()
    if as_json:
        print_json({"status": "done", "exit_code": 0, "errors": [each.model_dump(mode="json") for each in found]})
        return
    if not found:
        out.print("no errors were counted here")
        return
    table = Table("code", "times", "repaired", "last", "what was done then", header_style="bold")
    for each in found:
        at = f"{each.last_seen.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(each.code, str(each.count), str(each.repaired), at, printable(each.last_change))
    out.print(table)
