"""`tuneloop up | down | status | serve`: the servers of a home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.environment import prepare_home, use_home

OptionalConfig = Annotated[
    Path | None,
    typer.Argument(help="Configuration whose model is served; without it no gateway starts.", metavar="[CONFIG]"),
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Ask for this port; busy is then an error.")]
_COLOURS = {"healthy": "green", "starting": "yellow", "unhealthy": "red", "failed": "red"}


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (up, down, status, serve):
        app.command(command.__name__)(command)


def up(
    config: OptionalConfig = None,
    prefect_port: Port = None,
    mlflow_port: Port = None,
    gateway_port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Start Prefect, MLflow, a worker and the gateway on this machine, in the background, and register deployments."""
    from deployments.services.control import up as start
    from deployments.services.plan import AskedPorts

    prepare_home(use_home(config))
    asked = AskedPorts(prefect=prefect_port, mlflow=mlflow_port, gateway=gateway_port)
    running = start(config, ports=asked, report=lambda line: err.print(line, style="dim", markup=False))
    if as_json:
        print_json({"status": "done", "exit_code": 0, **running.model_dump(mode="json")})
        return
    for note in running.notes:
        err.print(note, style="yellow", markup=False, soft_wrap=True)
    _print(running.services)
    if running.key_file:
        out.print(f"key for the gateway: {running.key_file}", markup=False, soft_wrap=True)


def down(config: OptionalConfig = None, as_json: AsJson = False) -> None:
    """End every service of this home; no process is left."""
    from deployments.services.control import down as stop

    use_home(config)
    ended = stop().ended
    if as_json:
        print_json({"status": "done", "exit_code": 0, "ended": list(ended)})
    else:
        out.print(f"ended: {', '.join(ended)}" if ended else "nothing was running", markup=False)


def status(config: OptionalConfig = None, as_json: AsJson = False) -> None:
    """The services of this home as they are now."""
    from deployments.services.control import status as look

    use_home(config)
    services = look()
    if as_json:
        print_json({"status": "done", "exit_code": 0, "services": [s.model_dump(mode="json") for s in services]})
    elif services:
        _print(services)
    else:
        out.print("nothing was started; `tuneloop up CONFIG` starts the services")


def serve(
    config: Annotated[Path, typer.Argument(help="Configuration file (YAML).", metavar="CONFIG")],
    gateway_port: Port = None,
) -> None:
    """Serve the champion in the foreground, without Prefect and MLflow servers, until Ctrl-C."""
    from deployments.config_file import load_config
    from deployments.gateway.__main__ import main as serve_model
    from tasks.adapters import api_keys

    loaded = load_config(config)
    key_file = use_home(loaded.path) / "keys" / "gateway.key"
    prepare_home(key_file.parent.parent)
    api_keys.ensure_key_file(key_file)
    out.print(f"key for the gateway: {key_file}", markup=False, soft_wrap=True)
    port = ["--port", str(gateway_port)] if gateway_port else []
    raise typer.Exit(serve_model(["--model", loaded.config.model_name, "--key-file", str(key_file), *port]))


def _print(services: tuple[Any, ...]) -> None:
    table = Table("service", "state", "address", "process", header_style="bold")
    for s in services:
        state = Text(f"{s.state} {s.reason}".strip(), style=_COLOURS.get(s.state, "dim"))
        table.add_row(s.name, state, s.url or "", str(s.pid or ""))
    out.print(table)
    out.print(f"logs: {Path(services[0].log).parent}", markup=False, soft_wrap=True)
