"""Records from a JSON API that answers in pages."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from tasks.adapters.sources.egress import Network
from tasks.adapters.sources.http import Answer, Client
from tasks.adapters.sources.spec import SourceSpec, shown_url
from tasks.digest import digest_of
from tasks.errors import DataRefused, UsageError

_PAGE_MEGABYTES = 64


class Pages:
    """All records of all pages.

    `token` is the list of the pages' ETags where their addresses are known beforehand (one page, or counted ones):
    then a sync asks with If-None-Match and reads nothing where nothing changed.
    """

    def __init__(self, spec: SourceSpec, network: Network) -> None:
        assert spec.http
        self._spec, self._options, self._network = spec, spec.http, network
        self.uri, self.address = shown_url(spec.path), spec.path
        self.name = f"{urlsplit(spec.path).hostname}-{digest_of([spec.path, spec.http.items])[:8]}.jsonl"
        self.token = ""
        self.passed_over: tuple[str, ...] = ()

    def unchanged(self, token: str) -> bool:
        with Client(self._spec, self._network) as client:
            return all(
                client.fetch(self._counted(number), io.BytesIO(), etag, _PAGE_MEGABYTES).unchanged
                for number, etag in enumerate(json.loads(token))
            )

    def records(self) -> Iterator[Mapping[str, Any]]:
        etags: list[str] = []
        seen: set[str] = set()
        url = self._counted(0)
        with Client(self._spec, self._network) as client:
            while url:
                self._check_progress(url, seen)
                page, answer = self._page(client, url)
                etags.append(answer.etag)
                items = self._items(page)
                yield from items
                url = self._next(page, answer, len(etags), bool(items))
        self.token = json.dumps(etags) if all(etags) and self._addresses_known(len(etags)) else ""

    def _check_progress(self, url: str, seen: set[str]) -> None:
        if url in seen or len(seen) >= self._options.max_pages:
            raise DataRefused(
                "the pages of the source do not end",
                where=self.uri,
                why="a page came twice" if url in seen else f"there are more than {self._options.max_pages}",
                remedy="correct the way to the next page in data.sources[].http, or raise max_pages",
            )
        seen.add(url)

    def _page(self, client: Client, url: str) -> tuple[Any, Answer]:
        body = io.BytesIO()
        answer = client.fetch(url, body, max_megabytes=_PAGE_MEGABYTES)
        try:
            return json.loads(body.getvalue(), parse_constant=_no_number), answer
        except (ValueError, RecursionError) as error:
            raise DataRefused(
                "an answer of the source is no JSON",
                where=shown_url(url),
                why=f"{type(error).__name__} in {len(body.getvalue())} bytes",
                remedy="correct data.sources[].path; without http.items an address is read as one document",
            ) from None

    def _items(self, page: Any) -> list[Mapping[str, Any]]:
        items = _at(page, self._options.items)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataRefused(
                "an answer of the source holds no list of records",
                where=self.uri,
                why=f"at `{self._options.items}` is {_kind(items)}",
                remedy="correct data.sources[].http.items",
            )
        return items

    def _next(self, page: Any, answer: Answer, pages: int, full: bool) -> str:
        options = self._options
        if options.page_parameter:
            return self._counted(pages) if full else ""
        if options.link_header:
            return str(httpx.URL(answer.url).join(answer.next_link)) if answer.next_link else ""
        found = _at(page, options.next_page) if options.next_page else None
        if found in (None, "", False):
            return ""
        if options.cursor_parameter:
            return str(httpx.URL(self._spec.path).copy_set_param(options.cursor_parameter, str(found)))
        if not isinstance(found, str):
            raise UsageError(
                "the next page of the source is no address",
                where=self.uri,
                why=f"at `{options.next_page}` is {_kind(found)}",
                remedy="if it is a cursor, say which parameter takes it: data.sources[].http.cursor_parameter",
            )
        return str(httpx.URL(answer.url).join(found))

    def _counted(self, number: int) -> str:
        if not self._options.page_parameter:
            return self._spec.path
        value = str(self._options.first_page + number)
        return str(httpx.URL(self._spec.path).copy_set_param(self._options.page_parameter, value))

    def _addresses_known(self, pages: int) -> bool:
        return bool(self._options.page_parameter) or (pages == 1 and not self._options.link_header)


def _at(value: Any, path: str) -> Any:
    """What lies at a dotted path; None where it leads nowhere."""
    for part in path.split(".") if path != "." else ():
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return {"dict": "an object", "list": "a list of other things", "str": "text"}.get(type(value).__name__, "a number")
