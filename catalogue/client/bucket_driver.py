"""Buckets as a catalogue's user asks for them, without a server: all is done by this process.

Long work is done in a thread, and gone on with by whoever asks for it next; keys are those of the state's folder, which
a server with the same state knows as well.
"""

# ruff: noqa: D102  # what each method does is said once, in drivers

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue, BucketCatalogues
from penstock.catalogue.datasets.dataset_filter import DatasetFilter
from penstock.catalogue.datasets.dataset_rows import DatasetRows, ReportedRows
from penstock.catalogue.datasets.private_data import integrations
from penstock.catalogue.datasets.private_spec import parse_spec
from penstock.catalogue.jobs.job_requests import PrivateRequest, ReencodeRequest
from penstock.catalogue.jobs.job_work import PRIVATE, REENCODE
from penstock.catalogue.orm.dataset import (
    CloudIntegration,
    CreatedDataset,
    DataRow,
    DatasetInfo,
    DatasetPage,
    DatasetScope,
    DatasetUserRole,
    DataType,
    RowPage,
    StorageLocation,
)
from penstock.catalogue.orm.dataset_api_keys import DatasetAPIKey
from penstock.catalogue.rows.row_index import RowFilter
from penstock.catalogue.state.database import Database, open_database
from penstock.catalogue.state.key_table import KeyTable
from penstock.catalogue.state.signed_request import SshKeyTable
from penstock.errors import NotFoundError, UsageError
from penstock.progress import Progress

from .drivers import DatasetDriver, Shown
from .local_jobs import LocalJobs
from .sent_files import AddedFiles

__all__ = ["BucketDriver"]

_KINDS = {
    "video": (DataType.VIDEO,),
    "image": (DataType.IMAGE,),
    "file": (DataType.VIDEO, DataType.IMAGE),
}


