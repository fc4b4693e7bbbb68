"""`tuneloop train`: a dataset version to a candidate that has passed the gate, or not. Nothing is released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.config import AsJson, ConfigPath, Overrides, TemplateName, load_with_template
from deployments.commands.console import err, error_json, print_error, print_json
from deployments.commands.run import interrupted, show_outcome
from deployments.environment import prepare_home, use_home
from tasks.config import RunConfig
from tasks.contracts import Candidate, RunOutcome
from tasks.errors import Refusal, TuneloopError

DatasetOption = Annotated[str, typer.Option("--dataset", help="ds://project/name@1.2.0; without a number, the newest.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("train")(train)


def train(
    config: ConfigPath,
    dataset: DatasetOption,
    overrides: Overrides = None,
    template: TemplateName = "",
    as_json: AsJson = False,
    resume: str = typer.Option("", help="Key of the training that has to go on; another one is an error."),
) -> None:
    """Train on a dataset version that is there, evaluate, gate, register; without preparing data or releasing."""
    loaded = load_with_template(config, overrides, template)
    home = use_home(loaded.path)
    for name in prepare_home(home):
        err.print(f"ended what a killed run had left: {name}", style="yellow", markup=False)
    try:
        outcome = _run(loaded.config, home, dataset, resume)
    except KeyboardInterrupt:
        raise typer.Exit(interrupted(as_json)) from None
    except TuneloopError as error:
        raise typer.Exit(said(error, as_json)) from None
    show_outcome(outcome, loaded, home, as_json)
    raise typer.Exit(outcome.exit_code)


def said(error: TuneloopError, as_json: bool) -> int:
    """Show a coded error; returns its exit code."""
    if as_json:
        print_json(error_json(error))
    print_error(error)
    return error.exit_code


def _run(config: RunConfig, home: Path, dataset: str, resume: str) -> RunOutcome:
    from deployments.in_process import run_flow
    from deployments.terminal import LiveRun

    newest = exact_address(dataset)
    with LiveRun():
        candidate = run_flow(home, "flows.finetune", "finetune", config, newest, resume)
    if isinstance(candidate, Refusal):
        raise candidate
    return outcome_of(candidate)


def exact_address(dataset: str) -> str:
    """The address with its number, so that the run names the rows it learned.

    Raises:
        UsageError: there is no such version.
    """
    from tasks.adapters.store import Store
    from tasks.version.catalog import show

    version, _ = show(dataset, Store.open())
    return version.address


def outcome_of(candidate: Candidate) -> RunOutcome:
    """A candidate as the outcome of a run that ends with it."""
    from tasks.adapters.store import Store
    from tasks.version.catalog import show

    version, _ = show(candidate.trained.dataset, Store.open())
    refused = candidate.registered is None
    return RunOutcome(
        status="refused" if refused else "done" if candidate.trained.new else "unchanged",
        exit_code=10 if refused else 0,
        dataset=version,
        trained=candidate.trained.new,
        model=candidate.trained,
        evaluation=candidate.evaluation,
        gate=candidate.gate,
        registered=candidate.registered,
        reasons=candidate.gate.refusals if refused else (),
    )
