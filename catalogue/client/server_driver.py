"""A server of the catalogue as its user asks for it: each call is a request, or some; long work is the server's.

Files go in pieces, and what was cut off is gone on with. Blocking, thread-safe.
"""

# ruff: noqa: D102  # what each method does is said once, in drivers

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Self, cast
from urllib.parse import quote, urlsplit

import msgspec

from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.catalogue.datasets.dataset_filter import DatasetFilter
from penstock.catalogue.datasets.dataset_rows import ReportedRows
from penstock.catalogue.datasets.given_files import GivenFile
from penstock.catalogue.orm.dataset import (
    CloudIntegration,
    CreatedDataset,
    DataRow,
    DatasetInfo,
    DatasetPage,
    DatasetScope,
    DatasetUserRole,
    RowPage,
    StorageLocation,
)
from penstock.catalogue.orm.dataset_api_keys import DatasetAPIKey
from penstock.catalogue.rows.row_index import RowFilter
from penstock.errors import PenstockError, UsageError
from penstock.progress import Progress

from .drivers import DatasetDriver, Shown
from .sent_files import AddedFiles, send_file
from .server_connection import ServerConnection
from .tasks import wait_for

__all__ = ["ServerDataset", "ServerDriver"]


class ServerDriver:
    """The datasets of a server that whoever asks may use; see `CatalogueDriver`."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    def create(self, title: str, storage: StorageLocation | None, description: str, name: str | None) -> CreatedDataset:
        number = int(storage) if storage is not None else None
        body = {"title": title, "storage": number, "description": description, "name": name}
        return msgspec.convert(self._connection.ask("POST", "/api/datasets", body), CreatedDataset)

    def page(self, wanted: DatasetFilter, sort: str, limit: int, cursor: str | None) -> DatasetPage:
        query = {**_said(wanted), "sort": sort, "limit": limit, "cursor": cursor}
        told = self._connection.ask("GET", "/api/datasets", query=query)
        infos = msgspec.convert(told["datasets"], tuple[DatasetInfo, ...])
        roles = {bucket: DatasetUserRole(role) for bucket, role in told["roles"].items()}
        return DatasetPage(infos, told["cursor"], roles)

    def dataset(self, name: str) -> DatasetDriver:
        told = self._connection.ask("GET", f"/api/datasets/{name}")
        info = msgspec.convert(told["dataset"], DatasetInfo)
        return ServerDataset(self._connection, info.bucket, info.name)

    def integrations(self) -> list[CloudIntegration]:
        return _integrations(self._connection)

    def create_key(
        self, dataset: str, title: str, scopes: Sequence[DatasetScope], lifetime: float | None
    ) -> DatasetAPIKey:
        body = {"dataset": dataset, "title": title, "scopes": _names(scopes), "lifetime": lifetime}
        return _key(self._connection.ask("POST", "/api/keys", body))

    def master_key(self, dataset: str) -> DatasetAPIKey:
        return _key(self._connection.ask("POST", "/api/keys/master", {"dataset": dataset}))

    def keys(self, dataset: str) -> list[DatasetAPIKey]:
        found = self._connection.ask("GET", "/api/keys", query={"dataset": dataset})["keys"]
        return msgspec.convert(found, list[DatasetAPIKey])

    def revoke_key(self, name: str) -> None:
        self._connection.ask("DELETE", f"/api/keys/{name}")

    def register_ssh_key(
        self, public: str, scopes: Sequence[DatasetScope], title: str, dataset: str, is_admin: bool
    ) -> str:
        body = {
            "public": public,
            "scopes": _names(scopes),
            "title": title,
            "dataset": dataset,
            "is_admin": is_admin,
        }
        return str(self._connection.ask("POST", "/api/ssh-keys", body)["fingerprint"])

    def storage_credentials(self, bucket: str, seconds: int) -> dict[str, Any]:
        told = self._connection.ask("POST", f"/store/{bucket}/credentials", {"seconds": seconds})
        return msgspec.convert(told, dict[str, Any])

    def close(self) -> None:
        self._connection.close()


class ServerDataset:
    """One dataset behind a server; see `DatasetDriver`."""

    def __init__(self, connection: ServerConnection, bucket: str, name: str) -> None:
        self._connection = connection
        self._bucket = bucket
        self._dataset = name
        self._hash = ""

    @classmethod
    def at(cls, url: str, key: str | None) -> Self:
        """Return the dataset at ``https://host/bucket/dataset``; `key` is by default that of the environment."""
        base, _, name = url.rstrip("/").rpartition("/")
        base, _, bucket = base.rpartition("/")
        if not name or not bucket or not urlsplit(base).netloc:
            raise UsageError(f"{url!r} names no dataset on a server", fix="Write https://host/bucket/dataset")
        own = key if key is not None else Settings.load().locate_bucket(f"{base}/{bucket}")[1].key
        return cls(ServerConnection(base, key=own), bucket, name)

    @property
    def name(self) -> str:
        return f"{self._connection.url}/{quote(self._bucket)}/{quote(self._dataset)}"

    def _ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        hash_ = self._hash or self.info().dataset_hash
        return self._connection.ask(method, f"/api/datasets/{hash_}{path}", body, **more)

    def info(self) -> DatasetInfo:
        shown = self._connection.ask("GET", "/api/find", query={"bucket": self._bucket, "name": self._dataset})
        found = msgspec.convert(shown["dataset"], DatasetInfo)
        self._hash = found.dataset_hash
        return found

    def role(self) -> DatasetUserRole:
        return DatasetUserRole(self._ask("GET", "")["user_role"])

    def package(self, ref: str) -> Package:
        settings = Settings.load()
        options = replace(settings.store_options, key=self._connection.key)
        return Package(f"{self.name}{f':{ref}' if ref else ''}", replace(settings, store_options=options))

    def rows(self, wanted: RowFilter, sort: str, limit: int, cursor: str | None) -> RowPage:
        query = {**_said(wanted), "sort": sort, "limit": limit, "cursor": cursor}
        return msgspec.convert(self._ask("GET", "/rows", query=query), RowPage)

    def row(self, data_hash: str) -> DataRow:
        return msgspec.convert(self._ask("GET", f"/rows/{_part(data_hash)}"), DataRow)

    def update_row(self, data_hash: str, title: str | None, client_metadata: Mapping[str, Any] | None) -> DataRow:
        body = {"title": title, "client_metadata": dict(client_metadata) if client_metadata is not None else None}
        return msgspec.convert(self._ask("PATCH", f"/rows/{_part(data_hash)}", body), DataRow)

    def delete(self, data_hashes: Sequence[str]) -> tuple[list[str], list[str]]:
        told = self._ask("POST", "/delete-data", {"data_hashes": list(data_hashes)})
        return list(told["deleted"]), list(told["ignored"])

    def add(self, files: AddedFiles, progress: Progress) -> list[DataRow]:
        sent = [self._sent(each, progress) for each in files.files]
        body = {"kind": files.kind, "files": sent, "title": files.title, "folder": files.folder}
        return [self.row(uid) for uid in self._added(body, progress)["rows"]]

    def _sent(self, given: GivenFile, progress: Progress) -> dict[str, Any]:
        hash_ = self._hash or self.info().dataset_hash
        upload = send_file(self._connection, hash_, given.path, os.path.basename(given.path), progress)
        more = {"title": given.title, "client_metadata": given.client_metadata, "key": given.key}
        return {"upload": upload, **more}

    def commit(self, files: Mapping[str, str], deleted: Sequence[str], message: str, progress: Progress) -> str:
        sent = [self._sent(GivenFile(path, key=key), progress) for key, path in files.items()]
        asked = {"kind": "commit", "files": sent, "deleted": list(deleted), "message": message}
        return str(self._added(asked, progress)["top_hash"])

    def _added(self, addition: dict[str, Any], progress: Progress) -> Mapping[str, Any]:
        return self._done(int(self._ask("POST", "/additions", addition, again=True)["task"]), progress)

    def _done(self, number: int, progress: Progress) -> Mapping[str, Any]:
        shown = wait_for(lambda: self.task(number), progress)
        if shown["status"] != "DONE":
            raise PenstockError("nothing was added", why=shown["error"])
        return cast("Mapping[str, Any]", shown["result"])

    def index(self, exact: bool, progress: Progress) -> ReportedRows:
        told = self._done(int(self._ask("POST", "/index", {"exact": exact})["task"]), progress)
        return ReportedRows(told["indexed"], told["unknown"], told["top_hash"])

    def integrations(self) -> list[CloudIntegration]:
        return _integrations(self._connection)

    def begin_private_data(self, integration: str, spec: dict[str, Any], ignore_errors: bool) -> int:
        asked = {"integration": integration, "spec": spec, "ignore_errors": ignore_errors}
        return int(self._ask("POST", "/private-data", asked)["task"])

    def begin_re_encoding(self, data_hashes: Sequence[str]) -> tuple[int, list[str]]:
        told = self._ask("POST", "/re-encode", {"data_hashes": list(data_hashes)})
        return int(told["task"]), list(told["ignored"])

    def task(self, number: int) -> Shown:
        shown = cast("dict[str, Any]", self._connection.ask("GET", f"/api/tasks/{number}"))
        for video in (shown["result"] or {}).get("videos", ()):
            if (video["signed_url"] or "").startswith("/"):  # the server does not know how it is reached
                video["signed_url"] = self._connection.url + video["signed_url"]
        return shown

    def go_on(self, number: int) -> Shown:
        return self.task(number)  # the server goes on with it by itself

    def tasks(self) -> list[Shown]:
        return cast("list[Shown]", self._connection.ask("GET", "/api/tasks")["tasks"])

    def cancel(self, number: int) -> None:
        self._connection.ask("DELETE", f"/api/tasks/{number}")

    def close(self) -> None:
        self._connection.close()


def _integrations(connection: ServerConnection) -> list[CloudIntegration]:
    return msgspec.convert(connection.ask("GET", "/api/integrations")["integrations"], list[CloudIntegration])


def _said(wanted: DatasetFilter | RowFilter) -> dict[str, Any]:
    """Return a filter as a query: its fields are called alike; values and times are written as text."""
    said = asdict(wanted)
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else getattr(value, "value", value)
        for name, value in said.items()
        if value is not None
    }


def _names(scopes: Sequence[DatasetScope]) -> list[str]:
    return [DatasetScope(each).value for each in scopes]


def _key(told: dict[str, Any]) -> DatasetAPIKey:
    return msgspec.convert({**told["key"], "secret": told["secret"]}, DatasetAPIKey)


def _part(text: str) -> str:
    """Return a name as one part of a path."""
    if not text or "/" in text or text in (".", ".."):
        raise UsageError(f"{text!r} is no name of a row", fix="Give its data hash.")
    return text
