"""`tuneloop data quarantine`: rows that were refused, why, and what a person decides about each."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.commands.data_home import open_store
from deployments.commands.models import ConfigOption
from tasks.errors import UsageError

if TYPE_CHECKING:
    from tasks.adapters.row_decisions import Decision
    from tasks.adapters.store import Store
    from tasks.contracts import Message, Row
    from tasks.privacy.redact import Redactor

app = typer.Typer(help="Rows in quarantine: look, repair, accept.", no_args_is_help=True)

RowId = Annotated[str, typer.Argument(metavar="ROW", help="Row id, or its beginning, as `list` shows it.")]
Dataset = Annotated[
    str, typer.Option("--dataset", help="ds://project/name@1.2.0; else what was validated last, refused or not.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]
_NEXT = "it takes effect when the dataset is made the next time: `tuneloop data prepare CONFIG`"


@app.command("list")
def list_rows(
    address: Annotated[str, typer.Argument(metavar="[DATASET]", help="ds://project/name@1.2.0; else the newest.")] = "",
    rule: Annotated[str, typer.Option("--rule", help="Only rows that break this rule.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows that are shown.")] = 20,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """How many rows each rule refused, and the rows."""
    from tasks.validate.quarantine_file import line_of
    from tasks.validate.quarantine_rows import in_quarantine

    where, files = _files(address, open_store(config))
    counts = Counter(line_of(row).code for row in in_quarantine(files))
    chosen = (line for line in map(line_of, in_quarantine(files)) if rule in ("", line.code))
    lines = [line.model_dump() for line in islice(chosen, limit)]
    if as_json:
        print_json({"status": "done", "exit_code": 0, "dataset": where, "reasons": dict(counts), "rows": lines})
        return
    for code, number in counts.most_common():
        out.print(f"{number:>8,}  {code}", markup=False)
    table = Table("row", "source", "line", "reason", "proposed repair", title=where, header_style="bold")
    for line in lines:
        cells = (*(str(line[n]) for n in ("row_id", "source_uri", "line")), _reason(line), line["repair"])
        table.add_row(*map(Text, cells))  # what stands in brackets in a row is text, not a style
    nothing = Text(f"{where}: no row is in quarantine" + (f" for {rule}" if rule else ""))
    out.print(table if lines else nothing)


@app.command()
def show(row: RowId, dataset: Dataset = "", config: ConfigOption = None, as_json: AsJson = False) -> None:
    """One row: why it was refused, its text without personal data, where it comes from, what was decided."""
    from tasks.adapters import row_decisions
    from tasks.validate.quarantine_file import line_of

    found = _row(row, dataset, open_store(config))
    line, decisions = line_of(found), row_decisions.history([found.row_id])
    if as_json:
        made = [d.model_dump(mode="json") for d in decisions]
        print_json({"status": "done", "exit_code": 0, **line.model_dump(), "decisions": made})
        return
    place = f"{line.source_uri}{f'!/{line.member}' if line.member else ''}, line {line.line}, byte {line.byte_offset}"
    facts = {"row": line.row_id, "source": place, "reason": _reason(line.model_dump()), "repair": line.repair}
    for name, text in facts.items():
        out.print(f"[bold]{name + ':':<8}[/]", end=" ")
        out.print(text or "none proposed", markup=False, soft_wrap=True)
    for made_decision in decisions:
        out.print(f"[bold]{made_decision.action + ':':<8}[/]", end=" ")
        out.print(f"{made_decision.reason} ({made_decision.actor}, {made_decision.at:%Y-%m-%d %H:%M})", markup=False)
    out.print(f"\n{line.text}", markup=False)


@app.command()
def repair(
    row: RowId,
    reason: Reason,
    set_prompt: Annotated[str | None, typer.Option("--set-prompt", help="The last question, corrected.")] = None,
    set_answer: Annotated[str | None, typer.Option("--set-answer", help="The answer, corrected.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help='JSON with the whole row: {"messages": [...]}.')] = None,
    dataset: Dataset = "",
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Correct a row; the next run takes the correction and judges it again. The source is not changed."""
    from tasks.privacy.messages import cleaned_messages, message_texts

    store = open_store(config)
    found = _row(row, dataset, store)
    if (file is None) == (set_prompt is None and set_answer is None):
        raise UsageError("say what is to be corrected", remedy="use --set-prompt and --set-answer, or --file")
    messages = _from_file(file) if file else _corrected(found, set_prompt, set_answer)
    redactor = _redactor(store, found.row_id, everywhere=bool(dataset))
    subjects = {s for text in message_texts(messages) for s in redactor.clean(text).subjects}
    clean = cleaned_messages(messages, lambda text: redactor.redact(text)[0])
    values = {"messages": clean, "subjects": tuple(sorted(subjects))}
    _decide(_decision(found.row_id, "repair", redactor.redact(reason)[0], **values), as_json)


