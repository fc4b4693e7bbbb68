"""Doubles of two object stores: as much of Google Cloud Storage and of Azure Blob as their fsspec clients ask."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qs, unquote, urlsplit

from tests.tasks.adapters.sources.drive_doubles import TIME, Files
from tests.tasks.adapters.sources.web_server import Asked, Reply, as_json

HTTP_TIME = "Thu, 01 Jan 2026 00:00:00 GMT"


class GoogleStorage(Files):
    """The bucket `corpus`, JSON API."""

    def __call__(self, asked: Asked) -> Reply:
        parts = urlsplit(asked.path)
        prefix = parse_qs(parts.query).get("prefix", [""])[0]
        path = unquote(parts.path)
        found = re.fullmatch(r"/(download/)?storage/v1/b/corpus/o(?:/(.*))?", path)
        if not found:
            return Reply(404)
        if found[2] is None:
            return as_json({"items": [self._item(name) for name in self.content if name.startswith(prefix)]})
        if found[2] not in self.content:
            return Reply(404, b'{"error": {"code": 404, "message": "none"}}')
        return self.ranged(found[2], asked) if found[1] else as_json(self._item(found[2]))

    def _item(self, name: str) -> dict[str, str]:
        body = self.content[name]
        version = hashlib.sha256(body).hexdigest()
        return {"name": name, "bucket": "corpus", "size": str(len(body)), "etag": version, "generation": "1",
                "updated": TIME, "timeCreated": TIME}  # fmt: skip


class AzureBlob(Files):
    """The container `corpus` of the account `acct`."""

    def __call__(self, asked: Asked) -> Reply:
        parts = urlsplit(asked.path)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = re.fullmatch(r"/acct/corpus(?:/(.*))?", unquote(parts.path))
        if parameters.get("comp") == "list":
            return self._list(parameters.get("prefix", ""))
        if not found or found[1] not in self.content:
            return Reply(404, b"", {"x-ms-error-code": "BlobNotFound"})
        headers = {"ETag": f'"{self._version(found[1])}"', "Last-Modified": HTTP_TIME, "x-ms-blob-type": "BlockBlob"}
        if asked.method == "HEAD":
            return Reply(200, b"", {**headers, "Content-Length": str(len(self.content[found[1]]))})
        self.reads.append(found[1])
        body = self.content[found[1]]
        return Reply(206, body, {**headers, "Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"})

    def _version(self, name: str) -> str:
        return hashlib.sha256(self.content[name]).hexdigest()[:16]

    def _list(self, prefix: str) -> Reply:
        blobs = "".join(
            f"<Blob><Name>{name}</Name><Properties><Last-Modified>{HTTP_TIME}</Last-Modified>"
            f"<Etag>{self._version(name)}</Etag><Content-Length>{len(body)}</Content-Length>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name, body in self.content.items()
            if name.startswith(prefix)
        )
        answer = f'<EnumerationResults ContainerName="corpus"><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>'
        return Reply(200, answer.encode(), {"Content-Type": "application/xml"})
