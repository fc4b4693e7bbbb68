"""What a source is, as a person writes it down: where it lies, how it is asked, which records count. Never a secret."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from tasks.contracts import Record
from tasks.errors import UsageError

Kind = Literal["local", "objects", "http", "sql", "sharepoint", "drive", "requests"]
KINDS: dict[str, Kind] = {
    "": "local", "s3": "objects", "gs": "objects", "az": "objects", "abfs": "objects",
    "http": "http", "https": "http", "postgresql": "sql", "mysql": "sql",
    "sharepoint": "sharepoint", "gdrive": "drive", "requests": "requests",
}  # fmt: skip
_SECRET_PARAMETER = re.compile(
    r"(?i)^(key|pass|pwd|auth|sig|.*(password|passwd|secret|signature|credential|authorization).*"
    r"|.*(api|access|private|subscription|account)[-_]?key|(.*(access|auth|api|id|refresh|security)[-_]?)?token)$"
)
_SECRET_VARIABLE = re.compile(r"^TUNELOOP_SECRET_[A-Z0-9_]+$")


class HttpOptions(Record):
    """How an HTTP address is asked. Without `items` its answer is one document; with it, a list of records in pages."""

    name: str = Field(
        "", description="File name of the one document, where the address does not end in it: export.csv."
    )
    items: str = Field("", description="Where the records are in an answer: dotted path, or `.` for the whole answer.")
    next_page: str = Field(
        "", description="Where an answer holds the address or the cursor of the next page: dotted path."
    )
    cursor_parameter: str = Field("", description="Query parameter that takes the cursor found at next_page.")
    link_header: bool = Field(False, description="The next page is named by the Link header (rel=next).")
    page_parameter: str = Field(
        "", description="Query parameter that counts pages; the last page is the first empty one."
    )
    first_page: int = Field(1, ge=0, description="Number of the first page.")
    max_pages: int = Field(10_000, ge=1, description="More pages than this are an error, never cut off silently.")
    max_megabytes: float = Field(2048, gt=0, description="Largest answer that is accepted; of a page at most 64.")
    header: str = Field("Authorization", description="Request header that carries the secret named by `credentials`.")
    allow_private: bool = Field(
        False, description="Allows private and loopback addresses; link-local ones (cloud metadata) stay refused."
    )
    timeout_seconds: float = Field(30, gt=0, description="Longest wait for the next bytes.")
    retries: int = Field(5, ge=0, description="Repetitions after 429, 5xx and connection errors.")

    @model_validator(mode="after")
    def _one_way_to_the_next_page(self) -> HttpOptions:
        ways = [name for name in ("next_page", "link_header", "page_parameter") if getattr(self, name)]
        if len(ways) > 1 or (ways and not self.items) or (self.cursor_parameter and not self.next_page):
            raise UsageError(
                "the pages of an HTTP source are described in a way that cannot be followed",
                where="data.sources[].http",
                why="pages need items and at most one of next_page, link_header, page_parameter",
                remedy="say where the records are with items, and give one way to the next page",
            )
        return self


class LogFilter(Record):
    """Which logged conversations become rows, and where a JSON Lines log holds what the filter looks at."""

    min_rating: float | None = Field(None, description="Lowest rating; conversations without a rating are left out.")
    agents: tuple[str, ...] = Field((), description="Only these agents; empty: all.")
    since: datetime | None = Field(None, description="Not before this time (UTC where no zone is given).")
    until: datetime | None = Field(None, description="Before this time (UTC where no zone is given).")
    rating_field: str = Field("rating", description="Field of the rating: a number, true/false, up/down.")
    agent_field: str = Field("agent", description="Field of the agent.")
    time_field: str = Field("timestamp", description="Field of the time, ISO 8601 or seconds since 1970.")
    user_field: str = Field("user", description="Field of the user's tag; only its keyed hash is passed on.")


class SourceSpec(Record):
    """One source. Relative paths resolve against the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: str = Field(
        min_length=1,
        description="File, folder, glob, or URL: s3:// gs:// az:// http(s):// postgresql:// mysql:// "
        "sharepoint://SITE/DRIVE/… gdrive://FOLDER/… requests://MODEL (the gateway's own request log).",
    )
    query: str = Field("", description="Databases: one SELECT statement; its columns are the fields of the records.")
    key: str = Field("", description="Field that is unique among records: gives their order and tells changes apart.")
    updated: str = Field("", description="Databases: column that every change of a record moves forward; "
                         "where its maximum and the number of records stand still, nothing is read again.")  # fmt: skip
    http: HttpOptions | None = Field(None, description="How an http(s) address is asked.")
    log: LogFilter | None = Field(
        None, description="The source is a log of conversations; this says which of them count."
    )
    credentials: str = Field(
        "", description="NAME of the environment variable that holds the secret: TUNELOOP_SECRET_…."
    )
    timeout_seconds: float = Field(300, gt=0, description="Databases: longest time of one statement.")

    @field_validator("path")
    @classmethod
    def _no_secret_in_the_path(cls, path: str) -> str:
        scheme = scheme_of(path)
        if scheme not in KINDS:
            raise UsageError(
                f"sources of the kind '{scheme}://' cannot be read",
                where="data.sources[].path",
                remedy=f"use a path or one of {', '.join(f'{s}://' for s in KINDS if s)}",
            )
        if scheme:
            _refuse_secrets(path)
        return path

    @field_validator("credentials")
    @classmethod
    def _name_of_a_variable(cls, credentials: str) -> str:
        if credentials and not _SECRET_VARIABLE.match(credentials):
            raise UsageError(
                "the credentials of a source are not the name of an environment variable",
                where="data.sources[].credentials",
                why="secrets never stand in a configuration",
                remedy="put the secret into a variable like TUNELOOP_SECRET_CRM and write that name here",
            )
        return credentials

    @model_validator(mode="after")
    def _only_what_the_kind_honours(self) -> SourceSpec:
        for field, fits in self._fitting().items():
            if getattr(self, field) not in ("", None) and not fits:
                raise UsageError(
                    f"`{field}` has no effect on this source",
                    where=f"data.sources[].{field}",
                    why=f"the source is of the kind {self.kind}" + ("" if self.of_records else ", read as documents"),
                    remedy=f"leave `{field}` out",
                )
        if self.kind == "sql" and not self.query:
            raise UsageError(
                "a database needs a query", where="data.sources[].query", remedy="give one SELECT statement"
            )
        return self

    def _fitting(self) -> dict[str, bool]:
        sql, http = self.kind == "sql", self.kind == "http"
        return {
            "query": sql,
            "updated": sql,
            "key": self.of_records,
            "http": http,
            "log": self.kind not in ("sql",) and not (http and self.of_pages),
            "credentials": self.kind not in ("local", "requests"),
        }

    @property
    def kind(self) -> Kind:
        return KINDS[scheme_of(self.path)]

    @property
    def of_pages(self) -> bool:
        return self.http is not None and bool(self.http.items)

    @property
    def of_records(self) -> bool:
        """Whether the source yields records, which become one document, instead of documents of its own."""
        return self.kind in ("sql", "requests") or self.of_pages or self.log is not None


def scheme_of(path: str) -> str:
    """`s3` of s3://…; empty for a path of this machine."""
    match = re.match(r"^([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return match.group(1).lower() if match else ""


def _refuse_secrets(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        raise UsageError(
            "the address of a source cannot be understood",
            where="data.sources[].path",
            why="host or port are malformed",
            remedy="correct the address",
        ) from None
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET_PARAMETER.match(name)]
    if ":" in parts.netloc.rpartition("@")[0] or names:
        raise UsageError(
            "the address of a source holds a secret",
            where="data.sources[].path",
            why="a password before the @" if not names else f"the parameter {names[0]}",
            remedy="take it out, put it into an environment variable and name that in `credentials`",
        )


def shown_url(url: str) -> str:
    """The address as people and rows are told it: no user, no values of parameters, no fragment."""
    parts = urlsplit(url)
    names = "&".join(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{names}" if names else "")
