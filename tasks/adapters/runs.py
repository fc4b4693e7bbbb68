"""What belongs to a run beside its history in Prefect: what it made, its process, and what people said about it."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Sequence

import psutil
import sqlalchemy as sa
from pydantic import Field

from tasks.adapters.processes import is_alive
from tasks.adapters.state import engine
from tasks.adapters.tables import run_notes, run_outputs, run_processes, run_tags
from tasks.contracts import Record


class Output(Record):
    """One output of a stage that a run made, or found there already."""

    stage: str
    output: str = Field(description="Reference in the store.")
    about: str = Field(description="Address of the dataset.")


class Note(Record):
    """What a person wrote about a run."""

    text: str
    actor: str
    at: datetime.datetime = Field(description="UTC.")


class RunProcess(Record):
    """The process that a run works in."""

    host: str
    pid: int
    started: float

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it is running. Asked on its own machine only."""
        return is_alive(self.pid, self.started)


class RunNotes(Record):
    """Everything of this kind about one run."""

    outputs: tuple[Output, ...] = ()
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    process: RunProcess | None = None

    def output(self, stage: str) -> Output | None:
        """The last one of a stage."""
        found = [output for output in self.outputs if output.stage == stage]
        return found[-1] if found else None


def note_output(runs: Sequence[str], stage: str, output: str, about: str) -> None:
    """Note what runs (a flow and the flows above it) made; once, however often it is said."""
    at = datetime.datetime.now(datetime.UTC)
    with engine().begin() as connection:
        for run in dict.fromkeys(runs):
            own = (run_outputs.c.run == run) & (run_outputs.c.stage == stage) & (run_outputs.c.output == output)
            connection.execute(sa.delete(run_outputs).where(own))
            values = {"run": run, "stage": stage, "output": output, "about": about, "at": at}
            connection.execute(sa.insert(run_outputs), values)


def note_process(run: str) -> None:
    """Note that a run works in this process."""
    values = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    with engine().begin() as connection:
        connection.execute(sa.delete(run_processes).where(run_processes.c.run == run))
        connection.execute(sa.insert(run_processes), {"run": run, **values})


def add_tags(run: str, tags: Sequence[str]) -> None:
    with engine().begin() as connection:
        for tag in dict.fromkeys(tags):
            _remove(connection, run, tag)
            connection.execute(sa.insert(run_tags), {"run": run, "tag": tag})


def remove_tags(run: str, tags: Sequence[str]) -> None:
    with engine().begin() as connection:
        for tag in tags:
            _remove(connection, run, tag)


def _remove(connection: sa.Connection, run: str, tag: str) -> None:
    connection.execute(sa.delete(run_tags).where((run_tags.c.run == run) & (run_tags.c.tag == tag)))


def add_note(run: str, text: str, actor: str) -> None:
    values = {"run": run, "text": text, "actor": actor, "at": datetime.datetime.now(datetime.UTC)}
    with engine().begin() as connection:
        connection.execute(sa.insert(run_notes), values)


def notes_of_runs() -> dict[str, RunNotes]:
    """Everything, by run."""
    found: dict[str, dict[str, list[Record | str]]] = {}
    processes: dict[str, RunProcess] = {}
    with engine().connect() as connection:
        for row in connection.execute(sa.select(run_outputs).order_by(run_outputs.c.at)).mappings():
            output = Output(stage=row["stage"], output=row["output"], about=row["about"])
            found.setdefault(row["run"], {}).setdefault("outputs", []).append(output)
        for row in connection.execute(sa.select(run_tags).order_by(run_tags.c.tag)).mappings():
            found.setdefault(row["run"], {}).setdefault("tags", []).append(row["tag"])
        for row in connection.execute(sa.select(run_notes).order_by(run_notes.c.id)).mappings():
            found.setdefault(row["run"], {}).setdefault("notes", []).append(_note(row))
        for row in connection.execute(sa.select(run_processes)).mappings():
            processes[row["run"]] = RunProcess(host=row["host"], pid=row["pid"], started=row["started"])
    names = found.keys() | processes.keys()
    return {run: RunNotes.model_validate({**found.get(run, {}), "process": processes.get(run)}) for run in names}


def _note(row: sa.RowMapping) -> Note:
    at: datetime.datetime = row["at"]
    return Note(text=row["text"], actor=row["actor"], at=at.replace(tzinfo=at.tzinfo or datetime.UTC))
