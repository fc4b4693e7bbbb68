"""`tuneloop models`: what is registered, and decisions of people about it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.commands.package import package
from deployments.environment import prepare_home, use_home
from tasks.errors import UsageError

if TYPE_CHECKING:
    from tasks.release.config import ReleaseConfig

app = typer.Typer(help="Registered models: look, promote, reject, roll back, package.", no_args_is_help=True)
app.command()(package)

Name = Annotated[str, typer.Argument(help="Registered name, e.g. support_desk, or NAME@ALIAS where one is shown.")]
Version = Annotated[int, typer.Argument(help="Version number in the registry.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the release history.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration whose .tuneloop/ is meant; else the working directory's.")
]


def _home(config: Path | None) -> Path:
    home = use_home(config)
    prepare_home(home)
    return home


@app.command("list")
def list_models(name: Name, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Every version of a model with its alias and history."""
    _home(config)
    from tasks.adapters import registry, release_history

    steps = release_history.history(name)
    rows = [
        {
            "version": v.version,
            "alias": v.alias,
            "adapter": v.adapter_digest[:12],
            "history": ", ".join(f"{s.action} {s.at:%Y-%m-%d %H:%M}" for s in steps if s.version == v.version),
        }
        for v in registry.versions(name)
    ]
    if as_json:
        print_json({"status": "done", "exit_code": 0, "name": name, "versions": rows})
        return
    table = Table("version", "alias", "adapter", "history", title=escape(name), header_style="bold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    out.print(table)


@app.command()
def card(name: Name, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """The model card of NAME@champion, NAME@challenger or NAME@VERSION."""
    _home(config)
    from tasks.adapters import registry

    model, _, alias = name.partition("@")
    served = registry.served(model, int(alias) if alias.isdigit() else alias or "champion")
    if served is None:
        raise UsageError("there is no such model version", where=name, remedy=f"see `tuneloop models list {model}`")
    text = registry.text(model, served.version, "model_card.md")
    if as_json:
        print_json({"status": "done", "exit_code": 0, "name": model, "version": served.version, "card": text})
    else:
        out.print(Markdown(text))


@app.command()
def promote(name: Name, version: Version, reason: Reason, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Make a version the champion, if it answers a few held-out prompts; a running gateway notices by itself."""
    home = _home(config)
    from tasks.adapters import registry, release_history, releases
    from tasks.release.carry_out import promote as carry_out
    from tasks.release.carry_out import releasing, serving

    releases.reconcile(name)
    model, settings = registry.version(name, version), _release_settings(name, version)
    with releasing(name):
        before = serving(name)
        done = carry_out(model, settings, getpass.getuser(), reason, before)
    if done.status == "promoted":
        _announce(home, "promoted", name, version, before, reason)
    _said(as_json, name, done.text, release_history.champion(name))


@app.command()
def reject(name: Name, version: Version, reason: Reason, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Decide against a version: it is never promoted by itself."""
    _home(config)
    from tasks.adapters import release_history, releases

    releases.reject(name, version, getpass.getuser(), reason)
    _said(as_json, name, f"version {version} is rejected", release_history.champion(name))


@app.command()
def rollback(name: Name, reason: Reason, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Bring the previous champion back."""
    home = _home(config)
    from tasks.adapters import releases

    releases.reconcile(name)
    after = releases.rollback(name, getpass.getuser(), reason)
    _announce(home, "rolled-back", name, after.version, after.previous, reason)
    _said(as_json, name, f"version {after.version} is champion again", after)


@app.command()
def fetch(base: Annotated[str, typer.Argument(help="smollm2-135m, hf:owner/name@revision, or a folder.")]) -> None:
    """Fetch, check and cache a base model."""
    use_home()
    from tasks.adapters.base_models import resolve

    model = resolve(base)
    out.print(
        f"{model.name}: {model.parameters / 1e6:.0f}M parameters, digest {model.digest[:12]}, {model.path}",
        markup=False,
        soft_wrap=True,
    )


def _release_settings(name: str, version: int) -> ReleaseConfig:
    """How the run that registered a version would have released it."""
    from tasks.adapters import registry
    from tasks.release.config import ReleaseConfig

    configured = yaml.safe_load(registry.text(name, version, "config.yaml"))
    return ReleaseConfig.model_validate(configured["release"])


def _announce(home: Path, what: str, name: str, version: int, before: int | None, reason: str) -> None:
    """Emit the event of this decision, if the Prefect server of this home is running."""
    from deployments.services.state import running_service

    if running_service(home, "prefect") is None:
        return
    from deployments.embedded import prefect_server
    from tasks.release.task import announce

    with prefect_server(home):
        announce(what, name, version, before, getpass.getuser(), reason)


def _said(as_json: bool, name: str, text: str, champion: Any) -> None:
    if as_json:
        print_json(
            {
                "status": "done",
                "exit_code": 0,
                "name": name,
                "text": text,
                "champion": champion.version if champion else None,
                "previous": champion.previous if champion else None,
            }
        )
    else:
        err.print(f"{name}: {text}", markup=False)
