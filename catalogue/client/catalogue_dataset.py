"""A dataset as users of the catalogue have it: its rows, and what adds to them, changes and deletes them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue
from penstock.catalogue.datasets.dataset_rows import DatasetRows, GivenFile, ReportedRows
from penstock.catalogue.orm.dataset import DataRow, DatasetInfo, DatasetUserRole, DataType, RowPage
from penstock.catalogue.rows.row_index import RowFilter
from penstock.progress import SILENT, Progress

__all__ = ["CatalogueDataset"]

Path = str | os.PathLike[str]


class CatalogueDataset:
    """One dataset of a bucket. Each call that changes something makes one version."""

    def __init__(self, catalogue: BucketCatalogue, name: str, author: str = "") -> None:
        self._catalogue = catalogue
        self._name = name
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
        if foreign:
            shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            warnings.warn(f"{len(foreign)} rows are not of {self._name}: {shown}", stacklevel=2)
        return gone

    def index(self, *, exact: bool = False, progress: Progress = SILENT) -> ReportedRows:
        """Make rows of the files in it that are none yet."""
        return self._rows.index(exact=exact, progress=progress)

    def __repr__(self) -> str:
        return f"CatalogueDataset({self._catalogue.bucket}/{self._name})"
