"""Conversation logs: which conversations count, and the question-answer records they become.

Two kinds: the gateway's own request log, and JSON Lines logs of any file source. Records of a JSON Lines log keep
their fields, so that the shape detection of reading sees them as they are; the user's tag becomes a keyed hash. This
hash, and the id of a logged request, are in each record's `metadata` too, which every row keeps: erasure looks there.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from tasks.adapters import request_log, state, tables
from tasks.adapters.sources.connector import Connector, Item
from tasks.adapters.sources.spec import LogFilter, SourceSpec, shown_url
from tasks.adapters.sources.spool import temporary_file
from tasks.digest import digest_of
from tasks.errors import EnvironmentUnusable, UsageError

_WORDS = {"up": 1.0, "positive": 1.0, "good": 1.0, "down": -1.0, "negative": -1.0, "bad": -1.0}
_PIECE = 1_000
_FORM = 2  # of the records of a log: one that was read in another form is read again


class RequestLog:
    """What was asked and answered through the gateway: requests://MODEL, or requests:// for all models."""

    def __init__(self, spec: SourceSpec) -> None:
        self._filter = spec.log or LogFilter()
        self._model = urlsplit(spec.path).netloc
        if self._filter.min_rating is not None:
            raise UsageError(
                "the request log holds no ratings",
                where="data.sources[].log.min_rating",
                why="answers of the gateway are not rated",
                remedy="leave min_rating out, or read rated conversations from a JSON Lines log",
            )
        self.uri = self.address = spec.path
        self.name = f"requests-{self._model or 'all'}.jsonl"
        self.token = ""
        self.passed_over: tuple[str, ...] = ()

    def unchanged(self, token: str) -> bool:  # noqa: ARG002 - it is read whole: it is our own database
        return False

    def records(self) -> Iterator[Mapping[str, Any]]:
        table = tables.requests
        chosen = sa.select(table).where(*self._conditions()).order_by(table.c.at, table.c.id)
        with state.engine().connect() as connection:
            for row in connection.execution_options(yield_per=_PIECE).execute(chosen).mappings():
                yield _conversation(row)

    def _conditions(self) -> list[sa.ColumnElement[bool]]:
        table, wanted = tables.requests, self._filter
        conditions: list[sa.ColumnElement[bool]] = []
        if self._model:
            conditions.append(table.c.model == self._model)
        if wanted.agents:
            conditions.append(table.c.agent.in_(wanted.agents))
        if wanted.since:
            conditions.append(table.c.at >= _utc(wanted.since))
        if wanted.until:
            conditions.append(table.c.at < _utc(wanted.until))
        return conditions


class LogFiles:
    """The conversations of JSON Lines files that the filter lets through."""

    def __init__(self, spec: SourceSpec, files: Connector) -> None:
        assert spec.log
        self._filter, self._files = spec.log, files
        self._in_place = spec.kind == "local"
        self.uri, self.address = spec.path if self._in_place else shown_url(spec.path), spec.path
        self.name = f"log-{digest_of([self.address, spec.log.model_dump(mode='json')])[:8]}.jsonl"
        self.token = ""
        self.passed_over: tuple[str, ...] = ()

    def unchanged(self, token: str) -> bool:
        return token == self._version()

    def records(self) -> Iterator[Mapping[str, Any] | bytes]:
        self.token = self._version()
        left_out: Counter[str] = Counter()
        for item in sorted(self._files.listing().items, key=lambda item: item.address):
            with self._local(item) as path:
                yield from self._of_file(path, left_out)
        if self._version() != self.token:
            raise EnvironmentUnusable("the source changed while it was read", where=self.uri, remedy="run again")
        self.passed_over = tuple(f"{self.uri}: {count} conversations {why}" for why, count in sorted(left_out.items()))

    def _version(self) -> str:
        """Of all files together; empty where the source does not say the version of one."""
        listing = self._files.listing()
        versions = sorted((item.address, item.token) for item in listing.items)
        return digest_of([_FORM, versions]) if all(token for _, token in versions) else ""

    @contextlib.contextmanager
    def _local(self, item: Item) -> Iterator[Path]:
        if self._in_place:
            yield Path(item.address)
            return
        with temporary_file(item.name) as copy:
            self._files.copy(item.address, copy)
            yield copy

    def _of_file(self, path: Path, left_out: Counter[str]) -> Iterator[Mapping[str, Any] | bytes]:
        """Records that count. A line that is none is passed on as it is: reading quarantines it with its address."""
        with path.open("rb") as stream:
            for line in filter(bytes.strip, stream):
                record = _record(line)
                reason = self._reason_to_leave_out(record) if record is not None else ""
                if reason:
                    left_out[reason] += 1
                else:
                    yield line if record is None else self._without_user(record)

    def _reason_to_leave_out(self, record: Mapping[str, Any]) -> str:
        wanted = self._filter
        if wanted.min_rating is not None:
            rating = rating_of(record.get(wanted.rating_field))
            if rating is None:
                return "have no rating"
            if rating < wanted.min_rating:
                return f"are rated below {wanted.min_rating:g}"
        if wanted.agents and record.get(wanted.agent_field) not in wanted.agents:
            return "are of other agents"
        if wanted.since or wanted.until:
            return _outside(time_of(record.get(wanted.time_field)), wanted)
        return ""

    def _without_user(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        field, given = self._filter.user_field, record.get("metadata")
        inner = given if isinstance(given, Mapping) else {}  # what is no object says nothing about a row
        hashed, nested = _hashed(record, field), _hashed(inner, field)
        if not hashed and not nested:
            return record
        user = (hashed or nested)[field]
        return {**record, **hashed, "metadata": {**inner, **nested, "user": user}}


def rating_of(value: Any) -> float | None:
    """A rating as a number: 4.5, "4.5", true (1), "up" (1), "down" (-1); None where it is none of these."""
    word = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(word, (str, bool, int, float)):
        return None
    try:
        rating = _WORDS[word] if word in _WORDS else float(word)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(rating) else rating


def time_of(value: Any) -> datetime | None:
    """ISO 8601 or seconds since 1970; UTC where no zone is given; None where it is neither."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        return _utc(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError, OSError):
        return None


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _outside(time: datetime | None, wanted: LogFilter) -> str:
    if time is None:
        return "have no readable time"
    if wanted.since and time < _utc(wanted.since):
        return "are older"
    return "are newer" if wanted.until and time >= _utc(wanted.until) else ""


def _record(line: bytes) -> Mapping[str, Any] | None:
    try:
        record = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _conversation(row: sa.RowMapping) -> Mapping[str, Any]:
    """One request as a chat record; the user is the keyed hash that the log holds."""
    turns = [{"role": turn["role"], "content": turn["content"]} for turn in json.loads(row["prompt"])]
    record = {
        "messages": [*turns, {"role": "assistant", "content": row["answer"]}],
        "request": row["id"],
        "agent": row["agent"],
        "user": row["user"],
        "timestamp": _utc(row["at"]).isoformat(),
        "model": row["model"],
    }
    known = {name: value for name, value in record.items() if value}
    return {**known, "metadata": {name: known[name] for name in ("request", "user") if name in known}}


def _hashed(record: Mapping[str, Any], field: str) -> dict[str, str]:
    """The keyed hash of a user's tag, under its field; empty without one."""
    return {field: request_log.user_hash(str(record[field]))} if record.get(field) else {}
