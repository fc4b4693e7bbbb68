"""`tuneloop audit`: the log of every operation on data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import out, print_json
from deployments.commands.models import ConfigOption
from deployments.environment import prepare_home, use_home
from deployments.wording import printable
from tasks.errors import UsageError

if TYPE_CHECKING:
    from tasks.adapters.audit import AuditEntry, Head

app = typer.Typer(help="The log of every operation on data: look at it, prove it.", no_args_is_help=True)
FAULTY = 20
_REMEDY = (
    "someone or something wrote to the state database past Tuneloop: compare with a backup of it, keep both, and "
    "note the head of the repaired log outside this machine"
)
HeadOption = Annotated[
    str | None,
    typer.Option("--head", metavar="SEQ:DIGEST", help="A head that was noted elsewhere; the log must hold it."),
]


@app.command()
def verify(head: HeadOption = None, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Find entries that were changed, put in, moved, taken out or cut off (exit code 20)."""
    prepare_home(use_home(config))
    from tasks.adapters import audit

    faults = audit.verify(_parsed(head))
    newest = audit.head()
    shown = f"{newest.seq}:{newest.digest}" if newest.seq else ""
    if as_json:
        found = [fault.model_dump() for fault in faults]
        ending = {"status": "failed" if faults else "done", "exit_code": FAULTY if faults else 0}
        print_json({**ending, "entries": newest.seq, "head": shown, "faults": found, "next": _REMEDY if faults else ""})
    elif faults:
        out.print("\n".join(fault.words for fault in faults), markup=False)
        out.print(f"next: {_REMEDY}", markup=False, soft_wrap=True)
    else:
        out.print(f"{newest.seq} entries, all as they were written; head {shown or 'none'}", soft_wrap=True)
    raise typer.Exit(FAULTY if faults else 0)


def _parsed(text: str | None) -> Head | None:
    if text is None:
        return None
    from tasks.adapters.audit import Head

    match = re.fullmatch(r"(\d+):([0-9a-f]{64})", text)
    if match is None:
        raise UsageError("this is not the head of an audit log", where="--head", why="it has the form SEQ:DIGEST",
                         remedy="`tuneloop audit verify` prints it")  # fmt: skip
    return Head(seq=int(match[1]), digest=match[2])


@app.command("list")
def list_entries(
    count: Annotated[int, typer.Option("--last", min=1, help="How many of the newest entries.")] = 20,
    object_part: Annotated[str, typer.Option("--object", help="Only entries whose object holds this text.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only entries whose action begins like this.")] = "",
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """The newest entries, oldest first."""
    prepare_home(use_home(config))
    from tasks.adapters import audit

    wanted = bool(object_part or action)
    found = [
        entry
        for entry in audit.entries(newest=None if wanted else count)
        if object_part in entry.object and entry.action.startswith(action)
    ][-count:]
    if as_json:
        print_json({"status": "done", "exit_code": 0, "entries": [entry.model_dump(mode="json") for entry in found]})
        return
    out.print(_table(found))


def _table(found: list[AuditEntry]) -> Table:
    table = Table("entry", "at (UTC)", "actor", "action", "object", "reason and details", header_style="bold")
    for entry in found:
        more = ", ".join([*([entry.reason] if entry.reason else []), *(f"{k} {v}" for k, v in entry.details.items())])
        cells: tuple[Any, ...] = (entry.seq, f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.actor, entry.action, entry.object)
        table.add_row(*(Text(printable(str(cell))) for cell in (*cells, more)))
    return table
