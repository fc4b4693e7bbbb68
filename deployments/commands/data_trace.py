"""`tuneloop data trace|where`: from a row to the bytes of its source, and from a source to its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.commands.data_home import open_store
from deployments.commands.models import ConfigOption
from deployments.config_file import load_config
from tasks.errors import UsageError

if TYPE_CHECKING:
    from deployments.source_bytes import SourceBytes
    from tasks.ingest.config import SourceConfig
    from tasks.version.trace import Found, Trace

InVersion = Annotated[str, typer.Option("--address", help="Only in this version; else in all, the newest first.")]


def add_to(app: typer.Typer) -> None:
    for command in (trace, where):
        app.command()(command)


def trace(
    row: Annotated[str, typer.Argument(help="Row id, the beginning of one, or a row digest.", metavar="ROW")],
    address: InVersion = "",
    original: Annotated[
        bool, typer.Option("--original", help="Print the record as it lies at the source, personal data included.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why the original is looked at; for the audit log.")] = "",
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Where a row comes from: source, record, bytes, transformations, outcome; checked against the source."""
    if original and not reason.strip():
        raise UsageError("looking at an original needs a reason", where="--original",
                         why="it may hold personal data, and who looked at it when is written down",
                         remedy="add --reason \"...\"")  # fmt: skip
    store = open_store(config)
    from deployments.source_bytes import read_source
    from tasks.version.trace import trace as find

    found = find(row, store, address)
    source = read_source(found.origin, found.shape, _folders(config), _sources(config))
    if original:
        _audited(found, reason)
    if as_json:
        print_json(_as_json(found, source, original))
        return
    out.print(_way(found, source))
    if original:
        _print_original(source)


def _folders(config: Path | None) -> list[Path]:
    """Where a relative path of a source may start: the configuration's folder, the home's, the working directory."""
    from tasks.settings import Settings

    folders = [config.resolve().parent] if config else []
    return [*folders, Settings().root.parent, Path.cwd()]


def _sources(config: Path | None) -> tuple[SourceConfig, ...]:
    return load_config(config).config.data.sources if config else ()


def _audited(found: Trace, reason: str) -> None:
    from tasks.adapters import audit

    audit.record("source.read", found.row_id, reason=reason, details={"dataset": found.address})


def _as_json(found: Trace, source: SourceBytes, original: bool) -> dict[str, Any]:
    shown = {"state": source.state, "text": source.said, "opened": source.opened}
    made = {"status": "done", "exit_code": 0, **found.model_dump(mode="json"), "source": shown}
    return made | ({"original": source.text} if original else {})


def _way(found: Trace, source: SourceBytes) -> Table:
    """The way of the row, one station a line."""
    origin = found.origin
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    stations = [
        ("row", f"{found.row_id} in {found.address}"),
        ("source", origin.source_uri),
        ("in the archive", origin.member),
        (
            "",
            f"SHA-256 {origin.source_digest}"
            + (f", packed {origin.container_digest}" if origin.container_digest else ""),
        ),
        ("record", f"{origin.record_index}, line {origin.line}, {_bytes(found)}"),
        ("shape", found.shape),
        ("steps", ", ".join(found.steps) or "none"),
        ("replaced", ", ".join(f"{count} {entity}" for entity, count in found.redactions.items()) or "nothing"),
        ("outcome", _outcome(found)),
        ("content", found.digest),
        ("check", source.said),
    ]
    for name, text in stations:
        if text:
            table.add_row(name, Text(text, overflow="fold"))
    return table


def _bytes(found: Trace) -> str:
    origin = found.origin
    if not origin.byte_length:
        return "no bytes of its own"
    return f"bytes {origin.byte_offset} to {origin.byte_offset + origin.byte_length}"


def _outcome(found: Trace) -> str:
    if found.outcome == "kept":
        return f"kept, {'held out' if found.split == 'test' else 'trained on'}"
    return f"{found.outcome}: {found.reason}" + (f", yields to {found.yields_to}" if found.yields_to else "")


def _print_original(source: SourceBytes) -> None:
    if source.text is None:
        err.print("the record cannot be shown: " + source.said, markup=False)
    else:
        out.print(Text(source.text), soft_wrap=True)


def where(
    source: Annotated[
        str, typer.Argument(help="Path as it was named, the end of it, or a SHA-256 (8 characters or more).")
    ],
    address: InVersion = "",
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Which versions hold rows of a source."""
    store = open_store(config)
    from tasks.digest import digest_file
    from tasks.version.trace import where as find

    local = Path(source).expanduser()
    digests = [digest_file(local)] if local.is_file() else []
    found = find(source, store, address, digests)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "found": [f.model_dump(mode="json") for f in found]})
        return
    if not found:
        out.print("no version holds rows of this source")
        return
    for f in found:
        out.print(_held(f), soft_wrap=True)


def _held(f: Found) -> Text:
    text = Text(f.address, style="bold").append(f"  {f.source}  ({f.digest[:12]})\n", "not bold")
    parts = {"trained on": f.train, "held out": f.test, "merged": f.merged, "quarantined": f.quarantined}
    counts = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    return text.append(f"  {f.rows} rows: {counts}; {f.row_ids[0]} to {f.row_ids[1]}", "not bold dim")
