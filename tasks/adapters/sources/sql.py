"""Records from a database: one SELECT in a read-only transaction, read in pieces."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from tasks.adapters.sources.secret import secret
from tasks.adapters.sources.spec import SourceSpec, shown_url
from tasks.digest import digest_of
from tasks.errors import EnvironmentUnusable, UsageError

_PIECE = 1_000
# A cursor of the server: memory stays small, and its protocol takes one statement only. A % in the text stays a %.
_STREAMED: dict[str, Any] = {"stream_results": True, "max_row_buffer": _PIECE, "no_parameters": True}
_DRIVERS = {"postgresql": ("postgresql+psycopg", "psycopg", "postgres"), "mysql": ("mysql+pymysql", "pymysql", "mysql")}
_FORBIDDEN_WORDS = {"INTO", "INSERT", "UPDATE", "DELETE", "MERGE", "CALL", "CREATE", "DROP", "ALTER", "TRUNCATE"}


class Query:
    """What a statement answers with.

    `token` is (records, largest `updated`) where that column is named, read in the same snapshot as the records.
    """

    def __init__(self, spec: SourceSpec) -> None:
        self._spec, self._statement = spec, single_select(spec.query)
        digest = digest_of([self._statement])[:8]
        self.uri = f"{shown_url(spec.path)}#{digest}"
        self.address = f"{spec.path}#{digest}"
        self.name = f"{urlsplit(spec.path).path.strip('/') or 'query'}-{digest}.jsonl"
        self.token = ""
        self.passed_over: tuple[str, ...] = ()

    def unchanged(self, token: str) -> bool:
        if not self._spec.updated:
            return False
        with self._snapshot() as connection:
            return self._version(connection) == token

    def records(self) -> Iterator[Mapping[str, Any]]:
        with self._snapshot() as connection:
            self.token = self._version(connection) if self._spec.updated else ""
            answer = connection.execution_options(**_STREAMED).exec_driver_sql(self._statement)
            names = _distinct(list(answer.keys()), self.uri)
            for piece in answer.partitions(_PIECE):
                for row in piece:
                    yield {name: json_value(value) for name, value in zip(names, row, strict=True)}

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        """One read-only transaction that sees one state of the database.

        The text of a database error is not passed on: it can hold values of rows.
        """
        engine = _engine(self._spec)
        try:
            with engine.connect() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, UnicodeError) as error:
            raise _database_error(self.uri, error) from None
        finally:
            engine.dispose()

    def _version(self, connection: sa.Connection) -> str:
        column = connection.dialect.identifier_preparer.quote(self._spec.updated)
        text = f"SELECT count(*), max(q.{column}) FROM ({self._statement}) AS q"  # noqa: S608 - a checked SELECT
        count, newest = connection.execution_options(no_parameters=True).exec_driver_sql(text).one()
        return json.dumps([count, json_value(newest)])


def single_select(statement: str) -> str:
    """The statement without its closing semicolon.

    The database enforces it again: the transaction is read-only.

    Raises:
        UsageError: it is more than one statement, or anything but a SELECT.
    """
    import sqlparse

    parts = [part for part in sqlparse.split(statement) if part.strip(" \n\t;")]
    parsed = sqlparse.parse(parts[0])[0] if len(parts) == 1 else None
    words = {token.normalized for token in parsed.flatten() if token.is_keyword} if parsed else set()
    if parsed is None or parsed.get_type() != "SELECT" or words & _FORBIDDEN_WORDS:
        raise UsageError(
            "the query of a source is not one SELECT statement",
            where="data.sources[].query",
            why=f"it has {len(parts)} statements" if len(parts) != 1 else "it does more than to read",
            remedy="write one SELECT (it may begin with WITH)",
        )
    return str(parts[0]).strip().rstrip(";").strip()


def json_value(value: Any) -> Any:
    """A database value in the types of JSON. Decimals keep their digits as text; bytes become base64."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, Mapping):
        return {str(key): json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(inner) for inner in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if isinstance(value, (datetime, date, time)) else str(value)


def _engine(spec: SourceSpec) -> sa.Engine:
    driver, package, extra = _DRIVERS[urlsplit(spec.path).scheme]
    try:
        url = sa.make_url(spec.path).set(drivername=driver)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(
            "the address of a database cannot be understood",
            where=shown_url(spec.path),
            remedy="write it like postgresql://user@host:5432/database",
        ) from None
    password = secret(spec.credentials)
    if password:
        url = url.set(password=password)
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="REPEATABLE READ", hide_parameters=True)
    except ImportError as error:
        raise EnvironmentUnusable(
            f"{package} is not installed", where=shown_url(spec.path), remedy=f"pip install 'tuneloop[{extra}]'"
        ) from error
    seconds = spec.timeout_seconds
    sa.event.listen(engine, "connect", lambda connection, _record: _read_only(connection, engine.dialect, seconds))
    return engine


def _read_only(connection: Any, dialect: sa.Dialect, seconds: float) -> None:
    """Make every transaction of the session read-only and limit its statements in time."""
    with connection.cursor() as cursor:
        if dialect.name == "postgresql":
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            cursor.execute(f"SET statement_timeout = {int(seconds * 1000)}")
        else:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            limit = (
                f"max_statement_time = {seconds}"
                if _is_mariadb(cursor)
                else f"max_execution_time = {int(seconds * 1000)}"
            )
            cursor.execute(f"SET SESSION {limit}")
    connection.commit()


def _is_mariadb(cursor: Any) -> bool:
    cursor.execute("SELECT version()")
    return "mariadb" in str(cursor.fetchone()[0]).lower()


def _distinct(names: list[str], uri: str) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "two columns of the query have the same name",
            where=uri,
            why=", ".join(twice),
            remedy="give them names of their own with AS",
        )
    return names


def _database_error(uri: str, error: Exception) -> EnvironmentUnusable:
    original = getattr(error, "orig", None) or error
    state = getattr(original, "sqlstate", None) or (str(original.args[0]) if original.args else "")
    code = state if len(state) <= 5 else ""
    return EnvironmentUnusable(
        "the database does not answer the query",
        where=uri,
        why=f"{type(original).__name__} {code}".strip(),
        remedy="check host, user, credentials, query and the time it needs (data.sources[].timeout_seconds)",
    )
