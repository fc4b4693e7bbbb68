"""`tuneloop data erase`: a person's rows out of everything that Tuneloop wrote."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.commands.models import ConfigOption
from deployments.environment import prepare_home, use_home
from tasks.errors import UsageError

if TYPE_CHECKING:
    from tasks.adapters.store import Store
    from tasks.erase.carry_out import Hands
    from tasks.erase.certificate import Certificate
    from tasks.erase.plan import Plan
    from tasks.erase.search import Search

Subjects = Annotated[
    list[str],
    typer.Option(
        "--subject",
        help="An identifier of the person: e-mail address, telephone number with country, card, IBAN, IP address, "
        "name; or metadata as author=4711. Repeatable; - reads them from standard input, one a line.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; in the audit log and on the certificate.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be erased.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    app.command()(erase)


def erase(
    subject: Subjects,
    reason: Reason,
    dry_run: DryRun = False,
    yes: Yes = False,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person from every dataset version and everything made from it, and certify it."""
    queries = _queries(subject)
    home = use_home(config)
    prepare_home(home)
    from tasks.adapters.claim import claim
    from tasks.adapters.store import Store

    store = Store.open()
    with claim(home / "locks" / "erasure.lock", "erasure"):
        if dry_run:
            _say_plan(_plan(store, queries), as_json)
        elif not (yes or _confirmed(store, queries, as_json)):
            raise UsageError(
                "nothing was erased", why="it was not confirmed", remedy="say --yes, or look with --dry-run"
            )
        else:
            _say_done(_erase(home, store, queries, reason), queries, as_json)


def _queries(subjects: Sequence[str]) -> tuple[str, ...]:
    lines = [line for text in subjects for line in (sys.stdin.read().splitlines() if text == "-" else [text])]
    queries = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not queries:
        raise UsageError("nobody is named", where="--subject", remedy="give an identifier of the person")
    return queries


def _search(store: Store, queries: Sequence[str]) -> Search:
    """What is looked for: keyed hashes of the identifiers, in all countries whose numbers were ever recognised.

    Raises:
        UsageError: an identifier that no hash can be made of.
    """
    from tasks.adapters.pseudonym_key import pseudonym_key
    from tasks.adapters.request_log import user_hash
    from tasks.erase.find import output_lists
    from tasks.erase.search import Search, metadata_query
    from tasks.privacy.config import PrivacyConfig
    from tasks.privacy.subjects import subjects_of

    regions = {*PrivacyConfig().phone_regions, *(r for _, o in output_lists(store) for r in o.privacy.phone_regions)}
    hashes: set[str] = set()
    metadata = [pair for query in queries if (pair := metadata_query(query))]
    for number, query in enumerate(queries, 1):
        named = metadata_query(query)
        if named and "@" not in named[1]:
            continue  # a customer's number could be the telephone number of someone else
        found = subjects_of(named[1] if named else query, tuple(sorted(regions)), pseudonym_key())
        hashes.update(found)
        if not found or not any(c.isdigit() or c in "@ " for c in query):
            remedy = "give an e-mail address, a number, a full name, or metadata as author=4711"
            raise UsageError("nothing can be searched for", where=f"--subject number {number}",
                             why="it is no identifier of one person", remedy=remedy)  # fmt: skip
    tags = {user_hash((metadata_query(query) or ("", query))[1]) for query in queries}
    return Search(subjects=tuple(sorted(hashes)), users=tuple(sorted(tags)), metadata=tuple(metadata))


def _plan(store: Store, queries: Sequence[str]) -> Plan:
    from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
    from tasks.erase.plan import make_plan

    return make_plan(store, _search(store, queries), _row_fingerprint(), fingerprint(pseudonym_key()))


def _row_fingerprint() -> Any:
    from tasks.evaluate.rows import messages_digest

    return lambda row: messages_digest(row.messages)


def _hands(home: Path, store: Store) -> Hands:
    from deployments.run_history import forget_artifacts
    from tasks.erase.carry_out import Hands
    from tasks.version.derive import without_rows

    def clean(address: str, row_ids: tuple[str, ...], reason: str) -> str:
        return without_rows(address, row_ids, reason, store).address

    return Hands(clean, _row_fingerprint(), functools.partial(forget_artifacts, home))


