"""A document's bytes as a file of this machine, for as long as a block runs. Originals stay at their source."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tasks.adapters.sources import register
from tasks.adapters.sources.connectors import Surroundings, connect, identity
from tasks.adapters.sources.egress import Network
from tasks.adapters.sources.local import version_of
from tasks.adapters.sources.spool import temporary_file
from tasks.adapters.sources.sync import Document
from tasks.digest import digest_file
from tasks.errors import EnvironmentUnusable


@contextlib.contextmanager
def local_copy(document: Document, network: Network | None = None) -> Iterator[Path]:
    """The local file itself, or a temporary copy that is removed when the block ends.

    Raises:
        EnvironmentUnusable: the source changed after it was fingerprinted, or while the block read it.
    """
    if document.spool and Path(document.spool).is_file():
        yield Path(document.spool)
    elif document.spec.kind == "local" and not document.spec.of_records:
        yield from _in_place(document)
    else:
        with temporary_file(document.name) as copy, contextlib.ExitStack() as spools:
            around = Surroundings(Path(document.base), network=network or Network(), spools=spools)
            connect(document.spec, around).copy(document.address, copy)
            if digest_file(copy) != document.digest:
                register.distrust(identity(document.spec, Path(document.base)), document.address)
                raise _changed(document)
            yield copy


def _in_place(document: Document) -> Iterator[Path]:
    """The file where it lies. It has to be the fingerprinted version before the block and after it."""
    path = Path(document.address)
    if _version(path) != document.token:
        raise _changed(document)
    yield path
    if _version(path) != document.token:
        raise _changed(document)


def _version(path: Path) -> str:
    try:
        return version_of(path)
    except OSError:
        return "gone"


def _changed(document: Document) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        "the source changed while it was read",
        where=document.uri,
        why="its content is not what was fingerprinted at the start",
        remedy="run again",
    )