class _State:
    """The user's own state, opened when something of it is asked for."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._opened: Database | None = None

    def database(self) -> Database:
        with self._lock:
            if self._opened is None:
                self._opened = open_database(self._folder)
            return self._opened

    def close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()


class BucketDriver:
    """The datasets of some buckets; see `CatalogueDriver`."""

    def __init__(self, buckets: Sequence[str], settings: Settings, author: str, state: str | None) -> None:
        self._catalogues = BucketCatalogues(buckets, settings)
        self._author = author
        self._state = _State(state)
        self._jobs = LocalJobs(self._catalogues, self._state.database)

    def create(self, title: str, storage: StorageLocation | None, description: str, name: str | None) -> CreatedDataset:
        return self._catalogues.catalogue_for(storage).create(title, description, name=name, author=self._author)

    def page(self, wanted: DatasetFilter, sort: str, limit: int, cursor: str | None) -> DatasetPage:
        page = wanted.page(self._catalogues.infos(), sort, limit, cursor)
        buckets = {info.bucket for info in page.datasets}
        return replace(page, roles={bucket: self._catalogues.buckets[bucket].role() for bucket in buckets})

    def dataset(self, name: str) -> DatasetDriver:
        found, known = self._catalogues.find(name)
        return _BucketDataset(found, known, self._author, self._jobs)

    def integrations(self) -> list[CloudIntegration]:
        return integrations(self._catalogues.settings)

    def _hash_of(self, dataset: str) -> str:
        found, name = self._catalogues.find(dataset)
        return found.hash_of(name)

    def _keys(self) -> KeyTable:
        return KeyTable(self._state.database())

    def create_key(
        self, dataset: str, title: str, scopes: Sequence[DatasetScope], lifetime: float | None
    ) -> DatasetAPIKey:
        return self._keys().create(title, scopes, self._hash_of(dataset), lifetime=lifetime)

    def master_key(self, dataset: str) -> DatasetAPIKey:
        return self._keys().master(self._hash_of(dataset))

    def keys(self, dataset: str) -> list[DatasetAPIKey]:
        return self._keys().list(self._hash_of(dataset))

    def revoke_key(self, name: str) -> None:
        self._keys().revoke(name)

    def register_ssh_key(
        self, public: str, scopes: Sequence[DatasetScope], title: str, dataset: str, is_admin: bool
    ) -> str:
        hash_ = self._hash_of(dataset) if dataset else ""
        table = SshKeyTable(self._state.database())
        return table.register(public, title, list(scopes), hash_, is_admin=is_admin)

    def storage_credentials(self, bucket: str, seconds: int) -> dict[str, Any]:  # noqa: ARG002  # the protocol's
        raise UsageError(
            "a bucket gives out no credentials", why="a server with a role of the store does", fix="penstock serve"
        )

    def close(self) -> None:
        self._jobs.close()
        self._state.close()
        self._catalogues.close()


class _BucketDataset:
    """One dataset of a bucket; see `DatasetDriver`."""

    def __init__(self, catalogue: BucketCatalogue, name: str, author: str, jobs: LocalJobs) -> None:
        self._catalogue = catalogue
        self._dataset = name
        self._author = author
        self._jobs = jobs
        self._rows = DatasetRows(catalogue, name, author)

    @property
    def name(self) -> str:
        return f"{self._catalogue.bucket}/{self._dataset}"

    def info(self) -> DatasetInfo:
        return self._catalogue.info(self._dataset)

    def role(self) -> DatasetUserRole:
        return self._catalogue.role()

    def package(self, ref: str) -> Package:
        return Package(Handle(self._catalogue.bucket, self._dataset, ref or None), self._catalogue.settings)

    def rows(self, wanted: RowFilter, sort: str, limit: int, cursor: str | None) -> RowPage:
        return self._rows.page(wanted, sort=sort, limit=limit, cursor=cursor)

    def row(self, data_hash: str) -> DataRow:
        return self._rows.find(data_hash)

    def update_row(self, data_hash: str, title: str | None, client_metadata: Mapping[str, Any] | None) -> DataRow:
        return self._rows.update(data_hash, title=title, client_metadata=client_metadata)

    def delete(self, data_hashes: Sequence[str]) -> tuple[list[str], list[str]]:
        return self._rows.delete(data_hashes)

    def add(self, files: AddedFiles, progress: Progress) -> list[DataRow]:
        given, title, folder = files.files, files.title, files.folder
        match files.kind:
            case "folder":
                return self._rows.add_folder(given, folder=folder, progress=progress)
            case "image_group":
                return self._rows.add_image_groups(given, title=title, folder=folder, progress=progress)
            case "dicom_series":
                return self._rows.add_dicom_series(given, title=title, folder=folder, progress=progress)
            case kind:
                return [self._rows.add_file(each, *_KINDS[kind], folder=folder, progress=progress) for each in given]

    def commit(self, files: Mapping[str, str], deleted: Sequence[str], message: str, progress: Progress) -> str:
        return self._rows.commit(files, deleted, message, progress)

    def index(self, exact: bool, progress: Progress) -> ReportedRows:
        return self._rows.index(exact=exact, progress=progress)

    def integrations(self) -> list[CloudIntegration]:
        return integrations(self._catalogue.settings)

    def begin_private_data(self, integration: str, spec: dict[str, Any], ignore_errors: bool) -> int:
        known = [each.id for each in self.integrations()]
        if integration not in known:
            why = f"there is {', '.join(known) or 'none'}"
            raise NotFoundError(f"no integration {integration[:100]!r}", why=why, fix="penstock remote add")
        parse_spec(spec)
        request = PrivateRequest(integration, spec, ignore_errors, self._author)
        return self._jobs.submit(PRIVATE, self._hash(), msgspec.json.encode(request))

    def _hash(self) -> str:
        return self._catalogue.hash_of(self._dataset)

    def begin_re_encoding(self, data_hashes: Sequence[str]) -> tuple[int, list[str]]:
        wanted = list(dict.fromkeys(data_hashes))
        there = self._rows.find_many(wanted)
        request = ReencodeRequest(tuple(uid for uid in wanted if uid in there), self._author)
        task = self._jobs.submit(REENCODE, self._hash(), msgspec.json.encode(request))
        return task, [uid for uid in wanted if uid not in there]

    def task(self, number: int) -> Shown:
        return self._jobs.find(number)

    def go_on(self, number: int) -> Shown:
        return self._jobs.go_on(number)

    def tasks(self) -> list[Shown]:
        return self._jobs.list()

    def cancel(self, number: int) -> None:
        self._jobs.cancel(number)

    def close(self) -> None:
        """Leave what is open to the catalogue that it is of."""
