"""The fsspec file system behind a source, opened with the secret that the environment holds."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from tasks.adapters.sources.secret import secret_object
from tasks.adapters.sources.spec import SourceSpec, scheme_of
from tasks.errors import EnvironmentUnusable, UsageError

_PACKAGES = {  # scheme → (fsspec protocol, package, extra)
    "s3": ("s3", "s3fs", "s3"), "gs": ("gs", "gcsfs", "gcs"), "az": ("abfs", "adlfs", "azure"),
    "abfs": ("abfs", "adlfs", "azure"), "sharepoint": ("sharepoint", "msgraphfs", "sharepoint"),
    "gdrive": ("gdrive", "gdrive_fsspec", "gdrive"),
}  # fmt: skip
_GRAPH = "https://graph.microsoft.com"
_FRESH: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}


@dataclass(frozen=True)
class Opened:
    """A file system, and the path in it that the source names."""

    fs: Any
    prefix: str
    """What stands before a path of the file system in an address, e.g. `s3://`."""
    path: str
    refresh: dict[str, Any] = field(default_factory=dict)
    """Arguments that make `info` ask the store again."""
    folders: bool = False
    """Has real folders, which are listed one by one."""

    def shown(self, path: str) -> str:
        return f"{self.prefix}{path.strip('/')}"

    def path_of(self, address: str) -> str:
        return address.removeprefix(self.prefix)

    def inside(self, path: str) -> str:
        """The part of a path below what the source names."""
        return path.strip("/").removeprefix(self.path.strip("/"))

    def below(self, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """All files below a path. A folder that cannot be listed is an error: fsspec's own walk would leave it out, and
        its files would count as removed."""
        if not self.folders:
            yield from self.fs.find(path, detail=True).items()
            return
        for info in self.fs.ls(path, detail=True):
            if info["type"] == "directory":
                yield from self.below(info["name"].strip("/"))
            else:
                yield info["name"].strip("/"), info


def open_filesystem(spec: SourceSpec) -> Opened:
    """
    Raises:
        EnvironmentUnusable: the package for this kind of store is not installed.
        UsageError: the secret is not set or does not hold what the store needs.
    """
    scheme = scheme_of(spec.path)
    options = secret_object(spec.credentials)
    try:
        if scheme == "sharepoint":
            return _sharepoint(spec.path, options)
        if scheme == "gdrive":
            return _drive(spec.path, options)
        return _bucket(spec.path, options)
    except ImportError as error:
        _, package, extra = _PACKAGES[scheme]
        raise EnvironmentUnusable(
            f"{package} is not installed", where=f"{scheme}://", remedy=f"pip install 'tuneloop[{extra}]'"
        ) from error


def _bucket(url: str, options: Mapping[str, Any]) -> Opened:
    """The secret is a JSON object of the store's fsspec options, or a Google service account; without one the
    provider's own chain applies (its environment variables, profile, or the machine's role)."""
    scheme = scheme_of(url)
    if options.get("type") == "service_account":
        options = {"token": dict(options)}
    if scheme == "gs":
        # Not the class that fsspec would take: it asks a second service over gRPC first, which we have no use for.
        kind = importlib.import_module("gcsfs.core").GCSFileSystem
    else:
        kind = fsspec.get_filesystem_class(_PACKAGES[scheme][0])
    fs = kind(**options, **_FRESH)
    return Opened(fs, f"{scheme}://", url.split("://", 1)[1].strip("/"), {"refresh": True} if scheme == "s3" else {})


def _sharepoint(url: str, options: Mapping[str, Any]) -> Opened:
    """sharepoint://SITE/DRIVE/path. The secret names `tenant_id`, `client_id` and `client_secret` of an application;
    in national clouds also `login` and `graph`, the addresses of their services."""
    from msgraphfs import MSGDriveFS

    site, _, rest = url.split("://", 1)[1].partition("/")
    drive, _, path = rest.partition("/")
    _need(options, ("tenant_id", "client_id", "client_secret"), url)
    login = str(options.get("login", "https://login.microsoftonline.com")).rstrip("/")
    graph = str(options.get("graph", _GRAPH)).rstrip("/")
    client = {
        "client_id": options["client_id"],
        "client_secret": options["client_secret"],
        "token_endpoint": f"{login}/{options['tenant_id']}/oauth2/v2.0/token",
        "scope": f"{graph}/.default",
        "grant_type": "client_credentials",
    }
    if graph != _GRAPH:
        client["transport"] = _national_cloud(graph)
    fs = MSGDriveFS(site_name=unquote(site), drive_name=unquote(drive), oauth2_client_params=client, **_FRESH)
    return Opened(fs, f"sharepoint://{site}/{drive}/", path.strip("/"), folders=True)


def _drive(url: str, options: Mapping[str, Any]) -> Opened:
    """gdrive://FOLDER-ID/path (`root` is the account's own drive). The secret is a service account, as Google gives it;
    `api_endpoint` beside it names another address of the service."""
    from gdrive_fsspec import GoogleDriveFileSystem
    from googleapiclient.discovery import build

    folder, _, path = url.split("://", 1)[1].partition("/")
    _need(options, ("client_email", "private_key", "token_uri"), url)
    account = {name: value for name, value in options.items() if name != "api_endpoint"}
    way = {"token": "service_account", "creds": account, "access": "read_only"}
    fs = GoogleDriveFileSystem(root_file_id=folder, **way, **_FRESH)
    if "api_endpoint" in options:
        credentials = fs._connect_service_account()
        there = {"api_endpoint": f"{str(options['api_endpoint']).rstrip('/')}/drive/v3/"}
        fs.srv = build("drive", "v3", credentials=credentials, client_options=there)
        fs.files = fs.srv.files()
    return Opened(fs, f"gdrive://{folder}/", path.strip("/"), folders=True)


def _need(options: Mapping[str, Any], names: tuple[str, ...], url: str) -> None:
    missing = [name for name in names if not options.get(name)]
    if missing:
        raise UsageError(
            "the secret of a source lacks something",
            where=f"{scheme_of(url)}://{urlsplit(url).netloc}",
            why=f"missing: {', '.join(missing)}",
            remedy="name a variable in data.sources[].credentials that holds a JSON object with these keys",
        )


def _national_cloud(graph: str) -> Any:
    """A transport that asks another Microsoft Graph than the one the library has written into it."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    # authlib is built on httpx or on its successor, whichever is installed; a transport has to be of the same kind.
    client = next(base for base in AsyncOAuth2Client.__mro__ if base.__name__ == "AsyncClient")
    httpx = importlib.import_module(client.__module__.partition(".")[0])
    there, world = httpx.URL(graph), httpx.URL(_GRAPH).host

    class NationalCloud(httpx.AsyncHTTPTransport):  # type: ignore[name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            if request.url.host == world:
                request.url = request.url.copy_with(scheme=there.scheme, host=there.host, port=there.port)
                request.headers["host"] = there.netloc.decode()
            return await super().handle_async_request(request)

    return NationalCloud()
