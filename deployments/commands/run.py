"""`tuneloop run` and `tuneloop train`: the main job, in this process or handed to the worker."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from deployments.commands.config import AsJson, ConfigPath, Overrides, TemplateName, load_with_template
from deployments.commands.console import err, error_json, out, print_error, print_json
from deployments.config_file import LoadedConfig
from deployments.environment import prepare_home, use_home
from deployments.error_statistics import count_error
from tasks.config import RunConfig
from tasks.contracts import RunOutcome
from tasks.errors import TuneloopError


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("run")(run)


def run(
    config: ConfigPath,
    overrides: Overrides = None,
    template: TemplateName = "",
    as_json: AsJson = False,
    submit: bool = typer.Option(False, "--submit", help="Hand the run to the worker that `tuneloop up` started."),
    reason: str = typer.Option("", help="Why this run is started; shown when nothing changed."),
    resume: str = typer.Option("", help="Key of the training that has to go on; another one is an error."),
) -> None:
    """The main job to its end: raw files to a gated, registered, released model."""
    loaded = load_with_template(config, overrides, template)
    check_sources(loaded.config)
    home = use_home(loaded.path)
    for name in prepare_home(home):
        err.print(f"ended what a killed run had left: {name}", markup=False, style="yellow")
    if submit:
        _submit(loaded, reason, resume, as_json)
        return
    raise typer.Exit(run_here(loaded, home, (reason, resume), as_json))


def check_sources(config: RunConfig) -> None:
    """Refuse what can be refused before any server starts: files that are not there, a name that is no base model."""
    from tasks.adapters.base_models import check_name
    from tasks.ingest.look import check_files

    check_name(config.model.base)
    check_files(config.data.sources, Path.cwd())


def run_here(loaded: LoadedConfig, home: Path, arguments: tuple[str, str], as_json: bool) -> int:
    """Run the flow in this process and show how it ended; returns the exit code."""
    from deployments.terminal import LiveRun

    try:
        with LiveRun():
            outcome = _flow_outcome(loaded.config, home, *arguments)
    except KeyboardInterrupt:
        return interrupted(as_json)
    except TuneloopError as error:
        count_error(error, loaded.config.project)
        if as_json:
            print_json(error_json(error))
        print_error(error)
        return error.exit_code
    show_outcome(outcome, loaded, home, as_json)
    return outcome.exit_code


def _flow_outcome(config: RunConfig, home: Path, reason: str, resume: str) -> RunOutcome:
    from deployments.in_process import run_flow_at

    outcome, endpoint = run_flow_at(home, "flows.retrain", "retrain", config, reason, resume)
    return outcome.model_copy(update={"run_url": None if endpoint.embedded else outcome.run_url})  # type: ignore[no-any-return]


def resume_command() -> str:
    """The command line that goes on where an interrupted one stopped: the same again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def interrupted(as_json: bool) -> int:
    """Say how to go on; returns the exit code."""
    if as_json:
        print_json({"status": "interrupted", "exit_code": 130, "resume": resume_command()})
    err.print("\ninterrupted; what was finished is kept. To go on:", style="yellow")
    err.print(f"  {resume_command()}", markup=False, soft_wrap=True)
    return 130


def show_outcome(outcome: RunOutcome, loaded: LoadedConfig, home: Path, as_json: bool) -> None:
    """Write the summary page and show how a run ended."""
    from deployments.closing import closing_table
    from deployments.summary import summary_html, summary_json
    from tasks.adapters.store import Store, write_atomically

    examples = None
    if outcome.evaluation:
        examples = Store.open().path(outcome.evaluation.uri) / "answers.jsonl"
    page = home / "runs" / f"{loaded.config.project}-{os.getpid()}.html"
    write_atomically(page, summary_html(outcome, examples))
    following = next_commands(outcome, loaded.path)
    if as_json:
        print_json({**summary_json(outcome), "summary": str(page), "next": list(following)})
    console: Callable[..., None] = err.print if as_json else out.print
    console(closing_table(outcome, following))
    console(f"summary: {outcome.run_url or page}", markup=False, soft_wrap=True, style="dim")


def next_commands(outcome: RunOutcome, config: Path) -> tuple[str, str, str]:
    """Three commands that make sense after this ending."""
    path = shlex.quote(os.path.relpath(config))
    name = outcome.registered.name if outcome.registered else ""
    if outcome.status in ("done", "unchanged"):
        return (
            f"tuneloop up {path}",
            f"tuneloop models card {name}@champion --config {path}",
            f"tuneloop data show {outcome.dataset.address if outcome.dataset else ''} --config {path}",
        )
    if outcome.status == "waiting_for_approval":
        version = outcome.registered.version if outcome.registered else ""
        return (
            f"tuneloop models card {name}@challenger --config {path}",
            f'tuneloop models promote {name} {version} --config {path} --reason "..."',
            f'tuneloop models reject {name} {version} --config {path} --reason "..."',
        )
    if outcome.status == "data_refused":
        return (f"tuneloop config show {path}", "tuneloop init FILE...", f"tuneloop run {path}")
    address = outcome.dataset.address if outcome.dataset else ""
    return (
        f"tuneloop data show {address} --config {path}",
        f"tuneloop config show {path}",
        f"tuneloop run {path} --set train.epochs=4",
    )


def _submit(loaded: LoadedConfig, reason: str, resume: str, as_json: bool) -> None:
    from deployments.services.control import submit_run

    submitted = submit_run(loaded.config, reason, resume)
    if as_json:
        print_json({"status": "submitted", "exit_code": 0, "run_id": submitted.run_id, "run_url": submitted.url})
    else:
        out.print(f"handed to the worker: {submitted.url}", markup=False, soft_wrap=True)