@app.command()
def accept(
    row: RowId, reason: Reason, dataset: Dataset = "", config: ConfigOption = None, as_json: AsJson = False
) -> None:
    """Take a row in spite of the rule that it breaks; the other rules still hold for it."""
    from tasks.adapters.row_files import reason_code
    from tasks.validate.decisions import NEVER_ACCEPTED

    store = open_store(config)
    found = _row(row, dataset, store)
    code = reason_code(found)
    if not found.messages:
        raise UsageError("nothing of this row could be read", where=found.row_id, why=found.reason,
                         remedy="write it with `tuneloop data quarantine repair`")  # fmt: skip
    if code in NEVER_ACCEPTED:
        raise UsageError("a row that is to be dropped for its personal data cannot be accepted", where=found.row_id,
                         remedy="change data.privacy, or write the row without the values with `repair`")  # fmt: skip
    redactor = _redactor(store, found.row_id, everywhere=bool(dataset))
    _decide(_decision(found.row_id, "accept", redactor.redact(reason)[0], rule=code), as_json)


@app.command()
def withdraw(row: RowId, reason: Reason, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """End what was decided about a row: the next run takes it as it is at its source."""
    from tasks.adapters import row_decisions

    store = open_store(config)
    ids = sorted({o.row_id for o in row_decisions.overlays() if o.row_id.startswith(row)})
    if len(ids) != 1:
        raise UsageError("nothing is decided about this row" if not ids else "more than one row begins so", where=row)
    _decide(_decision(ids[0], "withdraw", _redactor(store, ids[0], everywhere=True).redact(reason)[0]), as_json)


def _files(address: str, store: Store) -> tuple[str, list[Path]]:
    """Name and files of the rows that are meant."""
    from tasks.validate.quarantine_rows import files_of, newest_validation

    if address:
        from tasks.version.catalog import find, rows_path

        entry = find(address)
        return entry.address, [rows_path(entry, store)]
    uri = newest_validation(store)
    return uri, files_of(store, uri)


def _row(row: str, dataset: str, store: Store) -> Row:
    from tasks.validate.quarantine_rows import find_row

    return find_row(_files(dataset, store)[1], row)


def _redactor(store: Store, row_id: str, *, everywhere: bool) -> Redactor:
    """What takes personal data out of texts about a row, by the rules of its source in the newest validation.

    Args:
        everywhere: the row was named by a dataset, or by itself: what any validation that holds it wants holds.
    """
    from tasks.adapters.pseudonym_key import pseudonym_key
    from tasks.validate.decisions import redactor_for
    from tasks.validate.quarantine_rows import newest_validation, privacy_of_row, validations

    uris = validations(store) if everywhere else [newest_validation(store)]
    return redactor_for(privacy_of_row(store, row_id, uris), pseudonym_key())


def _corrected(row: Row, prompt: str | None, answer: str | None) -> tuple[Message, ...]:
    """The row's messages with another last question, another answer, or both; a missing one is added."""
    from tasks.contracts import Message

    before = list(row.prompt)
    if prompt is not None:
        before = before[:-1] if before and before[-1].role == "user" else before
        before.append(Message(role="user", content=prompt))
    text = row.answer if answer is None else answer
    if not any(m.role == "user" for m in before) or not text:
        raise UsageError("the row would still lack its question or its answer", where=row.row_id,
                         remedy="give both --set-prompt and --set-answer")  # fmt: skip
    return (*before, Message(role="assistant", content=text))


def _from_file(path: Path) -> tuple[Message, ...]:
    from tasks.contracts import Message

    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(tuple[Message, ...]).validate_python(read["messages"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UsageError(
            "the correction cannot be read",
            where=str(path),
            why=type(error).__name__,
            remedy='write {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
        ) from None


def _decision(row_id: str, action: Any, reason: str, **values: Any) -> Decision:
    from tasks.adapters.audit import actor_name
    from tasks.adapters.row_decisions import Decision

    if not reason.strip():
        raise UsageError("a decision needs a reason", remedy="add --reason TEXT")
    return Decision(row_id=row_id, action=action, reason=reason, actor=actor_name(), at=datetime.now(UTC), **values)


def _decide(decision: Decision, as_json: bool) -> None:
    """Store the decision and say what happens with it."""
    from tasks.adapters import audit, row_decisions

    audit.record(f"quarantine.{decision.action}", decision.row_id, actor=decision.actor, reason=decision.reason,
                 details={"rule": decision.rule} if decision.rule else None)  # fmt: skip
    row_decisions.record(decision)
    if as_json:
        print_json({"status": "done", "exit_code": 0, **decision.model_dump(mode="json"), "text": _NEXT})
    else:
        err.print(f"{decision.row_id}: {decision.action} is noted; {_NEXT}", markup=False, soft_wrap=True)


def _reason(line: dict[str, Any]) -> str:
    return f"{line['code']}: {line['reason']}"