def _confirmed(store: Store, queries: Sequence[str], as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        return False
    _say_plan(_plan(store, queries), as_json=False)
    return typer.confirm("Erase all of this? It cannot be brought back.", err=True)


def _erase(home: Path, store: Store, queries: Sequence[str], reason: str) -> tuple[Certificate, Path] | None:
    """The certificate and its page; None where nothing was found."""
    from tasks.adapters import audit
    from tasks.adapters.pseudonym_key import pseudonym_key
    from tasks.adapters.sources import spool
    from tasks.digest import digest_file
    from tasks.erase import carry_out, certificate

    search = _search(store, queries)
    marks = carry_out.marks(search, pseudonym_key())
    plan = functools.partial(_plan, store, queries)
    begun = carry_out.opened(marks, audit.actor_name(), _without_values(reason, queries), plan)
    if begun is None:
        return None
    spool.sweep()
    finished, planned, done = carry_out.carry_out(begun, search, _hands(home, store), store)
    made = certificate.certificate(finished, planned, done)
    page, data = certificate.write(made, home)
    details: dict[str, str | int] = {"rows": made.rows, "certificate": digest_file(data)}
    audit.record("erasure.finished", made.id, actor=made.actor, reason=made.reason, details=details)
    return made, page


def _without_values(reason: str, queries: Sequence[str]) -> str:
    """The reason without the person's identifiers, and without any other personal data."""
    from tasks.privacy.config import PrivacyConfig
    from tasks.privacy.redact import Redactor

    for query in sorted(queries, key=len, reverse=True):
        reason = reason.replace(query, "<SUBJECT>")
    settings = PrivacyConfig()
    text, _ = Redactor(settings.looked_for, settings.phone_regions).redact(reason)
    return text


def _say_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json({"status": "done", "exit_code": 0, "dry_run": True, "found": not plan.is_empty,
                    **plan.model_dump(mode="json"), "by_stage": plan.by_stage()})  # fmt: skip
        return
    if plan.is_empty:
        out.print("nothing of the person was found")
    else:
        out.print(_version_table(plan))
        out.print(_other_table(plan))
    _warn_of_keys(plan)


def _version_table(plan: Plan) -> Table:
    names = ("version", "rows", "train", "held out", "merged", "quarantined")
    table = Table(*names, header_style="bold", title="Dataset versions that hold the person")
    for version in plan.versions:
        rows = version.rows
        counts = (rows.rows, rows.train, rows.test, rows.merged, rows.quarantined)
        table.add_row(version.address, *map(str, counts))
    return table


def _other_table(plan: Plan) -> Table:
    table = Table("what", "number", header_style="bold", title="What would be erased")
    rows = [(f"outputs of {stage}", count) for stage, count in plan.by_stage().items()]
    rows += [
        ("logged requests", len(plan.requests)),
        ("originals in the vault", len(plan.vault)),
        ("decisions about rows", plan.decisions),
        ("unfinished work, checkpoints", len(plan.work) + len(plan.remote_work)),
        ("summaries of runs", len(plan.pages)),
        ("models to train again", len(plan.models)),
    ]
    for name, count in rows:
        table.add_row(name, str(count))
    return table


def _warn_of_keys(searched: Plan | Certificate) -> None:
    for what, other_keys in (("outputs were made", searched.other_keys), ("requests logged", searched.other_requests)):
        for key, count in other_keys.items():
            how = f"with the pseudonym key {key}" if key else "without a pseudonym key"
            err.print(f"not searched: {count} {what} {how}; nobody is found in them by this key", soft_wrap=True)


def _say_done(done: tuple[Certificate, Path] | None, queries: Sequence[str], as_json: bool) -> None:
    if done is None:
        if as_json:
            print_json({"status": "unchanged", "exit_code": 0, "found": False})
        else:
            out.print(f"nothing of the person was found ({len(queries)} identifiers searched for)")
        return
    made, page = done
    if as_json:
        print_json(
            {"status": "done", "exit_code": 0, "found": True, "certificate": str(page), **made.model_dump(mode="json")}
        )
        return
    for version in made.versions:
        out.print(f"{version.old} → {version.new or version.why}", markup=False, soft_wrap=True)
    for model in made.models:
        out.print(f"train again: {model.name} version {model.version} {model.alias}", markup=False)
    out.print(f"{made.rows} rows erased; certificate: {page}", markup=False, soft_wrap=True)
    _warn_of_keys(made)
    err.print("delete the person at the sources too: other programs still read the rows there", style="bold")
