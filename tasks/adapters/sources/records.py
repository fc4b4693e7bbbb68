"""A source of records as one document: a temporary JSON Lines file whose digest depends on the records alone.

All records are fetched whenever something may have changed, also where only a few are new: the document consists of
all of them, and nothing of a source is kept between two syncs. With `updated` a database that says that nothing
changed is not read at all.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from tasks.adapters.sources.connector import Fingerprint, Item, Known, Listing, RecordReader, same_as
from tasks.adapters.sources.record_index import write_records
from tasks.adapters.sources.spec import SourceSpec
from tasks.adapters.sources.spool import temporary_file


class RecordSource:
    """The one document that the records of `reader` make.

    Args:
        spools: holds the temporary file until the sync's block ends.
        salt: keys the hashes of the records.
    """

    def __init__(self, spec: SourceSpec, reader: RecordReader, spools: contextlib.ExitStack, salt: bytes) -> None:
        self._spec, self._reader, self._spools, self._salt = spec, reader, spools, salt

    def listing(self) -> Listing:
        reader = self._reader
        return Listing((Item(uri=reader.uri, address=reader.address, name=reader.name, explicit=True),))

    def fingerprint(self, item: Item, known: Known | None) -> Fingerprint:
        if known and known.present and known.token and self._reader.unchanged(known.token):
            return same_as(known)
        path = self._spools.enter_context(temporary_file(item.name))
        written = write_records(self._reader.records(), path, self._spec.key, self._salt, item.uri)
        repeated = (f"{item.uri}: {written.repeated} records came twice",) if written.repeated else ()
        return Fingerprint(
            self._reader.token, written.digest, written.size, str(path), written.index,
            passed_over=(*self._reader.passed_over, *repeated),
        )  # fmt: skip

    def copy(self, address: str, target: Path) -> None:  # noqa: ARG002 - the source is one document
        write_records(self._reader.records(), target, self._spec.key, self._salt, self._reader.uri)
