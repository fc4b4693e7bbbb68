"""`tuneloop estimate`: time, memory and cost of a training, before anything starts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from deployments.commands.config import AsJson, ConfigPath, Overrides, TemplateName, load_with_template
from deployments.commands.console import err, out, print_json
from deployments.environment import prepare_home, use_home
from deployments.wording import duration
from tasks.config import RunConfig
from tasks.contracts import BaseModelRef
from tasks.errors import BudgetRefused, EnvironmentUnusable, TuneloopError

if TYPE_CHECKING:
    from tasks.train.estimate.process import Estimated, Guess, Request
    from tasks.train.recipe import Recipe

_MINUTES = 20
_BYTES_PER_TOKEN = 4.0
_BYTES_PER_ROW = 400.0


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("estimate")(estimate)


def estimate(
    config: ConfigPath,
    dataset: Annotated[
        str, typer.Option("--dataset", help="ds://project/name@1.2.0; empty: the newest there is.")
    ] = "",
    overrides: Overrides = None,
    template: TemplateName = "",
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="Measure some micro-batches on this machine.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Time, memory and cost of a training before anything starts. Exit code 40: it would be refused."""
    loaded = load_with_template(config, overrides, template)
    home = use_home(loaded.path)
    prepare_home(home)
    with tempfile.TemporaryDirectory(prefix="tuneloop-estimate-", dir=home) as folder:
        request, about = _request(loaded.config, dataset, Path(folder), calibrate)
        found = _run(request, home, Path(folder))
    refusal = _refusal(found)
    if as_json:
        values = {"status": "refused" if refusal else "done", "exit_code": refusal.exit_code if refusal else 0}
        print_json(values | {"data": about, "rough": not found.here.calibrated} | found.model_dump(mode="json"))
    else:
        _show(found, about)
    if refusal:
        err.print(f"{refusal.code} {refusal.what}: {refusal.remedy}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(refusal.exit_code)


def _request(config: RunConfig, dataset: str, folder: Path, calibrate: bool) -> tuple[Request, str]:
    """What the process is asked, and in words what data it is about."""
    from tasks.adapters.base_models import resolve
    from tasks.train.estimate.process import Request

    err.print(f"base model {config.model.base}: fetched if it is not here yet", style="dim", markup=False)
    base = resolve(config.model.base)
    version, address = _version(config, dataset)
    if version is None:
        guess = _guess(config)
        recipe = _recipe(config, guess.rows, base)
        about = f"no dataset version yet: {guess.rows:,} rows of {guess.tokens} tokens, by the size of the source files"
        return Request(job=_job(base, recipe, Path("none"), "", folder), guess=guess, calibrate=False), about
    from tasks.adapters.store import Store

    store = Store.open()
    recipe = _recipe(config, version.train_rows, base)
    rows = store.path(version.uri) / "train.jsonl"
    job = _job(base, recipe, rows, version.digest, folder)
    _try_saving(store, recipe, base, folder)
    return Request(job=job, calibrate=calibrate), f"{address} with {version.train_rows:,} training rows"


def _version(config: RunConfig, dataset: str) -> tuple[Any, str]:
    """The dataset version that is meant, and its address; None where none is prepared and none was asked for."""
    from deployments.known_facts import known_facts

    if not dataset and known_facts(config).rows is None:
        return None, ""
    from tasks.adapters.store import Store
    from tasks.version.catalog import show

    version, _ = show(dataset or f"ds://{config.project}/{config.split.name}", Store.open())
    return version, version.address


def _recipe(config: RunConfig, rows: int, base: BaseModelRef) -> Recipe:
    from tasks.train.recipe import Facts, resolve_recipe

    return resolve_recipe(config.train, Facts(rows=rows, parameters=base.parameters)).recipe


def _job(base: BaseModelRef, recipe: Recipe, rows: Path, digest: str, folder: Path) -> Any:
    from tasks.train.estimate.around import known_here
    from tasks.train.plan import Job

    return Job(
        base=base, rows=rows, dataset_digest=digest, config=recipe, work=folder, key="0" * 64, known=known_here()
    )


def _try_saving(store: Any, recipe: Recipe, base: BaseModelRef, folder: Path) -> None:
    """The dry run of the save path, so that a disk without room is known now."""
    from tasks.train.estimate.around import known_before

    known_before(store, "estimate", folder, recipe, base)


def _guess(config: RunConfig) -> Guess:
    """Rows and tokens that the source files suggest. Sources that are no local files count for nothing."""
    from tasks.train.estimate.process import Guess

    files = [file for source in config.data.sources if source.path for file in _files(Path(source.path))]
    size = sum(file.stat().st_size for file in files)
    if not size:
        raise EnvironmentUnusable(
            "there is nothing to estimate from",
            where="data.sources",
            why="no dataset version is prepared, and no source is a file on this machine",
            remedy="`tuneloop data prepare CONFIG` first, or --dataset ds://project/name@1.2.0",
        )
    rows = max(1, sum(_records(file) for file in files))
    tokens = max(16, int(size / rows / _BYTES_PER_TOKEN))
    return Guess(rows=rows, tokens=min(tokens, config.checks.max_tokens))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def _records(file: Path) -> int:
    """Lines of a file with a record on each line; else by the usual size of a record."""
    if file.suffix in (".jsonl", ".ndjson", ".csv", ".tsv"):
        with file.open("rb") as stream:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
    return max(1, int(file.stat().st_size / _BYTES_PER_ROW))


def _run(request: Request, home: Path, folder: Path) -> Estimated:
    """The answer of the process that estimates."""
    from tasks.adapters.processes import run_worker
    from tasks.train.attempts import as_failure, is_failure
    from tasks.train.estimate.process import Estimated

    file = folder / "request.json"
    file.write_text(request.model_dump_json(), encoding="utf-8")
    events: list[dict[str, Any]] = []
    log = home / "logs" / "estimate.log"
    run_worker("tasks.train.estimate.process", [str(file)], home=home, log_file=log, on_event=events.append,
               timeout_seconds=_MINUTES * 60)  # fmt: skip
    for event in events:
        if is_failure(event):
            raise as_failure(event).as_error()
        if event["event"] == "estimate":
            return Estimated.model_validate(event["found"])
    raise TuneloopError("the estimate ended without an answer", where=str(log), remedy="the log's last lines say why")


def _refusal(found: Estimated) -> BudgetRefused | None:
    """What a training with this configuration would be answered here."""
    if not found.refusal:
        return None
    changes = [f"{p.change} (about {p.total_bytes / 1e9:.1f} GB)" for p in found.proposals]
    return BudgetRefused(
        found.refusal, remedy=" - or ".join(changes) or "the table shows where it fits and what it costs"
    )


def _show(found: Estimated, about: str) -> None:
    here = found.here
    out.print(about, markup=False, soft_wrap=True)
    counts = f"{found.rows:,} rows, {found.steps:,} steps, {found.tokens:,} tokens"
    shares = f"{found.learned_share:.0%} of them learned, {found.padding_share:.0%} of what is computed is padding"
    out.print(f"{counts}, {shares}", markup=False, soft_wrap=True)
    how = f"measured in {here.calibration_seconds:.1f} s" if here.calibrated else "rough: nothing of it was measured"
    corrected = f", corrected by {here.corrected_by} earlier trainings" if here.corrected_by else ""
    between = f"{duration(here.low_seconds)} to {duration(here.high_seconds)}"
    out.print(f"\ntime here: {duration(here.seconds)}, {between} ({how}{corrected})", markup=False, soft_wrap=True)
    out.print("training only: loading, preparing data and evaluation are not part of it", style="dim")
    out.print(_parts("memory of a process", {k: f"{v / 1e9:.2f} GB" for k, v in here.memory_parts.items() if v},
                     f"{here.memory_bytes / 1e9:.2f} GB of {found.free_bytes / 1e9:.1f} GB"))  # fmt: skip
    out.print(_parts("time", {k: duration(v) for k, v in here.time_parts.items() if v >= 0.05}, duration(here.seconds)))
    out.print(_kinds(found))
    for text in found.hints:
        out.print(f"- {text}", markup=False, soft_wrap=True)


def _parts(title: str, parts: dict[str, str], total: str) -> Table:
    table = Table(title, "", box=None, header_style="bold", title_justify="left")
    for name, value in parts.items():
        table.add_row(name, value)
    table.add_row("total", total, style="bold")
    return table


def _kinds(found: Estimated) -> Table:
    from tasks.train.estimate.prices import load_prices

    prices = load_prices()
    title = f"{prices.currency}, prices of {prices.as_of} ({prices.source})"
    table = Table(
        "machine", "devices", "memory each", "time", "on demand", "spot", title=title, box=None, header_style="bold"
    )
    for kind in found.kinds:
        fits = (str(kind.devices), f"{kind.memory_bytes / 1e9:.1f} GB", duration(kind.seconds), f"{kind.on_demand:.2f}",
                f"{kind.spot:.2f}")  # fmt: skip
        table.add_row(
            kind.kind, *(fits if kind.devices else ("does not fit", f"{kind.memory_bytes / 1e9:.1f} GB", "", "", ""))
        )
    return table
