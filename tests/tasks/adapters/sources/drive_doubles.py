"""Doubles of two drive services: as much of Microsoft Graph and of the Google Drive API as their fsspec clients ask."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.tasks.adapters.sources.web_server import Asked, Reply, as_json

TIME = "2026-01-02T03:04:05Z"


@dataclass
class Files:
    """path → bytes; folders are what stands before a slash."""

    content: dict[str, bytes] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def children(self, folder: str) -> dict[str, bytes | None]:
        """Names inside a folder; None for a folder."""
        prefix = f"{folder}/" if folder else ""
        found: dict[str, bytes | None] = {}
        for path, body in self.content.items():
            if path.startswith(prefix):
                name, _, deeper = path.removeprefix(prefix).partition("/")
                found[name] = None if deeper else body
        return found

    def is_folder(self, path: str) -> bool:
        return not path or any(name.startswith(f"{path}/") for name in self.content)

    def ranged(self, path: str, asked: Asked) -> Reply:
        self.reads.append(path)
        body = self.content[path]
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("Range", asked.headers.get("range", "")))
        if not found:
            return Reply(200, body)
        start, end = int(found[1]), int(found[2])
        return Reply(206, body[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(body)}"})


@dataclass
class Graph(Files):
    """Microsoft Graph: the site `Support`, its drive `Documents`."""

    tokens: int = 0
    refused: str = ""
    busy: int = 0

    def __call__(self, asked: Asked) -> Reply:
        path = unquote(urlsplit(asked.path).path)
        if path.endswith("/oauth2/v2.0/token"):
            self.tokens += 1
            return as_json({"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600})
        if asked.headers.get("Authorization") != "Bearer t0ken":
            return Reply(401)
        if self.busy:
            self.busy -= 1
            return Reply(429)
        if path == "/v1.0/sites":
            return as_json({"value": [{"id": "site-1"}]})
        if path == "/v1.0/sites/site-1/drives":
            return as_json({"value": [{"id": "drive-1", "name": "Documents"}]})
        found = re.fullmatch(
            r"/v1\.0/drives/drive-1/(?:root(?::/(.*?):)?|items/id-(.*?))(?:/(children|content))?", path
        )
        return self._drive((found[1] or found[2] or "").strip("/"), found[3] or "", asked) if found else Reply(404)

    def _drive(self, path: str, action: str, asked: Asked) -> Reply:
        if not self.is_folder(path) and path not in self.content:
            return Reply(404)
        if path and path == self.refused:
            return Reply(403)
        if action == "children":
            return as_json({"value": [self._item(f"{path}/{n}".strip("/")) for n in self.children(path)]})
        if action == "content":
            return self.ranged(path, asked)
        return as_json(self._item(path))

    def _item(self, path: str) -> dict[str, Any]:
        folder, _, name = path.rpartition("/")
        parent = {"path": f"/drives/drive-1/root:/{folder}".rstrip("/")}
        times = {"createdDateTime": TIME, "lastModifiedDateTime": TIME}
        common = {"id": f"id-{path}", "name": name, "parentReference": parent, **times}
        if self.is_folder(path):
            return {**common, "folder": {"childCount": len(self.children(path))}}
        body = self.content[path]
        return {**common, "file": {"mimeType": "text/csv"}, "size": len(body), "cTag": hashlib.sha256(body).hexdigest()}


@dataclass
class Drive(Files):
    """Google Drive v3: a folder with the id `folder-1`, shared with a service account."""

    native: tuple[str, ...] = ()
    twice: str = ""

    def __call__(self, asked: Asked) -> Reply:
        parts = urlsplit(asked.path)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/token":
            return as_json({"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600})
        headers = {name.lower(): value for name, value in asked.headers.items()}
        if headers.get("authorization") != "Bearer t0ken":
            return Reply(401)
        if parts.path == "/drive/v3/files":
            (parent,) = re.findall(r"^'(.*?)' in parents", parameters["q"])
            folder = "" if parent == "folder-1" else unquote(parent.removeprefix("id-"))
            paths = [f"{folder}/{name}".strip("/") for name in self.children(folder)]
            paths += [path for path in paths if path == self.twice]
            return as_json({"files": [self._item(path, self.content.get(path)) for path in paths]})
        return self.ranged(unquote(parts.path.removeprefix("/drive/v3/files/id-")), asked)

    def _item(self, path: str, body: bytes | None) -> dict[str, Any]:
        common = {"id": f"id-{path}", "name": path.rpartition("/")[2], "createdTime": TIME}
        if body is None:
            return {**common, "mimeType": "application/vnd.google-apps.folder", "modifiedTime": TIME}
        if path in self.native:
            return {**common, "mimeType": "application/vnd.google-apps.document", "modifiedTime": TIME}
        stamp = hashlib.sha256(body).hexdigest()
        return {**common, "mimeType": "text/csv", "size": str(len(body)), "modifiedTime": stamp}


def service_account(url: str) -> str:
    """What Google gives for a service account, with the addresses of the double."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "reader@example.iam.gserviceaccount.com",
            "private_key": private,
            "token_uri": f"{url}/token",
            "api_endpoint": url,
        }
    )
