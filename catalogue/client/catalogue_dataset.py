"""A dataset as users of the catalogue have it: its rows, and what adds to them, changes and deletes them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue
from penstock.catalogue.datasets.dataset_rows import DatasetRows, ReportedRows
from penstock.catalogue.datasets.given_files import GivenFile
from penstock.catalogue.datasets.private_data import add_private_data
from penstock.catalogue.datasets.private_spec import parse_spec, read_spec
from penstock.catalogue.jobs.job_requests import PrivateRequest, ReencodeRequest
from penstock.catalogue.jobs.job_work import PRIVATE, REENCODE
from penstock.catalogue.orm.dataset import (
    DataRow,
    DatasetInfo,
    DatasetUserRole,
    DataType,
    PrivateDataReport,
    ReEncodeVideoTask,
    RowPage,
)
from penstock.catalogue.rows.row_index import RowFilter
from penstock.progress import SILENT, Progress

from .local_jobs import LocalJobs
from .tasks import private_report, re_encode_task, wait_for

__all__ = ["CatalogueDataset"]

Path = str | os.PathLike[str]


class CatalogueDataset:
    """One dataset of a bucket. Each call that changes something makes one version."""

    def __init__(self, catalogue: BucketCatalogue, name: str, author: str, jobs: LocalJobs) -> None:
        self._catalogue = catalogue
        self._name = name
        self._author = author
        self._jobs = jobs
        self._rows = DatasetRows(catalogue, name, author)

    @property
    def dataset_hash(self) -> str:
        """What names it."""
        return self._catalogue.hash_of(self._name)

    def info(self) -> DatasetInfo:
        """Return what is said of it."""
        return self._catalogue.info(self._name)

    @property
    def title(self) -> str:
        """Its title."""
        return self.info().title

    @property
    def user_role(self) -> DatasetUserRole:
        """What one may do with it."""
        return self._catalogue.role()

    @property
    def data_rows(self) -> list[DataRow]:
        """All its rows, by path. `rows` gives them in pages, filtered and in other orders."""
        return list(self._rows.all())

    def rows(
        self, wanted: RowFilter | None = None, *, sort: str = "path", limit: int = 100, cursor: str | None = None
    ) -> RowPage:
        """Return a page of the rows that fit."""
        return self._rows.page(wanted, sort=sort, limit=limit, cursor=cursor)

    def get_row(self, data_hash: str) -> DataRow:
        """Return a row. NotFoundError: there is none."""
        return self._rows.find(data_hash)

    def update_row(
        self, data_hash: str, *, title: str | None = None, client_metadata: Mapping[str, Any] | None = None
    ) -> DataRow:
        """Change a row's title or metadata."""
        return self._rows.update(data_hash, title=title, client_metadata=client_metadata)

    def upload_video(
        self,
        file_path: Path,
        *,
        title: str = "",
        client_metadata: Mapping[str, Any] | None = None,
        folder: str = "",
        progress: Progress = SILENT,
    ) -> DataRow:
        """Add a video. UnreadableError: it is none. Cut off, it is called again: what was sent is found."""
        given = GivenFile(os.fspath(file_path), title, dict(client_metadata or {}))
        return self._rows.add_file(given, DataType.VIDEO, folder=folder, progress=progress)

    def upload_image(
        self,
        file_path: Path,
        *,
        title: str = "",
        client_metadata: Mapping[str, Any] | None = None,
        folder: str = "",
        progress: Progress = SILENT,
    ) -> DataRow:
        """Add an image. UnreadableError: it is none."""
        given = GivenFile(os.fspath(file_path), title, dict(client_metadata or {}))
        return self._rows.add_file(given, DataType.IMAGE, folder=folder, progress=progress)

    def upload_file(
        self, file_path: Path, *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> DataRow:
        """Add a video or an image, whichever it is. UnreadableError: it is neither."""
        given = GivenFile(os.fspath(file_path), title)
        return self._rows.add_file(given, DataType.VIDEO, DataType.IMAGE, folder=folder, progress=progress)

    def create_image_group(
        self, file_paths: Sequence[Path], *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> list[DataRow]:
        """Add images as a group in their order; those of another resolution are a group of their own."""
        files = [GivenFile(os.fspath(path)) for path in file_paths]
        return self._rows.add_image_groups(files, title=title, folder=folder, progress=progress)

    def create_dicom_series(
        self, file_paths: Sequence[Path], *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> list[DataRow]:
        """Add DICOM files, one row for each series."""
        files = [GivenFile(os.fspath(path)) for path in file_paths]
        return self._rows.add_dicom_series(files, title=title, folder=folder, progress=progress)

    def delete_data(self, data_hashes: Sequence[str]) -> list[str]:
        """Take rows out, and return which; those of other datasets are ignored, with a warning."""
        gone, foreign = self._rows.delete(data_hashes)
        self._warn(foreign)
        return gone

    # Private cloud

    def add_private_data_to_dataset(
        self,
        integration_id: str,
        private_files: Mapping[str, Any] | Path,
        ignore_errors: bool = False,
        *,
        progress: Progress = SILENT,
    ) -> PrivateDataReport:
        """Register data where it lies; see docs/CATALOGUE.md for the JSON, a dictionary or a file.

        UnreadableError names each item that cannot be registered, and why: nothing is registered then, but with
        `ignore_errors`, when the report names them. NotFoundError: there is no such remote.
        """
        spec = parse_spec(read_spec(private_files))
        return add_private_data(
            self._rows, self._catalogue.settings, integration_id, spec, ignore_errors=ignore_errors, progress=progress
        )

    def add_private_data_to_dataset_start(
        self, integration_id: str, private_files: Mapping[str, Any] | Path, ignore_errors: bool = False
    ) -> int:
        """Begin to register data, and return the number of the task."""
        said = dict(read_spec(private_files))
        parse_spec(said)
        request = PrivateRequest(integration_id, said, ignore_errors, self._author)
        return self._jobs.submit(PRIVATE, self.dataset_hash, msgspec.json.encode(request))

    def add_private_data_to_dataset_get_result(
        self, task_id: int, timeout_seconds: float = 7 * 86400.0
    ) -> PrivateDataReport:
        """Wait for a task, and return what came of it. StoreUnreachableError: it is not done yet, by then."""
        return private_report(wait_for(lambda: self._jobs.go_on(task_id), SILENT, timeout_seconds))

    # Re-encoding

    def re_encode_data(self, data_hashes: Sequence[str]) -> int:
        """Begin to re-encode videos, and return the number of the task; rows of others are ignored, with a warning."""
        wanted = list(dict.fromkeys(data_hashes))
        there = self._rows.find_many(wanted)
        self._warn([uid for uid in wanted if uid not in there])
        request = ReencodeRequest(tuple(uid for uid in wanted if uid in there), self._author)
        return self._jobs.submit(REENCODE, self.dataset_hash, msgspec.json.encode(request))

    def re_encode_data_status(self, task_id: int) -> ReEncodeVideoTask:
        """Return how a task is doing, and go on with it where nobody is at it. NotFoundError: there is none.

        A URL to read a video by is given by servers alone.
        """
        return re_encode_task(self._jobs.go_on(task_id))

    def task(self, task_id: int) -> Mapping[str, Any]:
        """Return how a task of any kind is doing."""
        return self._jobs.find(task_id)

    def go_on_with_task(self, task_id: int) -> Mapping[str, Any]:
        """Return how a task is doing, and go on with it where nobody is at it."""
        return self._jobs.go_on(task_id)

    def tasks(self) -> list[Mapping[str, Any]]:
        """Return the newest tasks of this user."""
        return self._jobs.list()

    def cancel_task(self, task_id: int) -> None:
        """Have a task end."""
        self._jobs.cancel(task_id)

    def _warn(self, foreign: Sequence[str]) -> None:
        if foreign:
            shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            warnings.warn(f"{len(foreign)} rows are not of {self._name}: {shown}", stacklevel=3)

    def index(self, *, exact: bool = False, progress: Progress = SILENT) -> ReportedRows:
        """Make rows of the files in it that are none yet."""
        return self._rows.index(exact=exact, progress=progress)

    def __repr__(self) -> str:
        return f"CatalogueDataset({self._catalogue.bucket}/{self._name})"
