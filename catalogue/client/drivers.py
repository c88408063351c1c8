"""What a catalogue is asked for, wherever it is: of buckets directly, or of a server. One protocol, two drivers.

`UserClient` and `Dataset` are what users call: they say what is meant by their arguments, wait for long work, and warn.
What they ask for stands here once; `bucket_driver` does it in this process, `server_driver` over HTTP.

Blocking, thread-safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from penstock.api.packages.package import Package
from penstock.catalogue.datasets.dataset_filter import DatasetFilter
from penstock.catalogue.datasets.dataset_rows import ReportedRows
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
from penstock.progress import Progress

from .sent_files import AddedFiles

__all__ = ["CatalogueDriver", "DatasetDriver", "Shown"]

Shown = Mapping[str, Any]
"""A task as it is told: ``task``, ``kind``, ``status``, ``progress``, ``error``, ``result`` and more."""


class DatasetDriver(Protocol):
    """One dataset. Errors are those of `penstock.errors`; each call that changes something makes one version."""

    @property
    def name(self) -> str:
        """How the dataset is named: ``bucket/name``, or its URL."""
        ...

    def info(self) -> DatasetInfo:
        """Return what is said of it."""
        ...

    def role(self) -> DatasetUserRole:
        """Return what one may do with it."""
        ...

    def package(self, ref: str) -> Package:
        """Return a version to be read; without a ref the newest."""
        ...

    def rows(self, wanted: RowFilter, sort: str, limit: int, cursor: str | None) -> RowPage:
        """Return a page of rows."""
        ...

    def row(self, data_hash: str) -> DataRow:
        """Return a row."""
        ...

    def update_row(self, data_hash: str, title: str | None, client_metadata: Mapping[str, Any] | None) -> DataRow:
        """Change a row."""
        ...

    def delete(self, data_hashes: Sequence[str]) -> tuple[list[str], list[str]]:
        """Take rows out; return which, and those that are not of the dataset."""
        ...

    def add(self, files: AddedFiles, progress: Progress) -> list[DataRow]:
        """Add files as rows."""
        ...

    def commit(self, files: Mapping[str, str], deleted: Sequence[str], message: str, progress: Progress) -> str:
        """Add files by their keys, and delete others; return the top hash."""
        ...

    def index(self, exact: bool, progress: Progress) -> ReportedRows:
        """Make rows of files that are none yet."""
        ...

    def integrations(self) -> list[CloudIntegration]:
        """Return the remotes that data may be registered from."""
        ...

    def begin_private_data(self, integration: str, spec: dict[str, Any], ignore_errors: bool) -> int:
        """Begin to register data; return the number of the task."""
        ...

    def begin_re_encoding(self, data_hashes: Sequence[str]) -> tuple[int, list[str]]:
        """Begin to re-encode videos; return the number of the task, and rows that are not of the dataset."""
        ...

    def task(self, number: int) -> Shown:
        """Return how a task is doing."""
        ...

    def go_on(self, number: int) -> Shown:
        """Return how a task is doing, and go on with it where nobody is at it."""
        ...

    def tasks(self) -> list[Shown]:
        """Return the newest tasks of this user."""
        ...

    def cancel(self, number: int) -> None:
        """Have a task end."""
        ...

    def close(self) -> None:
        """Let go of what is open, if it is its own."""
        ...


class CatalogueDriver(Protocol):
    """The datasets of some buckets, and the keys of a server's state."""

    def create(self, title: str, storage: StorageLocation | None, description: str, name: str | None) -> CreatedDataset:
        """Make a dataset."""
        ...

    def page(self, wanted: DatasetFilter, sort: str, limit: int, cursor: str | None) -> DatasetPage:
        """Return a page of datasets, and what one may do in each of their buckets."""
        ...

    def dataset(self, name: str) -> DatasetDriver:
        """Return a dataset by its hash or name."""
        ...

    def integrations(self) -> list[CloudIntegration]:
        """Return the remotes that data may be registered from."""
        ...

    def create_key(
        self, dataset: str, title: str, scopes: Sequence[DatasetScope], lifetime: float | None
    ) -> DatasetAPIKey:
        """Make a key of a dataset."""
        ...

    def master_key(self, dataset: str) -> DatasetAPIKey:
        """Make the master key of a dataset anew."""
        ...

    def keys(self, dataset: str) -> list[DatasetAPIKey]:
        """Return the keys of a dataset that are valid."""
        ...

    def revoke_key(self, name: str) -> None:
        """Let a key open nothing from now on."""
        ...

    def register_ssh_key(
        self, public: str, scopes: Sequence[DatasetScope], title: str, dataset: str, is_admin: bool
    ) -> str:
        """Let whoever has the private half sign requests; return its fingerprint."""
        ...

    def storage_credentials(self, bucket: str, seconds: int) -> dict[str, Any]:
        """Return credentials of the store, for a while."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...
