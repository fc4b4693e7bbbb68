"""`tuneloop gc`: frees what nothing refers to."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.commands.data_home import open_store
from deployments.commands.models import ConfigOption
from tasks.errors import EnvironmentUnusable

if TYPE_CHECKING:
    from tasks.adapters.garbage import Verdict
    from tasks.adapters.leftovers import Leftover
    from tasks.adapters.store import Store

Unused = Annotated[int, typer.Option("--unused-days", min=0, help="Only what nobody used for so many days.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("gc")(gc)


def gc(unused_days: Unused = 7, dry_run: DryRun = False, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Free stage outputs that nothing refers to, and the work of attempts that ended before they were done."""
    from tasks.adapters.claim import alone
    from tasks.adapters.store import USERS

    store = open_store(config)
    with alone(store.root / "locks" / USERS, "store") as free:
        if not (free or dry_run):
            raise EnvironmentUnusable(
                "the store is in use",
                where=str(store.root),
                why="a run or another command is at work in this home",
                remedy="repeat the command when it has ended; --dry-run shows what would go",
            )
        outputs, work = _found(store, timedelta(days=unused_days))
        going = [verdict for verdict in outputs if verdict.goes]
        if not dry_run and (going or work):
            _free(store, going, work)
    _say(outputs, work, dry_run, as_json)
    if not free:
        err.print("a run or another command is at work in this home: nothing could be freed now", soft_wrap=True)


def _found(store: Store, unused: timedelta) -> tuple[tuple[Verdict, ...], list[Leftover]]:
    """What is to become of every output, and the leftovers."""
    from tasks.adapters.garbage import decide
    from tasks.adapters.leftovers import leftovers, references, stored

    now = datetime.now(UTC)
    outputs = decide(tuple(stored(store)), references(_newest_validation(store)), now, unused)
    return outputs, leftovers(store, now - unused)


def _newest_validation(store: Store) -> str:
    from tasks.errors import UsageError
    from tasks.validate.quarantine_rows import newest_validation

    try:
        return newest_validation(store)
    except UsageError:  # no data was validated here yet
        return ""


def _free(store: Store, going: list[Verdict], work: list[Leftover]) -> None:
    """Delete; begun and ended in the audit log, so that a command that was killed is seen there."""
    from tasks.adapters import audit
    from tasks.adapters.leftovers import discard, remove

    stages = Counter(verdict.uri.removeprefix("store://").split("/")[0] for verdict in going)
    begun = audit.record("gc.started", "store", details={**stages, "leftovers": len(work)})
    for verdict in going:
        discard(store, verdict.uri)
    remove(store, work)
    audit.record("gc.finished", "store", details={"started": begun.seq, "bytes": _bytes(going, work)})


def _bytes(going: list[Verdict], work: list[Leftover]) -> int:
    return sum(verdict.bytes for verdict in going) + sum(leftover.bytes for leftover in work)


def _say(outputs: tuple[Verdict, ...], work: list[Leftover], dry_run: bool, as_json: bool) -> None:
    going = [verdict for verdict in outputs if verdict.goes]
    total = _bytes(going, work)
    if as_json:
        changed = not dry_run and bool(going or work)
        print_json({"status": "done" if changed or dry_run else "unchanged", "exit_code": 0, "dry_run": dry_run,
                    "bytes": total, "outputs": [verdict.model_dump(exclude={"goes"}) for verdict in going],
                    "leftovers": [leftover.model_dump() for leftover in work],
                    "kept": dict(Counter(verdict.why for verdict in outputs if not verdict.goes))})  # fmt: skip
        return
    table = Table("what", "bytes", "why", header_style="bold")
    for name, size, why in [(v.uri, v.bytes, v.why) for v in going] + [(x.path, x.bytes, x.why) for x in work]:
        table.add_row(Text(name), decimal(size), why)
    if table.rows:
        out.print(table)
    out.print(f"{decimal(total)} {'would be freed' if dry_run else 'freed'}; {len(outputs) - len(going)} outputs stay")
