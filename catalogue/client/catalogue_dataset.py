"""A dataset as users of the catalogue have it: its rows, and what adds to them, changes and deletes them.

    dataset = Dataset("https://data.example.org/demo/films", key="psk_...")      # behind a server, with a key of it
    dataset = Catalogue.open("demo").get_dataset("films")                        # of a bucket
    row = dataset.upload_video("clip.mp4")
    task = dataset.re_encode_data([row.data_hash])

Each call that changes something makes one version. To a server files go in pieces, and what was cut off is gone on
with; long work is done by the server, and asked about. Blocking.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.api.packages.package import Package
from penstock.catalogue.datasets.dataset_rows import ReportedRows
from penstock.catalogue.datasets.given_files import GivenFile
from penstock.catalogue.datasets.private_spec import read_spec
from penstock.catalogue.orm.dataset import (
    CloudIntegration,
    DataRow,
    DatasetInfo,
    DatasetUserRole,
    PrivateDataReport,
    ReEncodeVideoTask,
    RowPage,
)
from penstock.catalogue.rows.row_index import RowFilter
from penstock.progress import SILENT, Progress

from .drivers import DatasetDriver, Shown
from .sent_files import AddedFiles, AddedKind, files_below
from .server_driver import ServerDataset
from .tasks import private_report, re_encode_task, wait_for

__all__ = ["Dataset"]

Path = str | os.PathLike[str]


class Dataset:
    """One dataset: at ``https://host/bucket/dataset`` for whoever has a key of it, or of a bucket, by `Catalogue`.

    `key` is by default that of the environment. UsageError: `url` names no dataset, or would send a key in the clear.
    """

    def __init__(self, url: str | DatasetDriver, key: str | None = None) -> None:
        self._driver = ServerDataset.at(url, key) if isinstance(url, str) else url

    # What it is

    def info(self) -> DatasetInfo:
        """Return what is said of it."""
        return self._driver.info()

    @property
    def dataset_hash(self) -> str:
        """What names it."""
        return self._driver.info().dataset_hash

    @property
    def title(self) -> str:
        """Its title."""
        return self._driver.info().title

    @property
    def user_role(self) -> DatasetUserRole:
        """What one may do with its bucket; of a server, what that may."""
        return self._driver.role()

    def package(self, ref: str = "") -> Package:
        """Return a version to be read: its files, by ranges, each checked against its hash."""
        return self._driver.package(ref)

    # Rows

    @property
    def data_rows(self) -> list[DataRow]:
        """All its rows, by path. `rows` gives them in pages, filtered and in other orders."""
        found: list[DataRow] = []
        cursor: str | None = None
        while True:
            page = self.rows(limit=1000, cursor=cursor)
            found += page.rows
            cursor = page.cursor
            if cursor is None:
                return found

    def rows(
        self, wanted: RowFilter | None = None, *, sort: str = "path", limit: int = 100, cursor: str | None = None
    ) -> RowPage:
        """Return a page of the rows that fit. UsageError: there is no such order, or the cursor is of no list."""
        return self._driver.rows(wanted or RowFilter(), sort, limit, cursor)

    def get_row(self, data_hash: str) -> DataRow:
        """Return a row. NotFoundError: there is none."""
        return self._driver.row(data_hash)

    def update_row(
        self, data_hash: str, *, title: str | None = None, client_metadata: Mapping[str, Any] | None = None
    ) -> DataRow:
        """Change a row's title or metadata."""
        return self._driver.update_row(data_hash, title, client_metadata)

    def delete_data(self, data_hashes: Sequence[str]) -> list[str]:
        """Take rows out, and return which; those of other datasets are ignored, with a warning."""
        gone, foreign = self._driver.delete(data_hashes)
        self._warn(foreign)
        return gone

    def _warn(self, foreign: Sequence[str]) -> None:
        if foreign:
            shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            name = self._driver.name.rpartition("/")[2]
            warnings.warn(f"{len(foreign)} rows are not of {name}: {shown}", stacklevel=3)

    # Adding

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
        return self._add("video", [file_path], title, client_metadata, folder, progress)[0]

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
        return self._add("image", [file_path], title, client_metadata, folder, progress)[0]

    def upload_file(
        self, file_path: Path, *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> DataRow:
        """Add a video or an image, whichever it is. UnreadableError: it is neither."""
        return self._add("file", [file_path], title, None, folder, progress)[0]

    def upload_folder(self, directory: Path, *, folder: str = "", progress: Progress = SILENT) -> list[DataRow]:
        """Add all files below a directory, by their paths in it, in one version; return the rows among them.

        Images, videos and DICOM files are rows; all else is added as it is. ConflictError: a path is taken.
        """
        files = [GivenFile(path, key=key) for key, path in files_below(directory).items()]
        return self._driver.add(AddedFiles("folder", files, folder=folder), progress)

    def create_image_group(
        self, file_paths: Sequence[Path], *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> list[DataRow]:
        """Add images as a group in their order; those of another resolution are a group of their own."""
        return self._add("image_group", file_paths, title, None, folder, progress)

    def create_dicom_series(
        self, file_paths: Sequence[Path], *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> list[DataRow]:
        """Add DICOM files, one row for each series."""
        return self._add("dicom_series", file_paths, title, None, folder, progress)

    def _add(
        self,
        kind: AddedKind,
        paths: Sequence[Path],
        title: str,
        client_metadata: Mapping[str, Any] | None,
        folder: str,
        progress: Progress,
    ) -> list[DataRow]:
        files = [GivenFile(os.fspath(path), title, dict(client_metadata or {})) for path in paths]
        return self._driver.add(AddedFiles(kind, files, title, folder), progress)

    def commit(
        self,
        files: Mapping[str, Path],
        *,
        delete: Sequence[str] = (),
        message: str = "",
        progress: Progress = SILENT,
    ) -> str:
        """Add files, by their keys in the version, and delete others, in one version; return its top hash."""
        paths = {key: os.fspath(path) for key, path in files.items()}
        return self._driver.commit(paths, delete, message, progress)

    def index(self, *, exact: bool = False, progress: Progress = SILENT) -> ReportedRows:
        """Make rows of the files in it that are none yet; `exact` decodes videos and counts their frames."""
        return self._driver.index(exact, progress)

    # Private cloud

    def get_cloud_integrations(self) -> list[CloudIntegration]:
        """Return the remotes that data may be registered from."""
        return self._driver.integrations()

    def add_private_data_to_dataset(
        self,
        integration_id: str,
        private_files: Mapping[str, Any] | Path,
        ignore_errors: bool = False,
        *,
        progress: Progress = SILENT,
    ) -> PrivateDataReport:
        """Register data where it lies, and wait for it; see docs/CATALOGUE.md for the JSON, a dictionary or a file.

        UnreadableError names each item that cannot be registered, and why: nothing is registered then, but with
        `ignore_errors`, when the report names them. NotFoundError: there is no such remote. AccessError: this key may
        not use it.
        """
        task = self.add_private_data_to_dataset_start(integration_id, private_files, ignore_errors)
        return private_report(self.wait_for_task(task, progress=progress))

    def add_private_data_to_dataset_start(
        self, integration_id: str, private_files: Mapping[str, Any] | Path, ignore_errors: bool = False
    ) -> int:
        """Begin to register data, and return the number of the task."""
        return self._driver.begin_private_data(integration_id, dict(read_spec(private_files)), ignore_errors)

    def add_private_data_to_dataset_get_result(
        self, task_id: int, timeout_seconds: float = 7 * 86400.0
    ) -> PrivateDataReport:
        """Wait for a task, and return what came of it. StoreUnreachableError: it is not done yet, by then."""
        return private_report(self.wait_for_task(task_id, timeout_seconds))

    # Re-encoding, and tasks

    def re_encode_data(self, data_hashes: Sequence[str]) -> int:
        """Begin to re-encode videos, and return the number of the task; rows of others are ignored, with a warning."""
        task, foreign = self._driver.begin_re_encoding(data_hashes)
        self._warn(foreign)
        return task

    def re_encode_data_status(self, task_id: int) -> ReEncodeVideoTask:
        """Return how a task is doing. NotFoundError: there is none, or it is somebody else's.

        Of a bucket it goes on with the task where nobody is at it. A URL to read a video by is given by servers alone.
        """
        return re_encode_task(self._driver.go_on(task_id))

    def task(self, task_id: int) -> Shown:
        """Return how a task of any kind is doing."""
        return self._driver.task(task_id)

    def wait_for_task(self, task_id: int, seconds: float | None = None, *, progress: Progress = SILENT) -> Shown:
        """Return a task once it is done. StoreUnreachableError: it is not, after so many seconds."""
        return wait_for(lambda: self._driver.go_on(task_id), progress, seconds)

    def tasks(self) -> list[Shown]:
        """Return the newest tasks of this user, or key."""
        return self._driver.tasks()

    def cancel_task(self, task_id: int) -> None:
        """Have a task end."""
        self._driver.cancel(task_id)

    def close(self) -> None:
        """Let go of connections."""
        self._driver.close()

    def __repr__(self) -> str:
        return f"Dataset({self._driver.name!r})"
