"""`tuneloop sweep`: trials of settings side by side; the best one goes on to evaluation and gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson, ConfigPath, Overrides, TemplateName, load_with_template
from deployments.commands.console import err, out, print_json
from deployments.commands.run import interrupted
from deployments.commands.train import DatasetOption, exact_address, said
from deployments.environment import prepare_home, use_home
from deployments.wording import duration, printable
from tasks.errors import Refusal, TuneloopError, UsageError

if TYPE_CHECKING:
    from tasks.contracts import Candidate
    from tasks.train.space import Space, Swept, Trial

_SECTION = "train."


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("sweep")(sweep)


def sweep(
    config: ConfigPath,
    dataset: DatasetOption,
    grid: Annotated[list[str] | None, typer.Option("--grid", help="train.FIELD=VALUE,VALUE... Repeatable.")] = None,
    ranges: Annotated[list[str] | None, typer.Option("--range", help="train.FIELD=LOW..HIGH. Repeatable.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Most trials; empty: the whole grid.")] = None,
    metric: Annotated[str, typer.Option("--metric", help="Empty: validation_loss, or reward for grpo.")] = "",
    overrides: Overrides = None,
    template: TemplateName = "",
    as_json: AsJson = False,
) -> None:
    """Train with each of several settings, choose by validation, and finish the best one. Killed sweeps go on."""
    from tasks.train.space import check_validation, refuse_points

    loaded = load_with_template(config, overrides, template)
    check_validation(loaded.config.train)
    space = space_of(grid or (), ranges or (), trials, metric)
    refuse_points(loaded.config.train, space)
    home = use_home(loaded.path)
    for name in prepare_home(home):
        err.print(f"ended what a killed run had left: {name}", style="yellow", markup=False)
    try:
        swept, candidate = _run(home, loaded.config, exact_address(dataset), space)
    except KeyboardInterrupt:
        raise typer.Exit(interrupted(as_json)) from None
    except TuneloopError as error:
        raise typer.Exit(said(error, as_json)) from None
    _show(swept, candidate, home, as_json)
    raise typer.Exit(0 if candidate.registered else 10)


def space_of(grid: Sequence[str], ranges: Sequence[str], trials: int | None, metric: str) -> Space:
    """The space that the options say.

    Raises:
        UsageError: an option is not of its form, or what it says is no space.
    """
    from pydantic import ValidationError

    from tasks.train.space import Space, setting_of

    values = {name: tuple(setting_of(v) for v in text.split(",")) for name, text in _pairs("--grid", grid)}
    bounds = {name: _bounds(name, text) for name, text in _pairs("--range", ranges)}
    try:
        return Space(grid=values, ranges=bounds, trials=trials, metric=metric)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError("this is no space of settings", where=".".join(str(p) for p in first["loc"]),
                         why=str(first["msg"])) from error  # fmt: skip


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in texts:
        name, found, values = text.partition("=")
        if not found or not values or not name.startswith(_SECTION):
            raise UsageError(f"`{option}` needs train.FIELD and its values", where=f"{option} {text}",
                             remedy="--grid train.rank=8,16 or --range train.learning_rate=1e-5..1e-3")  # fmt: skip
        if any(name == f"{_SECTION}{given}" for given, _ in pairs):
            raise UsageError(f"{name} is given twice", where=f"{option} {text}", why="one of them would be passed over",
                             remedy=f"give all of its values at once: {option} {name}=...")  # fmt: skip
        pairs.append((name.removeprefix(_SECTION), values))
    return pairs


def _bounds(name: str, text: str) -> tuple[float, float]:
    low, _, high = text.partition("..")
    try:
        return float(low), float(high)
    except ValueError:
        raise UsageError("a range is LOW..HIGH", where=f"--range train.{name}={text}",
                         remedy="e.g. --range train.learning_rate=1e-5..1e-3") from None  # fmt: skip


def _run(home: Path, *arguments: Any) -> tuple[Swept, Candidate]:
    from deployments.in_process import run_flow
    from deployments.terminal import LiveRun

    with LiveRun():
        result = run_flow(home, "flows.sweep_finetune", "sweep_finetune", *arguments)
    if isinstance(result, Refusal):
        raise result
    return result  # type: ignore[no-any-return]


def _show(swept: Swept, candidate: Candidate, home: Path, as_json: bool) -> None:
    page = write_page(swept, home / "runs" / f"sweep-{candidate.trained.uri.rsplit('/', 1)[-1][:16]}")
    if as_json:
        curves = {"trials": {"__all__": {"trained": {"curve"}}}}
        passed = {"passed": candidate.gate.passed, "refusals": list(candidate.gate.refusals)}
        print_json({"status": "done" if passed["passed"] else "refused", "exit_code": 0 if passed["passed"] else 10,
                    **swept.model_dump(mode="json", exclude=curves), "gate": passed,
                    "html": str(page) if page else None})  # fmt: skip
        return
    out.print(trials_table(swept))
    out.print(
        "gate passed" if candidate.gate.passed else f"gate refused: {'; '.join(candidate.gate.refusals)}", markup=False
    )
    if page:
        out.print(str(page), soft_wrap=True, style="dim")


def trials_table(swept: Swept) -> Table:
    """Every trial with its settings and its score; the best one is marked."""
    fields = list(dict.fromkeys(name for trial in swept.trials for name in trial.point))
    table = Table("trial", *fields, swept.metric.replace("_", " "), "steps", "time", "", header_style="bold", box=None)
    for number, trial in enumerate(swept.trials, start=1):
        best = number == swept.best + 1
        table.add_row(*_cells(number, trial, fields, best), style="green" if best else "")
    return table


def _cells(number: int, trial: Trial, fields: Sequence[str], best: bool) -> tuple[Text, ...]:
    trained = trial.trained
    texts = [str(number), *(str(trial.point.get(name, "")) for name in fields)]
    texts += [("" if trial.score is None else f"{trial.score:.4f}") + (" ★" if best else "")]
    texts += [str(trained.steps), duration(trained.seconds)] if trained else ["", ""]
    return tuple(Text(printable(text)) for text in (*texts, trial.failure))


def write_page(swept: Swept, folder: Path) -> Path | None:
    """The best four trials side by side; None where fewer than two came to their end."""
    from deployments.commands.runs_compare import write_comparison
    from deployments.runs.curves import MOST_RUNS, compare, of_trained
    from tasks.train.space import in_words

    ended = [trial for trial in swept.trials if trial.trained]
    smaller = swept.metric.endswith("loss")
    ended.sort(key=lambda t: (t.score is None, (t.score or 0.0) * (1 if smaller else -1)))
    runs = [of_trained(t.trained, in_words(t.point), {f"train.{n}": str(v) for n, v in t.point.items()})
            for t in ended[:MOST_RUNS] if t.trained]  # fmt: skip
    if len(runs) < 2:
        return None
    return write_comparison(compare(runs), folder, f"Sweep: the best {len(runs)} of {len(swept.trials)} trials")[0]
