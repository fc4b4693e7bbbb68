"""A first look at files of this machine: read as a run would read them, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.adapters.row_files import iter_rows
from tasks.adapters.sources.local import LocalFiles
from tasks.adapters.sources.sync import Document
from tasks.adapters.store import Store
from tasks.contracts import Row
from tasks.ingest.config import SourceConfig
from tasks.ingest.documents import SourceReport, read_documents
from tasks.ingest.files import Wanted
from tasks.ingest.formats import FORMATS
from tasks.privacy.config import PrivacyConfig
from tasks.privacy.policy import privacy_record


def check_files(sources: Sequence[SourceConfig], base: Path) -> None:
    """Refuse paths of this machine that name nothing which can be read; other sources are asked when they are read.

    Raises:
        UsageError: a path that does not exist, or a file of an unknown kind.
    """
    for source in sources:
        if source.kind == "local":
            LocalFiles(source, base, FORMATS).listing()


class FileLook(NamedTuple):
    """One file as it was found.

    Attributes:
        reports: one of the file, or of each member where it is an archive.
        rows: personal data in them is replaced; to be read before the next file is asked for.
        copies: paths of files with the same content, which a run reads once.
    """

    source: SourceConfig
    path: str
    reports: tuple[SourceReport, ...]
    rows: Iterator[Row]
    copies: tuple[str, ...]


def look_into(sources: Sequence[SourceConfig], base: Path, scratch: Path) -> Iterator[FileLook]:
    """Every content once, in the order of the sources.

    Args:
        scratch: empty folder for what is written on the way.
    """
    store = Store(str(scratch / "store"), scratch)
    equal: dict[str, list[Wanted]] = {}
    for number, source in enumerate(sources):
        for wanted in _wanted(number, source, base, store):
            equal.setdefault(wanted.document.digest, []).append(wanted)
    for one, rows, folder in read_documents([same[0] for same in equal.values()], b"", store):
        read = (row for shard in rows.shards for row in iter_rows(folder / shard.file))
        copies = tuple(w.document.address for w in equal[one.document.digest][1:])
        yield FileLook(one.source, one.document.address, rows.reports, read, copies)


def _wanted(number: int, source: SourceConfig, base: Path, store: Store) -> Iterator[Wanted]:
    files = LocalFiles(source, base, FORMATS)
    for item in files.listing().items:
        found = files.fingerprint(item, None)
        document = Document(
            uri=item.uri, name=item.name, digest=found.digest, size=found.size, source=number, spec=source,
            base=str(base), address=item.address, token=found.token, explicit=True,
        )  # fmt: skip
        yield Wanted(
            document, source, privacy_record(source.privacy or PrivacyConfig(), b""), store.uri("look", found.digest)
        )
