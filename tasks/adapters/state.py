"""What changes lives in one relational database: SQLite embedded, Postgres beyond one machine.

Connection and schema; the tables are in `tables`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event

from tasks.adapters.claim import claim
from tasks.errors import EnvironmentUnusable
from tasks.settings import Settings

_BATCH = 500


def engine() -> sa.Engine:
    """Engine of the database that the settings name, migrated to the newest schema."""
    settings = Settings()
    return _engine(settings.state, settings.root)


@functools.lru_cache(maxsize=8)
def _engine(url: str, root: Path) -> sa.Engine:
    root.mkdir(parents=True, exist_ok=True)
    # errors are logged: what people asked and what was answered, a statement's parameters, must not stand in them
    made = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    if made.dialect.name == "sqlite":
        event.listen(made, "connect", _sqlite_pragmas)
    with claim(root / "locks" / "migrate.lock", "migration of the state database"):
        _migrate(made)
    return made


def _sqlite_pragmas(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, not only forgotten
    cursor.close()


def batches(values: Iterable[str]) -> Iterator[list[str]]:
    """Distinct values in order, so many at a time as one statement may name."""
    ordered = sorted(set(values))
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def scrub() -> None:
    """Have the database give up what was deleted: no free page, dead row or write-ahead file holds it afterwards.

    Raises:
        EnvironmentUnusable: another process has been reading the database for a long time.
    """
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM")
        if connection.dialect.name == "sqlite":
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
            if busy:
                raise EnvironmentUnusable("what was deleted still lies in the state database's write-ahead file",
                                          where=f"{connection.engine.url.database}-wal",
                                          why="another process is reading the database",
                                          remedy="end it, then repeat the command")  # fmt: skip


def _migrate(made: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with made.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
