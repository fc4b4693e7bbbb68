"""`tuneloop`: the command line. One module a group of commands below `deployments/commands/`."""

from __future__ import annotations

import sys
import traceback

import typer

from deployments.commands import (
    audit,
    config,
    data,
    doctor,
    estimate,
    gc,
    init,
    models,
    run,
    runs,
    services,
    support,
    sweep,
    templates,
    train,
)
from deployments.commands.console import err, error_json, print_error, print_json
from tasks.adapters.cycles import collect_rarely
from tasks.errors import TuneloopError

app = typer.Typer(
    name="tuneloop",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a company's own data to a fine-tuned language model that is proven better.",
)
for module in (init, run, estimate, train, sweep, doctor, gc, services, support):
    module.add_to(app)
app.add_typer(data.app, name="data")
app.add_typer(audit.app, name="audit")
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.add_typer(runs.app, name="runs")
app.add_typer(templates.app, name="templates")


def main() -> None:
    """Entry point of the console script; turns every ending into the exit code that architecture promises."""
    collect_rarely()
    try:
        app(standalone_mode=True)
    except TuneloopError as error:
        if "--json" in sys.argv:
            print_json(error_json(error))
        print_error(error)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        err.print("interrupted")
        raise SystemExit(130) from None
    except Exception:
        traceback.print_exc()
        err.print("this is a bug in Tuneloop: please report it with the lines above", style="bold red")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
