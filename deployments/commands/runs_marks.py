"""`tuneloop runs tag|note|search`: what people say about runs, and how runs are found by it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from deployments.commands.config import AsJson
from deployments.commands.console import err, print_json
from deployments.commands.models import ConfigOption
from deployments.commands.runs_home import Name, open_runs
from tasks.errors import UsageError
from tasks.settings import Settings

_LONGEST_TAG, _LONGEST_NOTE = 60, 2000


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("tag")(tag)
    app.command("note")(note)
    app.command("search")(search)


def tag(
    name: Name,
    tags: Annotated[list[str], typer.Argument(help="Tags, e.g. baseline.", metavar="TAG...")],
    remove: Annotated[bool, typer.Option("--remove", help="Take these tags away.")] = False,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Give a run tags: it can be named and found by them."""
    from tasks.adapters import runs as kept

    wrong = [each for each in tags if not each.strip() or len(each) > _LONGEST_TAG]
    if wrong:
        raise UsageError("this is no tag", where=repr(wrong[0]), remedy=f"a word of at most {_LONGEST_TAG} characters")
    run = open_runs(config).find(name)
    (kept.remove_tags if remove else kept.add_tags)(run.id, tags)
    now = kept.notes_of_runs().get(run.id, kept.RunNotes()).tags
    if as_json:
        print_json({"status": "done", "exit_code": 0, "run": run.id, "tags": list(now)})
    else:
        err.print(f"{run.id[:8]}: {', '.join(now) or 'no tags'}", markup=False)


def note(
    name: Name,
    text: Annotated[str, typer.Argument(help="What to remember about it.")],
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Write down what there is to remember about a run. Notes are added, never changed; personal data is replaced."""
    from tasks.adapters import runs as kept
    from tasks.privacy.redact import Redactor

    if not text.strip() or len(text) > _LONGEST_NOTE:
        raise UsageError("this is no note", where="TEXT", remedy=f"one to {_LONGEST_NOTE} characters")
    run = open_runs(config).find(name)
    clean, replaced = Redactor().redact(text)
    kept.add_note(run.id, clean, Settings().actor or getpass.getuser())
    notes = kept.notes_of_runs()[run.id].notes
    if as_json:
        print_json(
            {"status": "done", "exit_code": 0, "run": run.id, "notes": [n.model_dump(mode="json") for n in notes]}
        )
    else:
        without = f", without {', '.join(sorted(replaced))}" if replaced else ""
        err.print(f"{run.id[:8]}: note {len(notes)} is kept{without}", markup=False)


def search(
    words: Annotated[list[str], typer.Argument(help="All of them have to occur.", metavar="WORD...")],
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Find runs by name, tag, note, state, dataset or base model."""
    from deployments.commands.runs import show_list
    from deployments.runs.views import search as find

    found = find(open_runs(config).views(), words)
    show_list(found, as_json, len(found))
