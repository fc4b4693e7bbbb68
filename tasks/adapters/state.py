"""What changes lives in one relational database: SQLite embedded, Postgres beyond one machine.

Tables only; the modules beside this one (`ledger`, `releases`, `request_log`, `api_keys`) hold the operations.
"""

from __future__ import annotations

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event

from tasks.adapters.claim import claim
from tasks.settings import Settings

metadata = sa.MetaData()

holdout = sa.Table(
    "holdout",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("entity", sa.String, primary_key=True, comment="Digest of the normalised prompt, or of the group."),
    sa.Column("version", sa.String, nullable=False, comment="Address of the version that held it out first."),
)
dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("major", sa.Integer, primary_key=True),
    sa.Column("minor", sa.Integer, primary_key=True),
    sa.Column("patch", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("policy_digest", sa.String, nullable=False, comment="Over row schema, privacy, checks and split rules."),
    sa.Column("manifest_digest", sa.String, nullable=False),
    sa.Column("uri", sa.String, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("project", "name", "manifest_digest"),
)
releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("adapter_digest", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False, comment="waiting, promoted, rejected, rolled_back, failed"),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
champions = sa.Table(
    "champions",
    metadata,
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer, nullable=True),
)
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.String, primary_key=True, comment="Answer id, as returned to the client."),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("agent", sa.String, nullable=False),
    sa.Column("user", sa.String, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False, comment="JSON list of messages, personal data replaced."),
    sa.Column("answer", sa.Text, nullable=False, comment="Personal data replaced."),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("milliseconds", sa.Integer, nullable=False),
)
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True, comment="Of a key with 256 random bits."),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
)


def engine() -> sa.Engine:
    """Engine of the database that the settings name, migrated to the newest schema."""
    settings = Settings()
    return _engine(settings.state, settings.root)


@functools.lru_cache(maxsize=8)
def _engine(url: str, root: Path) -> sa.Engine:
    root.mkdir(parents=True, exist_ok=True)
    made = sa.create_engine(url, pool_pre_ping=True)
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
    cursor.close()


def _migrate(made: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with made.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
