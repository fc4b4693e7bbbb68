"""How often a training was started, and what interrupted it: kept from its first start to its record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from tasks.adapters.store import write_atomically
from tasks.contracts import Record
from tasks.train.position import Position


class _Note(Record):
    starts: int = Field(0, ge=0)
    said: tuple[str, ...] = ()


class History:
    """Starts of a training and what had to be said about them.

    Args:
        file: where it is kept; None: in this process only (processes of a team but the first).
        tell: called with everything that is said, for the people who watch.
    """

    def __init__(self, file: Path | None, tell: Callable[[str], None]) -> None:
        self._file, self._tell = file, tell
        self._note = _read(file)

    @property
    def starts(self) -> int:
        return self._note.starts

    @property
    def said(self) -> tuple[str, ...]:
        return self._note.said

    @property
    def interruptions(self) -> int:
        """Starts that did not come to the end."""
        return max(0, self.starts - 1)

    def begin(self, position: Position | None) -> None:
        """Count this start; on a machine where the training was not before, what the checkpoint says counts."""
        note = self._note
        if position and position.starts > note.starts:
            note = _Note(starts=position.starts, said=(*position.said, *note.said))
        self._keep(note.model_copy(update={"starts": note.starts + 1}))

    def say(self, text: str) -> None:
        """Tell it now and keep it for the record."""
        self.remember(text)
        self._tell(text)

    def remember(self, text: str) -> None:
        """Keep it for the record."""
        self._keep(self._note.model_copy(update={"said": (*self._note.said, text)}))

    def _keep(self, note: _Note) -> None:
        self._note = note
        if self._file:
            write_atomically(self._file, note.model_dump_json())


def _read(file: Path | None) -> _Note:
    """What was kept; nothing where the file is damaged, since every checkpoint holds it as well."""
    try:
        return _Note.model_validate_json(file.read_text(encoding="utf-8")) if file else _Note()
    except (OSError, ValueError):
        return _Note()
